"""What readers of several formats need to know about the images of a folder."""

import collections
import posixpath
from collections.abc import Iterator, Sequence

from tpuseg.convert import image_files
from tpuseg.convert.objects import Finding
from tpuseg.formats.listing import Listing
from tpuseg.formats.split_names import split_of
from tpuseg.io import image_sizes
from tpuseg.io.image_paths import ENDINGS
from tpuseg.utils import parallel

_THREADS = 8


def read_sizes(listing: Listing, images: Sequence[str], findings: list[Finding]) -> Iterator[tuple[int, int] | None]:
    """Yields height and width of upright images; None for one that cannot be read, which becomes a finding.

    Args:
      listing: of the data set.
      images: relative to its root.
      findings: gets those that cannot be read.
    """

    def size_or_error(path: str) -> tuple[int, int] | str:
        try:
            return image_sizes.upright_size(listing.path(path))
        except ValueError as error:
            return str(error)

    for size in parallel.map_in_threads(size_or_error, images, _THREADS):
        if isinstance(size, str):
            findings.append(Finding("image_unreadable", size))
            yield None
        else:
            yield size


def split_of_folder(image: str) -> str:
    """Returns the split that the folders of an image name; empty if they name none."""
    return split_of(image.rpartition("/")[0])


class ImageFinder:
    """Finds the images of label files, also where these have folders of another machine in their names."""

    def __init__(self, listing: Listing) -> None:
        """Takes the images that are there."""
        self._listing = listing
        self._by_name: dict[str, list[str]] = collections.defaultdict(list)
        for path in listing.images():
            self._by_name[image_files.normal_form(path.rpartition("/")[2])].append(path)

    def find(self, name: str, home: str = "") -> tuple[str | None, str]:
        """Returns the path of an image relative to the root, or None and why it is not found.

        The name is a path from the folder of the label file, or from the root, or only its last part is the image's name. If
        several images have that name, the one counts whose path shares most with the end of the name, or lies nearest to the label
        file.

        Args:
          name: as the label file has it.
          home: folder of the label file, relative to the root.
        """
        plain = name.replace("\\", "/")
        for start in (home, ""):
            path = posixpath.normpath(posixpath.join(start, plain))
            if self._listing.has(path) and path.lower().endswith(ENDINGS):
                return path, ""
        candidates = self._by_name.get(image_files.normal_form(plain.rpartition("/")[2]), [])
        if not candidates:
            return None, f"there is no image {name[:100]}"
        ends = [_shared_end(path, plain) for path in candidates]
        best = [path for path, shared in zip(candidates, ends, strict=True) if shared == max(ends)]
        near = [path for path in best if path.rpartition("/")[0] == home] or best
        return (near[0], "") if len(near) == 1 else (None, f"{name[:100]} can be {near[0]} or {near[1]}")


def _shared_end(path: str, name: str) -> int:
    shared = 0
    for one, other in zip(reversed(path.split("/")), reversed(name.split("/")), strict=False):
        if image_files.normal_form(one) != image_files.normal_form(other):
            break
        shared += 1
    return shared
