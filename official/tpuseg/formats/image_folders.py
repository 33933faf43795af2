"""The folder in which the images of a label file lie, found by their names."""

import urllib.parse
from collections.abc import Sequence

from tpuseg.formats.listing import Listing
from tpuseg.formats.split_names import split_of

# So many names of a file, from all over it, tell its folder.
_SAMPLE = 50


def find_image_folder(listing: Listing, label_file: str, names: Sequence[str], without: str | None = None) -> str:
    """Returns the folder, relative to the root, below which most of the images of a label file lie.

    Args:
      listing: of the data set.
      label_file: relative to the root; among folders with equally many images, that of this file's split wins, and then the one
        nearest to it.
      names: of the images, as the file has them.
      without: a folder that holds something else under the same names.

    Raises:
      ValueError: none of the names is found in any folder; names the file and the first of them.
    """
    sample = [name.replace("\\", "/").lstrip("/") for name in names[:: max(1, len(names) // _SAMPLE)]]
    folders = [folder for folder in _with_parents(listing.folders()) if folder != without]
    counts = {folder: _count(listing, folder, sample) for folder in folders}
    if not any(counts.values()):  # Programs put their own folders before the name.
        sample = [name.rpartition("/")[2] for name in sample]
        counts = {folder: _count(listing, folder, sample) for folder in folders}
    most = max(counts.values(), default=0)
    if not most:
        counts = {folder: _count_folded(listing, folder, sample) for folder in listing.folders()}
        most = max(counts.values(), default=0)
    if not most:
        first = f", such as `{names[0]}`," if names else ""
        path = listing.path(label_file)
        raise ValueError(f"{path}: none of its {len(names)} images{first} is in {listing.root}; copy them there")
    home, split = label_file.rpartition("/")[0], split_of(label_file)
    best = [folder for folder in folders if counts.get(folder) == most]
    return max(best, key=lambda folder: (bool(split) and split_of(folder) == split, _shared(folder, home), -len(folder)))


def _with_parents(folders: Sequence[str]) -> list[str]:
    found = {""}
    for folder in folders:
        parts = folder.split("/")
        found |= {"/".join(parts[:depth]) for depth in range(1, len(parts) + 1)}
    return sorted(found)


def _count(listing: Listing, folder: str, names: Sequence[str]) -> int:
    start = folder and folder + "/"
    return sum(listing.has(start + name) for name in names)


def _count_folded(listing: Listing, folder: str, names: Sequence[str]) -> int:
    """Returns how many names are there if nothing but letters and digits before the ending counts."""
    there = {_folded(name) for name in listing.names(folder)}
    return sum(_folded(name) in there for name in names)


def _folded(name: str) -> str:
    stem = urllib.parse.unquote(name.rpartition("/")[2]).rpartition(".")[0]
    return "".join(letter for letter in stem.casefold() if letter.isalnum())


def _shared(folder: str, home: str) -> int:
    """Returns how many parts at their beginning two folders share."""
    shared = 0
    for one, other in zip(folder.split("/"), home.split("/"), strict=False):
        if one != other:
            break
        shared += 1
    return shared
