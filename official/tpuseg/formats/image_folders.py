"""Finding the folder with the images of a label file by the names of the images."""

import urllib.parse
from collections.abc import Sequence

from tpuseg.formats.listing import Listing
from tpuseg.formats.split_names import split_of

# Number of names of a label file, evenly distributed, that are searched for.
_SAMPLE = 50


def find_image_folder(listing: Listing, label_file: str, names: Sequence[str], without: str | None = None) -> str:
    """Returns the folder, relative to the root, that contains most of the images of a label file.

    Args:
      listing: files of the data set's folder.
      label_file: path of the label file relative to the root; among folders with the same number of images, the one of this file's
        split is chosen, otherwise the one nearest to the file.
      names: names of the images in the label file.
      without: a folder with other files of the same names, which is not considered.

    Raises:
      ValueError: no folder contains any of the images; the message names the label file and the first image.
    """
    sample = [name.replace("\\", "/").lstrip("/") for name in names[:: max(1, len(names) // _SAMPLE)]]
    folders = [folder for folder in _with_parents(listing.folders()) if folder != without]
    counts = {folder: _count(listing, folder, sample) for folder in folders}
    if not any(counts.values()):  # Some programs write names with folders of their own.
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
    return max(
        best, key=lambda folder: (bool(split) and split_of(folder) == split, _count_shared_parts(folder, home), -len(folder))
    )


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
    """Returns how many of the names exist if only their letters and digits before the ending are compared."""
    existing = {_fold_name(name) for name in listing.names(folder)}
    return sum(_fold_name(name) in existing for name in names)


def _fold_name(name: str) -> str:
    stem = urllib.parse.unquote(name.rpartition("/")[2]).rpartition(".")[0]
    return "".join(letter for letter in stem.casefold() if letter.isalnum())


def _count_shared_parts(folder: str, home: str) -> int:
    """Returns the number of equal parts at the beginning of two paths."""
    shared = 0
    for one, other in zip(folder.split("/"), home.split("/"), strict=False):
        if one != other:
            break
        shared += 1
    return shared
