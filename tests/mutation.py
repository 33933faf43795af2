"""Mutation testing: changes one operator or number of a module at a time and counts how many changes the unit tests notice.

python tests/mutation.py                                       all modules of TESTS_OF
python tests/mutation.py tpuseg.maskrcnn.targets --jobs=2      one module; --list prints the mutants and runs nothing

Each mutant runs in a forked copy of this process, which has imported TensorFlow once: one to three seconds a mutant. mutmut and
cosmic-ray start every mutant in a new process, which pays TensorFlow's import (6 s) for each of a thousand mutants.
"""

import argparse
import ast
import copy
import functools
import importlib.abc
import importlib.machinery
import importlib.util
import io
import os
import pathlib
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout

ROOT = pathlib.Path(__file__).resolve().parent.parent
# The modules whose algorithms must not change unnoticed, and the tests that know their answers.
TESTS_OF = {
    "tpuseg.ops.boxes": ["tests/ops/test_boxes.py"],
    "tpuseg.ops.masks": ["tests/ops/test_masks.py"],
    "tpuseg.maskrcnn.anchors": ["tests/maskrcnn/test_anchors.py"],
    "tpuseg.maskrcnn.targets": ["tests/maskrcnn/test_targets.py"],
    "tpuseg.maskrcnn.losses": ["tests/maskrcnn/test_losses.py"],
    "tpuseg.maskrcnn.suppression": ["tests/maskrcnn/test_suppression.py"],
    "tpuseg.maskrcnn.detection": ["tests/maskrcnn/test_detection.py"],
    "tpuseg.maskrcnn.rpn": ["tests/maskrcnn/test_rpn.py", "tests/maskrcnn/test_cells.py"],
    "tpuseg.maskrcnn.roi_align.pooling": ["tests/maskrcnn/test_rpn.py", "tests/maskrcnn/test_cells.py"],
    "tpuseg.maskrcnn.roi_align.samples": ["tests/maskrcnn/test_rpn.py", "tests/maskrcnn/test_cells.py"],
    "tpuseg.maskrcnn.roi_align.lines": ["tests/maskrcnn/test_cells.py"],
    "tpuseg.deeplab.losses": ["tests/deeplab/test_losses.py"],
    "tpuseg.evaluation.miou": ["tests/evaluation/test_miou.py"],
    "tpuseg.evaluation.matching": ["tests/evaluation/test_coco.py"],
    "tpuseg.evaluation.coco": ["tests/evaluation/test_coco.py"],
}
_SECONDS = 120  # A mutant that takes longer, because it loops for ever, counts as noticed.
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
    """Walks the code that decides values: no docstrings, annotations, messages, imports or decorators."""
    yield node
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not isinstance(child, ast.Import | ast.ImportFrom | ast.Raise | ast.JoinedStr):
                yield from _parts(child)


def _edits(node: ast.AST) -> Iterator[tuple[str, str, object]]:
    """Yields (what, field, new value) for every change of one node."""
    if isinstance(node, ast.BinOp | ast.BoolOp | ast.AugAssign):
        for operator in _OPERATORS.get(type(node.op), []):
            yield f"{type(node.op).__name__} -> {operator.__name__}", "op", operator()
    elif isinstance(node, ast.Compare):
        for operator in _OPERATORS.get(type(node.ops[0]), []):
            yield f"{type(node.ops[0]).__name__} -> {operator.__name__}", "ops", [operator(), *node.ops[1:]]
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Invert | ast.Not | ast.USub):
        yield f"without {type(node.op).__name__}", "op", ast.UAdd()
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield f"{node.value} -> {not node.value}", "value", not node.value
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        yield f"{node.value} -> {node.value + 1}", "value", node.value + 1
    elif isinstance(node, ast.Attribute) and node.attr in _NAMES:
        yield f"{node.attr} -> {_NAMES[node.attr]}", "attr", _NAMES[node.attr]
    elif isinstance(node, ast.Name) and node.id in _NAMES:
        yield f"{node.id} -> {_NAMES[node.id]}", "id", _NAMES[node.id]
    elif isinstance(node, ast.IfExp):
        yield "other branch", "test", ast.UnaryOp(ast.Not(), node.test)


def mutants(source: str) -> list[tuple[str, str]]:
    """Returns (description, source) of every mutant of a module."""
    found = []
    places = [(number, edit) for number, node in enumerate(_parts(ast.parse(source))) for edit in _edits(node)]
    for number, (what, field, value) in places:
        tree = ast.parse(source)
        node = next(node for place, node in enumerate(_parts(tree)) if place == number)
        setattr(node, field, copy.deepcopy(value))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.UAdd):
            # `+` of a boolean tensor is an error, which any test notices; the operand alone is the mutant that is meant.
            tree = _Unwrapped(node).visit(tree)
        mutated = ast.unparse(ast.fix_missing_locations(tree))
        found.append((f"line {getattr(node, 'lineno', 0)}: {what}", mutated))
    return found


class _Unwrapped(ast.NodeTransformer):
    def __init__(self, target: ast.UnaryOp) -> None:
        self._target = target

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:  # noqa: N802 - ast's own name.
        return node.operand if node is self._target else self.generic_visit(node)


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


def _start_tests(module: str, path: pathlib.Path, source: str, tests: list[str]) -> int:
    """Starts a child process that runs the tests on a mutant; returns its PID."""
    child = os.fork()
    if child:
        return child
    code = 99
    try:
        import pytest

        sys.meta_path.insert(0, _Finder(module, path, source))
        signal.alarm(_SECONDS)  # Ends the child, which then counts as having noticed.
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            code = int(pytest.main(["-q", "-x", "-p", "no:cacheprovider", *tests]))
    finally:
        os._exit(code)


def _exit_codes(starts: Sequence[Callable[[], int]], jobs: int) -> list[int]:
    """Runs child processes, `jobs` at a time; returns their exit codes, negative for a signal. Forks without any thread."""
    codes, running = [0] * len(starts), dict[int, int]()
    for number, start in enumerate(starts):
        if len(running) == jobs:
            _wait(running, codes)
        running[start()] = number
    while running:
        _wait(running, codes)
    return codes


def _wait(running: dict[int, int], codes: list[int]) -> None:
    child, status = os.wait()
    codes[running.pop(child)] = os.waitstatus_to_exitcode(status)


def check(module: str, jobs: int, only_list: bool) -> tuple[int, int]:
    """Runs all mutants of a module; returns how many were noticed, and how many there are. Prints those that were not."""
    path = ROOT / "official" / pathlib.Path(*module.split(".")).with_suffix(".py")
    source, tests = path.read_text(), TESTS_OF[module]
    all_mutants = mutants(source)
    if only_list:
        print("\n".join(f"{module} {what}" for what, _ in all_mutants))
        return 0, len(all_mutants)
    starts = [functools.partial(_start_tests, module, path, text, tests) for text in (source, *(text for _, text in all_mutants))]
    if _exit_codes(starts[:1], 1) != [0]:
        sys.exit(f"{module}: its tests fail without any change: {' '.join(tests)}")
    codes = _exit_codes(starts[1:], jobs)
    lines = source.splitlines()
    for (what, _), code in zip(all_mutants, codes, strict=True):
        if code == 0:
            number = int(what.partition(":")[0].removeprefix("line "))
            print(f"  not noticed: {path.name} {what}    {lines[number - 1].strip()[:90]}", flush=True)
    noticed = sum(code != 0 for code in codes)
    print(f"{module}: {noticed} of {len(codes)} mutants noticed", flush=True)
    return noticed, len(codes)


def main() -> None:
    """Checks the modules that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", default=list(TESTS_OF), help="modules of TESTS_OF; all by default")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--list", action="store_true")
    arguments = parser.parse_args()
    unknown = [module for module in arguments.modules if module not in TESTS_OF]
    if unknown:
        parser.error(f"{unknown[0]} is none of {', '.join(TESTS_OF)}")
    os.chdir(ROOT)
    os.environ.update(TF_USE_LEGACY_KERAS="1", TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1")
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    import hypothesis  # noqa: F401 - imported once, for all children.
    import pytest  # noqa: F401
    import tensorflow  # noqa: F401
    import tf_keras  # noqa: F401
    from official.modeling.hyperparams import base_config, oneof, params_dict  # noqa: F401

    totals = [check(module, arguments.jobs, arguments.list) for module in arguments.modules]
    noticed, total = (sum(column) for column in zip(*totals, strict=True))
    print(f"all: {noticed} of {total} mutants noticed ({noticed / max(total, 1):.1%})")


if __name__ == "__main__":
    main()
