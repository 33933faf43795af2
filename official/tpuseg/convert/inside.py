"""Names that come with a data set stay inside of its folders: a list or an annotation file of strangers cannot read other files."""

import os
import re
from collections.abc import Sequence

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def require_split(split: str) -> None:
    """Raises ValueError if the name of a split, with which the names of the written files begin, is more than a name."""
    if not split or split in (".", "..") or os.path.basename(split) != split or "\\" in split or _CONTROL.search(split):
        raise ValueError(f"--split={split!r} must be a name, such as train, without folders: files of that name are written")


def is_inside(path: str, folders: Sequence[str]) -> bool:
    """Returns whether a path leads into one of some folders when all symbolic links are followed.

    Args:
      path: of a file, which need not exist.
      folders: may be symbolic links themselves; what they lead to counts.
    """
    real = os.path.realpath(path)
    roots = (os.path.realpath(folder) for folder in folders)
    return any(real == root or real.startswith(root.rstrip(os.sep) + os.sep) for root in roots)


def why_outside(name: str, path: str, folders: Sequence[str]) -> str | None:
    """Returns why a name from a list or an annotation file leads out of a data set's folders, or None if it does not.

    Args:
      name: as the list has it.
      path: of the file that it stands for.
      folders: that may be read from; what symbolic links lead to counts.

    Returns:
      The end of a sentence that names the file and the way out: `... is outside of ...`.
    """
    if "\0" in name:
        return "has a NUL byte"
    if is_inside(path, folders):
        return None
    real = os.path.realpath(path)
    through = f" (it leads to {real})" if os.path.normpath(os.path.abspath(path)) != real else ""
    return f"{path}{through} is outside of {' and '.join(folders)}; correct the name, or read it nevertheless with --allow_outside"
