"""What readers of several formats need to know about the images of a folder."""

from collections.abc import Iterator, Sequence

from tpuseg.convert.objects import Finding
from tpuseg.formats.listing import Listing
from tpuseg.formats.split_names import split_of
from tpuseg.io import image_sizes
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
