"""Finding the images of a folder, their sizes and splits, for the readers of several formats."""

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
    """Yields height and width in pixels of images in their upright orientation; None for an image that cannot be read.

    Args:
      listing: files of the data set's folder.
      images: paths of the images relative to the root.
      findings: list to which images that cannot be read are added.
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
    """Returns the split in the names of an image's folders; empty if they contain none."""
    return split_of(image.rpartition("/")[0])


class ImageFinder:
    """Finds the images of label files, also if the names contain folders of another machine."""

    def __init__(self, listing: Listing) -> None:
        """Lists the existing images by name."""
        self._listing = listing
        self._by_name: dict[str, list[str]] = collections.defaultdict(list)
        for path in listing.images():
            self._by_name[image_files.normal_form(path.rpartition("/")[2])].append(path)

    def find(self, name: str, home: str = "") -> tuple[str | None, str]:
        """Returns the path of an image relative to the root; or None, and the reason why it was not found.

        The name is a path relative to the folder of the label file or to the root; otherwise, images with the same last part are
        candidates. Of several candidates, the one is chosen whose path has most parts at the end in common with the name, and then
        the one in the folder of the label file.

        Args:
          name: name of the image in the label file.
          home: folder of the label file relative to the root.
        """
        plain = name.replace("\\", "/")
        for start in (home, ""):
            path = posixpath.normpath(posixpath.join(start, plain))
            if self._listing.has(path) and path.lower().endswith(ENDINGS):
                return path, ""
        candidates = self._by_name.get(image_files.normal_form(plain.rpartition("/")[2]), [])
        if not candidates:
            return None, f"the image {name[:100]} does not exist"
        ends = [_count_shared_end(path, plain) for path in candidates]
        best = [path for path, shared in zip(candidates, ends, strict=True) if shared == max(ends)]
        near = [path for path in best if path.rpartition("/")[0] == home] or best
        return (near[0], "") if len(near) == 1 else (None, f"{name[:100]} can be {near[0]} or {near[1]}")


def _count_shared_end(path: str, name: str) -> int:
    """Returns the number of equal parts at the end of two paths."""
    shared = 0
    for one, other in zip(reversed(path.split("/")), reversed(name.split("/")), strict=False):
        if image_files.normal_form(one) != image_files.normal_form(other):
            break
        shared += 1
    return shared
