"""Masks with a class for every pixel as PNG: the values that a file holds, which not every reader returns as they are.

NumPy and Pillow only, so that worker processes can import it fast.
"""

import numpy as np
import PIL.Image

from tpuseg.utils.messages import counted

# Where a PNG's header has the bits a channel, and the kind of its colours.
_BITS, _KIND = 24, 25
_GREY, _PALETTE = 0, 3
# Readers spread grey values of few bits over 0..255, as if they were brightness.
_SPREAD = {2: 85, 4: 17}


def values(image: PIL.Image.Image, encoded: bytes) -> np.ndarray:
    """Returns the values of an image's pixels as its file holds them.

    Args:
      image: as Pillow opened it.
      encoded: the whole file.

    Returns:
      [H, W] of an integer type (indices for a palette), or [H, W, channels].
    """
    pixels = np.asarray(image)
    if pixels.dtype == bool:
        return pixels.astype(np.uint8)
    if image.format == "PNG" and encoded[_KIND] == _GREY and encoded[_BITS] in _SPREAD:
        return pixels // _SPREAD[encoded[_BITS]]
    return pixels


def describe(image: PIL.Image.Image, encoded: bytes) -> str:
    """Returns what kind of file a mask is: `palette PNG`, `grey PNG of 4 bits`, `TIFF`."""
    if image.format != "PNG":
        return str(image.format)
    if encoded[_KIND] == _PALETTE:
        return "palette PNG"
    return f"grey PNG of {counted(encoded[_BITS], 'bit')}"
