"""Checks that the names in a data set do not lead out of its folders, so that a malicious list cannot read other files."""

import os
import re
from collections.abc import Sequence

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def require_split(split: str) -> None:
    """Raises ValueError if the name of a split, which is part of the names of written files, contains a path."""
    if not split or split in (".", "..") or os.path.basename(split) != split or "\\" in split or _CONTROL.search(split):
        raise ValueError(f"--split={split!r} must be a name such as train, without folders, because files are named after it")


class Folders:
    """Folders that may be read; symbolic links that lead out of them are detected.

    Results are cached by folder, because resolving every part of a path is slow.
    """

    def __init__(self, folders: Sequence[str]) -> None:
        """Sets the folders; if a folder is a symbolic link, its target is used."""
        self._folders = tuple(folders)
        self._roots = tuple(os.path.realpath(folder) for folder in folders)
        self._parents: dict[str, bool] = {}

    def holds(self, path: str) -> bool:
        """Returns whether a path, whose file may be missing, is in one of the folders after resolving symbolic links."""
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
          name: the name in the list.
          path: path of the file with this name.

        Returns:
          The end of a sentence that names the file and what to do: `... is outside of ...`.
        """
        if "\0" in name:
            return "has a NUL byte"
        if self.holds(path):
            return None
        real = os.path.realpath(path)
        through = f" (it leads to {real})" if os.path.normpath(os.path.abspath(path)) != real else ""
        allowed = " and ".join(self._folders)
        return f"{path}{through} is outside of {allowed}; correct the name, or permit it with --allow_outside"
