"""What the header of a TIFF says about its first image: size, channels, type of the values, and whether windows can be read.

Nothing is decoded. This module uses tifffile.
"""

import dataclasses
import logging
import os
from typing import Any, Literal

import numpy as np

from tpuseg.io import image_channels
from tpuseg.io.image_files import printable

# Values of the tag for the compression.
_UNCOMPRESSED, _JPEG = 1, 7
_ASSOCIATED_ALPHA = 1
_TYPES = ("uint8", "uint16", "int16", "uint32", "int32", "float32", "float64")


@dataclasses.dataclass(frozen=True)
class Layout:
    """The first image of a TIFF.

    Attributes:
      size: (h, w) of the stored pixels.
      num_bands: number of channels of the page, including transparency.
      dtype: type of the stored values; None if it is not a plain number.
      is_rgb: whether the first three channels are red, green and blue.
      has_associated_alpha: whether the stored colours are multiplied by the transparency.
      num_pages: number of full-size pages of the same size and type, if the first one has one channel; otherwise 1.
      orientation: 1 (upright) to 8.
      largest_part: bytes of the largest compressed strip or tile in the file, which is read as a whole; 0 without compression.
      obstacle: why windows of it are not read, as the end of a sentence: `its orientation is 6`; empty if they are.
    """

    size: tuple[int, int]
    num_bands: int
    dtype: np.dtype | None
    is_rgb: bool
    has_associated_alpha: bool
    num_pages: int
    orientation: int
    largest_part: int
    obstacle: str


def is_tiff(path: str) -> bool:
    """Returns whether a regular file begins like a TIFF; False if it does not exist."""
    if not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        return file.read(4) in image_channels.TIFF_BEGINNINGS


def read(path: str) -> Layout | None:
    """Reads the header of a TIFF.

    Args:
      path: path of a file that `is_tiff`.

    Returns:
      The layout; None if the header is damaged.

    Raises:
      ValueError: the file is truncated; the message names it.
    """
    import tifffile

    _require_directory(path)
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # It prints a message for every error that it repairs.
    try:
        with tifffile.TiffFile(path) as file:
            first = file.pages[0]
            end = _find_end(first)
            layout = _describe(file, first)
    except Exception:  # tifffile raises errors of many classes for damaged files.
        return None
    if not layout.obstacle and end > os.path.getsize(path):
        raise _truncated(path, end)
    return layout


def _require_directory(path: str) -> None:
    """Raises ValueError if the file ends before the description of its first image, which many programs write last."""
    with open(path, "rb") as file:
        beginning = file.read(16)
    order: Literal["little", "big"] = "little" if beginning[:1] == b"I" else "big"
    is_big = b"+" in beginning[2:4]
    place = int.from_bytes(beginning[8:16] if is_big else beginning[4:8], order)
    if len(beginning) < 8 or place >= os.path.getsize(path):
        raise _truncated(path, place)


def _truncated(path: str, end: int) -> ValueError:
    size = os.path.getsize(path)
    return ValueError(f"{printable(path)} is truncated: it has {size:,d} bytes of at least {end:,d}; copy or download it again")


def _find_end(page: Any) -> int:
    """Returns the end of the last strip or tile in the file, in bytes."""
    counts = page.databytecounts
    if page.compression == _UNCOMPRESSED and page.dtype is not None:
        # Some programs write numbers that are too large, which does no harm here.
        whole = int(np.prod(page.chunks)) * page.dtype.itemsize
        counts = [min(count, whole) for count in counts]
    return max((start + count for start, count in zip(page.dataoffsets, counts, strict=True)), default=0)


def _describe(file: Any, page: Any) -> Layout:
    num_bands, photometric = int(page.samplesperpixel), getattr(page.photometric, "name", str(page.photometric))
    return Layout(
        (int(page.imagelength), int(page.imagewidth)),
        num_bands,
        None if page.dtype is None else page.dtype.newbyteorder("="),
        photometric in ("RGB", "YCBCR") and num_bands >= 3,
        _ASSOCIATED_ALPHA in page.extrasamples,
        _count_pages(file, page) if num_bands == 1 else 1,
        image_channels.read_orientation(page),
        0 if page.compression == _UNCOMPRESSED else max(page.databytecounts, default=0),
        _find_obstacle(page, photometric),
    )


def _count_pages(file: Any, first: Any) -> int:
    """Returns the number of full-size pages; 1 if they differ."""
    pages = [page for page in file.pages if not (page.is_reduced or page.is_mask)]
    return len(pages) if all((page.shape, page.dtype) == (first.shape, first.dtype) for page in pages) else 1


def _find_obstacle(page: Any, photometric: str) -> str:
    """Returns why GDAL and Pillow may read different pixels, or GDAL none; empty if they read the same."""
    orientation = image_channels.read_orientation(page)
    if page.is_reduced or page.is_mask:
        return "its first page is a preview or a mask"
    if orientation != 1:
        return f"its orientation is {orientation} instead of 1"
    if photometric not in ("MINISBLACK", "RGB") and not (photometric == "YCBCR" and page.compression == _JPEG):
        return f"its colours are {photometric} instead of grey or RGB"
    bits = page.bitspersample
    if page.imagedepth != 1 or page.dtype is None or page.dtype.name not in _TYPES or bits != page.dtype.itemsize * 8:
        return f"its values have the type {page.dtype} with {bits} bits"
    return ""
