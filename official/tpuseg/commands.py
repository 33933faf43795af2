"""The command `tpuseg`, which `pip install` puts on the path: `tpuseg train ...` is `python official/train.py ...`.

The programs stay files beside the package in a clone; an installed copy has them in `tpuseg/programs` and `tpuseg/converters`.
"""

import ast
import pathlib
import runpy
import sys

from tpuseg import __version__

_HERE = pathlib.Path(__file__).resolve().parent
# Where programs lie: in an installed copy, and in a clone.
_FOLDERS = (_HERE / "programs", _HERE / "converters", _HERE.parent, _HERE.parent.parent / "data")
PROGRAMS = (
    *("plan", "train", "evaluate", "report", "predict", "export", "import_weights", "preflight"),
    *("coco_to_tfrecord", "voc_to_tfrecord", "inspect_records", "make_shapes"),
)


def path_of(name: str) -> pathlib.Path:
    """Returns the file of a program.

    Raises:
      FileNotFoundError: this copy of the package was installed without it.
    """
    for folder in _FOLDERS:
        path = folder / f"{name}.py"
        if path.is_file():
            return path
    raise FileNotFoundError(f"{name}.py is in none of {', '.join(map(str, _FOLDERS))}; install tpuseg again")


def usage() -> str:
    """Returns the list of the programs with the first sentence of what each says about itself."""
    width = max(map(len, PROGRAMS))
    lines = [f"tpuseg {__version__}", "", "tpuseg PROGRAM --flag=value ...; tpuseg PROGRAM --help lists its flags", ""]
    for name in PROGRAMS:
        first, _, _ = (ast.get_docstring(ast.parse(path_of(name).read_text())) or "").partition("\n\n")
        lines.append(f"  {name:{width}}  {' '.join(first.split())}")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Runs the program that the first argument names with the arguments that follow it.

    Args:
      argv: the command line; that of the process if None.

    Returns:
      The exit code, if no program was run; programs end the process themselves.
    """
    argv = sys.argv if argv is None else argv
    name = argv[1].replace("-", "_") if len(argv) > 1 else ""
    if name in ("__version", "__help", "_h", ""):
        print(__version__ if name == "__version" else usage())
        return 0 if name else 2
    if name not in PROGRAMS:
        print(f"error: `{argv[1]}` is not a program of tpuseg; choose one of {', '.join(PROGRAMS)}", file=sys.stderr)
        return 1
    path = path_of(name)
    sys.argv = [f"tpuseg {name}", *argv[2:]]
    runpy.run_path(str(path), run_name="__main__")
    return 0
