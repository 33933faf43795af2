"""Mutation testing: changes one operator or number of a module at a time and counts how many changes the unit tests notice.

python tests/mutation.py                                       all modules of TESTS_OF
python tests/mutation.py tpuseg.maskrcnn.targets --jobs=2      one module; --list prints the mutants and runs nothing

Each mutant runs in a forked copy of this process, which has imported TensorFlow once: one to three seconds a mutant. mutmut and
cosmic-ray start every mutant in a new process, which pays TensorFlow's import (6 s) for each of a thousand mutants.
"""

import argparse
import ast
import collections
import copy
import functools
import gc
import importlib.abc
import importlib.machinery
import importlib.util
import io
import itertools
import os
import pathlib
import resource
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from typing import Any, NamedTuple

import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent
# The modules, or functions of a module, whose algorithms must not change unnoticed, and the tests that know their answers.
TESTS_OF = {
    "tpuseg.ops.boxes": ["tests/ops/test_boxes.py"],
    "tpuseg.ops.masks": ["tests/ops/test_masks.py"],
    "tpuseg.ops.box_masks": ["tests/ops/test_box_masks.py"],
    "tpuseg.ops.windows": ["tests/ops/test_windows.py"],
    "tpuseg.ops.mask_crops": ["tests/ops/test_mask_crops.py"],
    "tpuseg.maskrcnn.tiles": ["tests/maskrcnn/test_tiles.py"],
    "tpuseg.deeplab.tiles": ["tests/deeplab/test_tiles.py"],
    "tpuseg.maskrcnn.anchors": ["tests/maskrcnn/test_anchors.py"],
    "tpuseg.maskrcnn.targets": ["tests/maskrcnn/test_targets.py"],
    "tpuseg.maskrcnn.losses": ["tests/maskrcnn/test_losses.py"],
    "tpuseg.maskrcnn.suppression": ["tests/maskrcnn/test_suppression.py"],
    "tpuseg.maskrcnn.detection": ["tests/maskrcnn/test_detection.py"],
    "tpuseg.maskrcnn.rpn": ["tests/maskrcnn/test_rpn.py"],
    "tpuseg.maskrcnn.fpn": ["tests/maskrcnn/test_rpn.py"],
    "tpuseg.maskrcnn.cells": ["tests/maskrcnn/test_cells.py"],
    "tpuseg.maskrcnn.roi_align.samples": ["tests/maskrcnn/roi_align/test_samples.py"],
    "tpuseg.maskrcnn.roi_align.pooling": ["tests/maskrcnn/roi_align/test_pooling.py"],
    "tpuseg.maskrcnn.roi_align.lines": ["tests/maskrcnn/roi_align/test_lines.py", "tests/maskrcnn/roi_align/test_pooling.py"],
    "tpuseg.deeplab.losses": ["tests/deeplab/test_losses.py"],
    "tpuseg.evaluation.miou": ["tests/evaluation/test_miou.py"],
    "tpuseg.evaluation.matching": [
        "tests/evaluation/test_coco.py::test_matches_are_pycocotools_own",
        "tests/evaluation/test_coco.py::test_only_pairs_that_overlap_are_compared",
        "tests/evaluation/test_coco.py::test_a_threshold_of_1_allows_for_rounding",
        "tests/evaluation/test_coco.py::test_the_example_in_the_docstring_of_matching",
        "tests/utils/test_private_apis.py::test_pycocotools_groups",
    ],
    "tpuseg.evaluation.coco": ["tests/evaluation/test_coco.py"],
    "tpuseg.evaluation.image_ids": ["tests/evaluation/test_image_ids.py"],
    "tpuseg.report.matching": ["tests/report/test_matching.py"],
    "tpuseg.report.average_precision": ["tests/report/test_lost_precision.py"],
    "tpuseg.report.lost_precision": ["tests/report/test_lost_precision.py"],
    "tpuseg.report.scores": ["tests/report/test_scores.py"],
    "tpuseg.report.selection": ["tests/report/test_selection.py"],
    "tpuseg.report.breakdowns": ["tests/report/test_breakdowns.py"],
    "tpuseg.report.boundaries": ["tests/report/test_boundaries.py"],
    "tpuseg.report.regions": ["tests/report/test_regions.py"],
    "tpuseg.configs.schedules": ["tests/configs/test_schedules.py"],
    "tpuseg.layers.norm": ["tests/layers/test_norm.py"],
    "tpuseg.training.trainer:moving_average,start_average,swap_weights": [
        "tests/training/test_moving_average.py::test_the_average_is_found_within_loss_scaling_and_nowhere_else",
        "tests/training/test_moving_average.py::test_evaluation_leaves_the_weights_as_they_were",
        "tests/training/test_moving_average.py::test_averages_start_at_the_weights",
    ],
}
# Mutants that no test can tell from the module, by module, with the reason.
EQUIVALENT = ROOT / "tests" / "equivalent_mutants.yaml"
# A mutant that takes longer than so many times what the module takes, because it loops for ever, counts as noticed.
_SLOWER = 5
_OPERATORS: dict[type, list[type]] = {
    ast.Add: [ast.Sub], ast.Sub: [ast.Add], ast.Mult: [ast.Div], ast.Div: [ast.Mult], ast.FloorDiv: [ast.Mult], ast.Mod: [ast.Mult],
    ast.Lt: [ast.LtE], ast.LtE: [ast.Lt], ast.Gt: [ast.GtE], ast.GtE: [ast.Gt], ast.Eq: [ast.NotEq], ast.NotEq: [ast.Eq],
    ast.BitAnd: [ast.BitOr], ast.BitOr: [ast.BitAnd], ast.And: [ast.Or], ast.Or: [ast.And],
    ast.Is: [ast.IsNot], ast.IsNot: [ast.Is], ast.In: [ast.NotIn], ast.NotIn: [ast.In],
}
_NAMES = {
    "minimum": "maximum", "maximum": "minimum", "reduce_any": "reduce_all", "reduce_all": "reduce_any", "min": "max", "max": "min",
    "reduce_max": "reduce_min", "reduce_min": "reduce_max", "reduce_sum": "reduce_mean", "reduce_mean": "reduce_sum",
    "argmax": "argmin", "argmin": "argmax", "floor": "ceil", "ceil": "floor", "any": "all", "all": "any",
    "zeros_like": "ones_like", "ones_like": "zeros_like", "zeros": "ones", "ones": "zeros",
}


def _parts(node: ast.AST) -> Iterator[ast.AST]:
    """Walks the code that decides values: no docstrings, annotations, messages, imports or decorators.

    Nor `strict` of `zip`, which only says what a mistake of the caller leads to.
    """
    yield node
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
        return  # -1 becomes 1, which is enough: -2 is most often another way to say "the last one" or "all".
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list"):
            continue
        for child in value if isinstance(value, list) else [value]:
            is_strict = isinstance(child, ast.keyword) and child.arg == "strict"
            is_left_out = is_strict or isinstance(child, ast.Import | ast.ImportFrom | ast.Raise | ast.JoinedStr)
            if isinstance(child, ast.AST) and not is_left_out:
                yield from _parts(child)


def _edits(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """Yields (what, mutated node) for every change of one node; an empty statement stands for one that is removed."""
    if isinstance(node, ast.BinOp | ast.BoolOp | ast.AugAssign):
        for operator in _OPERATORS.get(type(node.op), []):
            yield f"{type(node.op).__name__} -> {operator.__name__}", _replaced(node, op=operator())
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitAnd | ast.BitOr):
        yield "left operand alone", node.left
        yield "right operand alone", node.right
    elif isinstance(node, ast.AugAssign) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)):
        yield "statement removed", ast.Pass()
    elif isinstance(node, ast.BoolOp):
        for number in range(len(node.values)):
            rest = [value for place, value in enumerate(node.values) if place != number]
            yield f"without operand {number + 1}", rest[0] if len(rest) == 1 else _replaced(node, values=rest)
    elif isinstance(node, ast.Compare):
        for number, op in enumerate(node.ops):
            for operator in _OPERATORS.get(type(op), []):
                ops = [operator() if place == number else one for place, one in enumerate(node.ops)]
                yield f"{type(op).__name__} -> {operator.__name__}", _replaced(node, ops=ops)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Invert | ast.Not | ast.USub):
        yield f"without {type(node.op).__name__}", node.operand
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield f"{node.value} -> {not node.value}", ast.Constant(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        yield f"{node.value} -> {node.value + 1}", ast.Constant(node.value + 1)
    elif isinstance(node, ast.Attribute) and node.attr in _NAMES:
        yield f"{node.attr} -> {_NAMES[node.attr]}", _replaced(node, attr=_NAMES[node.attr])
    elif isinstance(node, ast.Name) and node.id in _NAMES:
        yield f"{node.id} -> {_NAMES[node.id]}", _replaced(node, id=_NAMES[node.id])
    elif isinstance(node, ast.If | ast.IfExp) and not isinstance(node.test, ast.Compare | ast.UnaryOp):
        yield "other branch", _replaced(node, test=ast.UnaryOp(ast.Not(), node.test))


def _replaced(node: Any, **fields: object) -> ast.AST:
    return type(node)(**{**dict(ast.iter_fields(node)), **fields})


class Mutant(NamedTuple):
    """A changed module.

    Attributes:
      place: number of the line.
      key: the line without its comment and the change; the second of two equal ones ends with " (2)". What EQUIVALENT calls it.
      source: of the module.
    """

    place: int
    key: str
    source: str


def mutants(name: str) -> list[Mutant]:
    """Returns every mutant of a module or of some of its functions, `module:function,function`."""
    module, _, functions = name.partition(":")
    source = _path_of(module).read_text()
    found: list[Mutant] = []
    seen: collections.Counter[str] = collections.Counter()
    lines = source.splitlines()
    for number, node in enumerate(_parts_of(ast.parse(source), functions)):
        place = getattr(node, "lineno", 0)
        for what, mutated in _edits(node):
            key = f"{lines[place - 1].partition('  #')[0].strip()} | {what}"
            seen[key] += 1
            key = key if seen[key] == 1 else f"{key} ({seen[key]})"
            fresh = ast.parse(source)
            target = next(part for order, part in enumerate(_parts_of(fresh, functions)) if order == number)
            changed = _Exchange(target, copy.deepcopy(mutated)).visit(fresh)
            found.append(Mutant(place, key, ast.unparse(ast.fix_missing_locations(changed))))
    return found


def _parts_of(tree: ast.Module, functions: str) -> Iterator[ast.AST]:
    names = functions.split(",") if functions else []
    roots = [node for node in tree.body if not names or (isinstance(node, ast.FunctionDef) and node.name in names)]
    return itertools.chain.from_iterable(map(_parts, roots))


class _Exchange(ast.NodeTransformer):
    def __init__(self, target: ast.AST, replacement: ast.AST) -> None:
        self._target, self._replacement = target, replacement

    def visit(self, node: ast.AST) -> ast.AST:
        return self._replacement if node is self._target else self.generic_visit(node)


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module from the mutant's source."""

    def __init__(self, module: str, path: pathlib.Path, source: str) -> None:
        self._module, self._path, self._source = module, path, source

    def find_spec(self, fullname, path, target=None):
        if fullname != self._module:
            return None
        return importlib.util.spec_from_file_location(fullname, self._path, loader=self)

    def create_module(self, spec):
        return None

    def exec_module(self, module) -> None:
        exec(compile(self._source, str(self._path), "exec"), module.__dict__)


def _start_tests(module: str, path: pathlib.Path, source: str, tests: list[str], seconds: int) -> int:
    """Starts a child process that runs the tests on a mutant, for so many seconds of processor time; returns its PID."""
    child = os.fork()
    if child:
        return child
    code = 99
    try:
        import pytest

        sys.meta_path.insert(0, _Finder(module, path, source))
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))  # Ends the child, which then counts as having noticed.
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            # The second plugin collects garbage ten times, which takes longer than most of the tests.
            code = int(pytest.main(["-q", "-x", "-p", "no:cacheprovider", "-p", "no:unraisableexception", *tests]))
    finally:
        os._exit(code)


def _exit_codes(starts: Iterable[Callable[[], int]], jobs: int) -> Iterator[tuple[int, int]]:
    """Runs child processes, `jobs` at a time; yields the number and the exit code, negative for a signal, of each that ends."""
    running: dict[int, int] = {}
    for number, start in enumerate(starts):
        if len(running) == jobs:
            yield _wait(running)
        running[start()] = number
    while running:
        yield _wait(running)


def _wait(running: dict[int, int]) -> tuple[int, int]:
    child, status = os.wait()
    return running.pop(child), os.waitstatus_to_exitcode(status)


def check(name: str, jobs: int, equivalent: set[str], only: Sequence[str] = ()) -> tuple[int, int, int]:
    """Runs a module's mutants; returns how many there are, how many were noticed, and how many of the others are equivalent."""
    module = name.partition(":")[0]
    path, tests = _path_of(module), TESTS_OF[name]
    source, all_mutants = path.read_text(), mutants(name)
    unknown = equivalent - {mutant.key for mutant in all_mutants}
    if unknown:
        sys.exit(f"{EQUIVALENT}: {name}: no mutant is called `{min(unknown)}`; remove the line, or copy what --list prints")
    all_mutants = [mutant for mutant in all_mutants if not only or any(text in mutant.key for text in only)]
    _import_what_it_imports(module)
    before = _seconds_of_children()
    if list(_exit_codes([lambda: _start_tests(module, path, source, tests, 3600)], 1)) != [(0, 0)]:
        sys.exit(f"{name}: its tests fail without any change: {' '.join(tests)}")
    seconds = 10 + round(_SLOWER * (_seconds_of_children() - before))
    starts = (functools.partial(_start_tests, module, path, mutant.source, tests, seconds) for mutant in all_mutants)
    noticed = num_equivalent = 0
    for number, code in _exit_codes(starts, jobs):
        mutant = all_mutants[number]
        noticed += code != 0
        num_equivalent += code == 0 and mutant.key in equivalent
        if code == 0 and mutant.key not in equivalent:
            print(f"  not noticed: {path.name}:{mutant.place}: {mutant.key}", flush=True)
        elif code != 0 and mutant.key in equivalent:
            print(f"  noticed, so not equivalent: {path.name}:{mutant.place}: {mutant.key}", flush=True)
    print(_row(name, len(all_mutants), noticed, num_equivalent), flush=True)
    return len(all_mutants), noticed, num_equivalent


def _import_what_it_imports(module: str) -> None:
    """Imports the modules that a module needs, but not itself, so that its mutants need not do that again."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "tpuseg"]:
        del sys.modules[name]
    importlib.import_module(module)
    del sys.modules[module]
    package, _, name = module.rpartition(".")
    delattr(sys.modules[package], name)
    gc.collect()
    gc.freeze()  # Garbage collection in the children leaves out what they share.


def _seconds_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _path_of(module: str) -> pathlib.Path:
    return ROOT / "official" / pathlib.Path(*module.split(".")).with_suffix(".py")


def _row(name: str, total: int, noticed: int, equivalent: int) -> str:
    """Returns a row of the table in docs/testing.md: the share of all mutants, and of those that are not equivalent."""
    shares = f"{noticed / max(total, 1):.1%} | {noticed / max(total - equivalent, 1):.1%}"
    return f"| {name} | {total} | {noticed} | {equivalent} | {shares} |"


def main() -> None:
    """Checks the modules that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", default=list(TESTS_OF), help="modules of TESTS_OF; all by default")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--only", action="append", default=[], help="only mutants whose name contains this text; repeatable")
    arguments = parser.parse_args()
    unknown = [module for module in arguments.modules if module not in TESTS_OF]
    if unknown:
        parser.error(f"{unknown[0]} is none of {', '.join(TESTS_OF)}")
    if arguments.list:
        for name in arguments.modules:
            print("\n".join(f"{name}:{mutant.place}: {mutant.key}" for mutant in mutants(name)))
        return
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT / "official"))
    os.environ.update(TF_USE_LEGACY_KERAS="1", TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1")
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    import hypothesis  # noqa: F401 - imported once, for all children.
    import pytest  # noqa: F401
    import tensorflow  # noqa: F401
    import tf_keras  # noqa: F401
    from official.modeling.hyperparams import base_config, oneof, params_dict  # noqa: F401

    groups = yaml.safe_load(EQUIVALENT.read_text()) if EQUIVALENT.exists() else {}
    equivalent = {module: {key for group in of_module for key in group["mutants"]} for module, of_module in groups.items()}
    totals = [check(module, arguments.jobs, equivalent.get(module, set()), arguments.only) for module in arguments.modules]
    print(_row("all", *(sum(column) for column in zip(*totals, strict=True))))


if __name__ == "__main__":
    main()
