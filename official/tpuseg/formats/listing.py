"""The files of a folder: their names, and searching their contents for words."""

import collections
import mmap
import os
from collections.abc import Iterable, Sequence

from tpuseg.io.image_paths import ENDINGS
from tpuseg.utils.messages import format_count

# Deeper than any layout, and low enough that listing a home folder by mistake ends soon.
_MAX_DEPTH = 8
_MAX_FILES = 5_000_000
# In a folder with more than `_FEW` JSON files, only the first and the largest `_SAMPLE` files are searched.
_FEW, _SAMPLE = 12, 3
# Number of kinds of files that a message names.
_DESCRIBED = 6


class Listing:
    """The files below a folder, listed once; hidden files and folders are left out.

    Attributes:
      root: path of the folder.
      files: sorted paths of all files relative to the root, with `/` between the parts.
    """

    def __init__(self, root: str) -> None:
        """Lists the files.

        Raises:
          ValueError: the folder does not exist, or contains far more files than a data set; the message names it.
        """
        if not os.path.isdir(root):
            what = "is a file, not a folder" if os.path.isfile(root) else "does not exist"
            raise ValueError(f"{root} {what}; give the folder of the data set")
        self.root = root
        self.files = sorted(_walk(root))
        self._all = frozenset(self.files)
        self._folders: dict[str, list[str]] = collections.defaultdict(list)
        for path in self.files:
            folder, _, name = path.rpartition("/")
            self._folders[folder].append(name)
        self._words: dict[tuple[str, bytes], bool] = {}

    def path(self, relative: str) -> str:
        """Returns the path of a file in the folder."""
        return os.path.join(self.root, *relative.split("/")) if relative else self.root

    def folder_name(self, relative: str) -> str:
        """Returns the name of a folder for messages that already name the root."""
        return f"{relative}/" if relative else "the folder itself"

    def folders(self) -> list[str]:
        """Returns the folders that contain files, as paths relative to the root; the root itself is the empty string."""
        return sorted(self._folders)

    def names(self, folder: str = "") -> list[str]:
        """Returns the names of the files directly in a folder."""
        return list(self._folders.get(folder, ()))

    def has(self, relative: str) -> bool:
        """Returns whether a file exists, given its path relative to the root."""
        return relative in self._all

    def ending_with(self, *endings: str, below: str = "") -> list[str]:
        """Returns the files with one of several endings, ignoring case.

        Args:
          *endings: endings in lower case.
          below: a folder; only files in it and in its subfolders are returned.
        """
        start = below and below + "/"
        return [path for path in self.files if path.lower().endswith(endings) and path.startswith(start)]

    def images(self, below: str = "") -> list[str]:
        """Returns the files with an image's ending."""
        return self.ending_with(*ENDINGS, below=below)

    def holds_words(self, relative: str, words: Sequence[str]) -> bool:
        """Returns whether a file contains all of several words; False if the file cannot be read."""
        return all(self._holds(relative, word.encode()) for word in words)

    def _holds(self, relative: str, word: bytes) -> bool:
        key = (relative, word)
        if key not in self._words:
            try:
                with open(self.path(relative), "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                    self._words[key] = content.find(word) >= 0
            except (OSError, ValueError):  # A file that is empty cannot be mapped.
                self._words[key] = False
        return self._words[key]

    def json_with(self, words: Sequence[str], without: Sequence[str] = (), among: Iterable[str] | None = None) -> list[str]:
        """Returns the JSON files in which all of some keys stand, and none of others.

        Args:
          words: keys that the files must contain, without quotation marks.
          without: keys that the files must not contain.
          among: the files to search; all by default. In folders with many files only a sample is searched; if the whole sample
            matches, all files of the folder are returned.
        """
        candidates = list(self.ending_with(".json") if among is None else among)
        by_folder = collections.defaultdict(list)
        for path in candidates:
            by_folder[path.rpartition("/")[0]].append(path)
        found = []
        for paths in by_folder.values():
            sample = paths if len(paths) <= _FEW else self._sample(paths)
            fitting = [path for path in sample if self._fits(path, words, without)]
            if len(fitting) == len(sample):
                found += paths
            elif fitting:  # Files of several kinds.
                found += [path for path in paths if self._fits(path, words, without)]
        return sorted(found)

    def _sample(self, paths: Sequence[str]) -> list[str]:
        """Returns the first and the largest files: a file that lists all images is larger than files of one image each."""
        by_size = sorted(paths, key=lambda path: os.path.getsize(self.path(path)))
        return list(dict.fromkeys([*paths[:_SAMPLE], *by_size[-_SAMPLE:]]))

    def _fits(self, path: str, words: Sequence[str], without: Sequence[str]) -> bool:
        return self.holds_words(path, [f'"{word}"' for word in words]) and not any(
            self.holds_words(path, [f'"{word}"']) for word in without
        )

    def require(self, files: Sequence[str], what: str) -> Sequence[str]:
        """Returns the given files, or fails if there are none.

        Args:
          files: paths relative to the root.
          what: description of the files for the message, for example `JSON file with data and result`.

        Raises:
          ValueError: `files` is empty; the message lists the contents of the folder.
        """
        if not files:
            raise ValueError(f"{self.root} has no {what}; it contains {self.describe()}")
        return files

    def source_of(self, files: Sequence[str]) -> str:
        """Returns the path that messages use for several files: the file if there is only one, otherwise the folder."""
        return self.path(files[0]) if len(files) == 1 else self.root

    def describe(self) -> str:
        """Describes the contents of the folder for messages: the number of files by ending and folder."""
        if not self.files:
            return "no files"
        counts: collections.Counter[tuple[str, str]] = collections.Counter()
        for path in self.files:
            folder, _, name = path.rpartition("/")
            counts[folder, os.path.splitext(name)[1].lower()] += 1
        most = counts.most_common(_DESCRIBED)
        parts = [f"{_count_files(count, ending)} in {self.folder_name(folder)}" for (folder, ending), count in most]
        rest = sum(counts.values()) - sum(count for _, count in most)
        return ", ".join(parts) + (f" and {format_count(rest, 'more file')}" if rest else "")


def _count_files(count: int, ending: str) -> str:
    if not ending:
        return format_count(count, "file without an ending", "files without an ending")
    return format_count(count, f"{ending} file")


def _walk(root: str) -> list[str]:
    found: list[str] = []
    seen: set[str] = set()
    for parent, folders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:  # A symbolic link to a folder above it.
            folders[:] = []
            continue
        seen.add(real)
        inside = os.path.relpath(parent, root)
        parts = [] if inside == "." else inside.split(os.sep)
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")) and len(parts) < _MAX_DEPTH)
        found += ["/".join([*parts, name]) for name in names if not name.startswith(".")]
        if len(found) > _MAX_FILES:
            raise ValueError(f"{root} contains more than {_MAX_FILES} files; give the folder of one data set")
    return found
