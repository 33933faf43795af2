"""Comparing the classes of data, initial weights and a run.

A network identifies classes by their numbers only. If two inputs number the same names differently, training reports no error, but
every class name in its predictions is wrong.
"""

import dataclasses
import itertools
import os
from collections.abc import Sequence

from tpuseg.data import summaries
from tpuseg.io import checkpoints, files
from tpuseg.utils.messages import format_count

CLASS_NAMES_FILE = "classes.json"


@dataclasses.dataclass(frozen=True)
class ClassList:
    """The classes of one input.

    Attributes:
      source: path of the file that lists the classes.
      names: class names in the order of their ids.
    """

    source: str
    names: tuple[str, ...]

    @property
    def is_known(self) -> bool:
        """Whether the names are known; otherwise they are numbers."""
        return self.names != tuple(str(number) for number in range(len(self.names)))


def difference(first: ClassList, other: ClassList) -> str | None:
    """Returns a sentence about the first class in which two lists differ; None if they are equal.

    Lists without names can only differ in their lengths.
    """
    counts = f"{other.source} has {format_count(len(other.names), 'class', 'classes')}, {first.source} {len(first.names)}"
    if not (first.is_known and other.is_known):
        return counts if len(first.names) != len(other.names) else None
    pairs = itertools.zip_longest(first.names, other.names)
    different = next(((number, *pair) for number, pair in enumerate(pairs) if pair[0] != pair[1]), None)
    if different is None:
        return None
    number, ours, theirs = different
    where = f"class {number} is {_quote(theirs)} in the former and {_quote(ours)} in the latter"
    if len(first.names) != len(other.names):
        return f"{counts}: {where}"
    kind = "in another order" if sorted(first.names) == sorted(other.names) else "others"
    return f"the classes of {other.source} are {kind} than those of {first.source}: {where}"


def is_renamed(first: ClassList, other: ClassList) -> bool:
    """Returns whether two lists have the same length, but not the same names in another order."""
    return len(first.names) == len(other.names) and sorted(first.names) != sorted(other.names)


def _quote(name: str | None) -> str:
    return "missing" if name is None else f"`{name}`"


def require_same(lists: Sequence[ClassList], way_out: str) -> None:
    """Raises ValueError for the first list that differs from the first one.

    Args:
      lists: class lists of all inputs.
      way_out: the end of the message, which describes how to resolve the difference.
    """
    for other in lists[1:]:
        found = difference(lists[0], other)
        if found:
            raise ValueError(f"{found}; {way_out}")


def beside(path: str) -> ClassList | None:
    """Returns the classes of the run to which a checkpoint or model directory belongs; None if they are unknown.

    Args:
      path: a prefix (`.../ckpt-1200`) or a folder; for other paths the classes are unknown.
    """
    if not files.exists(path) and not files.exists(f"{path}.index"):
        return None
    return _read(checkpoints.find_beside(path, CLASS_NAMES_FILE))


def of_run(model_dir: str) -> ClassList | None:
    """Returns the classes that a run wrote into its model directory; None if there are none."""
    path = os.path.join(model_dir, CLASS_NAMES_FILE)
    return _read(path if model_dir and files.exists(path) else None)


def _read(path: str | None) -> ClassList | None:
    return ClassList(path, tuple(summaries.read_class_names(path))) if path else None
