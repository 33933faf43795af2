"""Reading the stored values of PNG masks, which image libraries may change.

This module imports only NumPy and Pillow, so that worker processes start quickly.
"""

import numpy as np
import PIL.Image

from tpuseg.utils.messages import format_count

# Positions of the bits per channel and of the colour type in the header of a PNG.
_BITS, _KIND = 24, 25
_GREY, _PALETTE = 0, 3
# Image libraries scale grey values of 2 and 4 bits to 0..255 by these factors.
_SPREAD = {2: 85, 4: 17}


def values(image: PIL.Image.Image, encoded: bytes) -> np.ndarray:
    """Returns the values of an image's pixels as they are stored in the file.

    Args:
      image: image opened by Pillow.
      encoded: content of the file.

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
    """Returns the kind of a mask file: `palette PNG`, `grey PNG of 4 bits`, `TIFF`."""
    if image.format != "PNG":
        return str(image.format)
    if encoded[_KIND] == _PALETTE:
        return "palette PNG"
    return f"grey PNG of {format_count(encoded[_BITS], 'bit')}"
