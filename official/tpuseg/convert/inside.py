"""Names that come with a data set stay inside of its folders: a list or an annotation file of strangers cannot read other files."""

import os
import re
from collections.abc import Sequence

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def require_split(split: str) -> None:
    """Raises ValueError if the name of a split, with which the names of the written files begin, is more than a name."""
    if not split or split in (".", "..") or os.path.basename(split) != split or "\\" in split or _CONTROL.search(split):
        raise ValueError(f"--split={split!r} must be a name, such as train, without folders: files of that name are written")


class Folders:
    """Folders that may be read from; symbolic links that lead out of them are found.

    What is known of a folder is kept, as looking at every part of a path takes longer than anything else about it.
    """

    def __init__(self, folders: Sequence[str]) -> None:
        """Names the folders; they may be symbolic links themselves, what they lead to counts."""
        self._folders = tuple(folders)
        self._roots = tuple(os.path.realpath(folder) for folder in folders)
        self._parents: dict[str, bool] = {}

    def holds(self, path: str) -> bool:
        """Returns whether a path, whose file need not exist, is in one of the folders when all symbolic links are followed."""
        parent, name = os.path.split(path)
        if name in ("", ".", "..") or os.path.islink(path):
            return self._is_below(os.path.realpath(path))
        if parent not in self._parents:
            self._parents[parent] = self._is_below(os.path.realpath(parent))
        return self._parents[parent]

    def _is_below(self, real: str) -> bool:
        return any(real == root or real.startswith(root.rstrip(os.sep) + os.sep) for root in self._roots)

    def why_outside(self, name: str, path: str) -> str | None:
        """Returns why a name from a list or an annotation file leads out of the folders, or None if it does not.

        Args:
          name: as the list has it.
          path: of the file that it stands for.

        Returns:
          The end of a sentence that names the file and the way out: `... is outside of ...`.
        """
        if "\0" in name:
            return "has a NUL byte"
        if self.holds(path):
            return None
        real = os.path.realpath(path)
        through = f" (it leads to {real})" if os.path.normpath(os.path.abspath(path)) != real else ""
        allowed = " and ".join(self._folders)
        return f"{path}{through} is outside of {allowed}; correct the name, or read it nevertheless with --allow_outside"
