"""Image files of another number of channels than three, and how records hold them.

Which files have how many channels:

    1      grey images of every format, and RGB ones whose three channels are equal
    2      grey with transparency (PNG), TIFF
    4      RGB with transparency (PNG and others), whatever the fourth channel means; TIFF
    others TIFF: bands of one page, in either planar configuration, or as many pages of one band each

The values are taken as the file stores them: nothing is multiplied by transparency. Three channels are left to `image_files`, which
drops transparency and repeats grey.

A record holds one channel as a grey image, four as a PNG with transparency, and N others as a grey PNG in which the channels lie
below each other, since a graph decodes nothing wider:

    channels [H, W, N]      PNG [N H, W]
    (a) (b)  of N = 2       a a a
                            a a a
                            b b b
                            b b b

NumPy, Pillow and, for TIFF, tifffile; records are decoded in a graph by `records.decode_image`.
"""

import dataclasses
import io
import logging
import math
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import PIL.Image

from tpuseg.io import image_files
from tpuseg.io.image_files import Decoded, WideValues, printable
from tpuseg.utils.messages import format_count

RGB = 3
# As PNG and, of one channel, JPEG have them; others are stacked.
_GREY, _WITH_TRANSPARENCY = 1, 4
_TIFF_BEGINNINGS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_TIFF_ORIENTATION = 274
# Numbers of deflate in a TIFF's tag of compression.
_DEFLATE = (8, 32946)
# What Pillow and TensorFlow decode alike, by the number of channels.
_PLAIN_MODES: dict[int, dict[str, tuple[str, ...]]] = {
    _GREY: {"JPEG": ("L",), "PNG": ("1", "L")},
    _WITH_TRANSPARENCY: {"PNG": ("RGBA",)},
}


class WrongChannelsError(ValueError):
    """An image has another number of channels than all images of its data set should have."""


@dataclasses.dataclass(frozen=True)
class Stored:
    """An image file's channels.

    Attributes:
      pixels: [height, width, N] uint8, as they are stored.
      orientation: what the EXIF data says, 1 (upright) to 8; 1 where there is none.
      wide: of an image of more than 8 bits a channel; otherwise None.
      form: of the file, in words: `TIFF format`, `16-bit PNG`.
      plain_format: `jpeg` or `png` if a graph decodes the file itself to the same values; otherwise empty.
    """

    pixels: np.ndarray
    orientation: int
    wide: WideValues | None
    form: str
    plain_format: str = ""


def is_stacked(num_channels: int) -> bool:
    """Returns whether records hold so many channels below each other."""
    return num_channels not in (_GREY, RGB, _WITH_TRANSPARENCY)


def decode(data: bytes | str, num_channels: int, exif: str = "apply", pixel_range: Sequence[float] = ()) -> Decoded:
    """Decodes an image with any number of channels to 8 bits a channel.

    Args:
      data: the encoded image, or the path of a file.
      num_channels: that it must have; with 3, transparency is dropped and grey repeated.
      exif: see `image_files.decode`.
      pixel_range: see `image_files.decode`; the same for all channels.

    Returns:
      The pixels, [height, width, num_channels] uint8, and the rest as `image_files.decode`.

    Raises:
      OSError: the file is not there, or cannot be read.
      ValueError: it is no image that can be decoded, or has another number of channels; names the file.
    """
    if num_channels == RGB:
        return image_files.decode(data, exif, pixel_range)
    image_files.check_exif(exif)
    raw, name = (data, "the image") if isinstance(data, bytes) else (image_files.read_bytes(data), data)
    found = read(raw, name, num_channels, pixel_range)
    pixels = image_files.upright(found.pixels, found.orientation) if exif == "apply" else found.pixels
    return Decoded(pixels, found.orientation, found.wide)


def read(raw: bytes, name: str, num_channels: int, pixel_range: Sequence[float] = ()) -> Stored:
    """Reads the channels of a file, which are not three.

    Args:
      raw: the whole file.
      name: of the file, for messages.
      num_channels: that it must have.
      pixel_range: see `image_files.decode`.

    Raises:
      WrongChannelsError: it has another number of them.
      ValueError: it cannot be read; names it.
    """
    bands = _tiff_bands(raw, name, num_channels) if raw.startswith(_TIFF_BEGINNINGS) else None
    if bands is not None:
        found = _narrow_values(*bands, pixel_range, name)
    else:
        with image_files.open_image(raw, name) as image:
            found = _with_pillow(image, raw, name, num_channels, pixel_range)
    if found.pixels.size > image_files.MAX_PIXELS and is_stacked(num_channels):
        height, width = found.pixels.shape[:2]
        raise ValueError(
            f"{printable(name)} has {width}x{height} pixels of {num_channels} channels, together more than"
            f" {image_files.MAX_PIXELS:,d} values; cut it into tiles"
        )
    return found


def png(pixels: np.ndarray) -> bytes:
    """Returns [H, W, N] uint8 as the PNG in which a record holds it."""
    height, width, count = pixels.shape
    if count == RGB or count == _WITH_TRANSPARENCY:
        image = PIL.Image.fromarray(pixels)
    else:
        image = PIL.Image.fromarray(np.ascontiguousarray(pixels.transpose(2, 0, 1)).reshape(count * height, width))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _with_pillow(image: PIL.Image.Image, raw: bytes, name: str, num_channels: int, pixel_range: Sequence[float]) -> Stored:
    """Reads the channels of anything but a TIFF of several bands."""
    orientation, bits = image_files.orientation_of(image), image_files.bits_of(image, raw)
    plain = _PLAIN_MODES.get(num_channels, {}).get(str(image.format), ())
    form = f"{bits}-bit {image.format}" if bits > 8 else f"{image.format} format"
    form += ", of which the first frame or page is used" * bool(getattr(image, "is_animated", False))
    if bits == 8 and image.mode in plain:
        pixels = np.asarray(image.convert("L"))[..., np.newaxis] if num_channels == _GREY else np.asarray(image)
        return Stored(pixels, orientation, None, form, str(image.format).lower())
    found = _count(image)
    if num_channels == _GREY and found != _WITH_TRANSPARENCY:
        pixels, wide = image_files.pixels_of(image, raw, name, pixel_range)
        if (pixels == pixels[..., :1]).all():
            detail = form if image.mode in ("1", "L") or bits > 8 else f"{image.mode} colours"
            return Stored(pixels[..., :1], orientation, wide, detail)
    if found != num_channels or num_channels not in (2, _WITH_TRANSPARENCY):
        raise WrongChannelsError(_wrong_count(name, found, num_channels))
    if bits > 8:
        pixels, wide = image_files.narrow_values(_wide_channels(raw, num_channels), pixel_range, bits, name)
        return Stored(pixels, orientation, wide, form)
    mode = "LA" if num_channels == 2 else "RGBA"
    return Stored(np.asarray(image.convert(mode)), orientation, None, form if image.mode == mode else f"{image.mode} colours")


def _count(image: PIL.Image.Image) -> int:
    """Returns the number of channels that a file has for the readers of images: colours, and transparency."""
    if image.mode in ("LA", "La"):
        return 2
    if image.mode in ("1", "L", "I", "F") or image.mode.startswith("I;16"):
        return 1
    # The four values of CMYK are inks, of which people see three colours.
    return 4 if image.mode in ("RGBA", "RGBa") or (image.mode != "CMYK" and image.has_transparency_data) else 3


def _wrong_count(name: str, found: int, num_channels: int) -> str:
    channels = format_count(found, "channel")
    if num_channels > _WITH_TRANSPARENCY and found <= _WITH_TRANSPARENCY:
        channels += ", and files of more than 4 are TIFFs"
    return (
        f"{printable(name)} has {channels}, but the number asked for is {num_channels}; give --num_channels={found} when converting"
        f" (task.model.num_channels of the model when predicting), or an image of {num_channels}"
    )


def _wide_channels(raw: bytes, num_channels: int) -> np.ndarray:
    """Returns [H, W, N] uint16 of a PNG with 16 bits and transparency, N 2 or 4."""
    import cv2  # Half a second to import, for files that are rare.

    values = cv2.imdecode(np.frombuffer(raw, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or values.ndim != 3 or values.shape[2] != _WITH_TRANSPARENCY or values.dtype != np.uint16:
        raise ValueError("its 16-bit channels cannot be decoded; save it as TIFF, or with 8 bits a channel")
    # OpenCV has blue, green, red and transparency, and repeats grey.
    return values[..., [2, 1, 0, 3]] if num_channels == _WITH_TRANSPARENCY else values[..., [0, 3]]


def _narrow_values(values: np.ndarray, bits: int, orientation: int, pixel_range: Sequence[float], name: str) -> Stored:
    """Returns the bands of a TIFF with 8 bits each."""
    if bits < 8:
        values = image_files.to_eight_bits(values, 0, (1 << bits) - 1)
    wide = None
    if values.dtype != np.uint8:
        values, wide = image_files.narrow_values(values, pixel_range, bits, name)
    return Stored(values, orientation, wide, f"{bits}-bit TIFF" if bits > 8 else "TIFF format")


def _tiff_bands(raw: bytes, name: str, num_channels: int) -> tuple[np.ndarray, int, int] | None:
    """Returns [H, W, N] values of a TIFF, its bits a channel and its orientation; None if Pillow reads it as a grey image."""
    import tifffile  # Only for files of several bands.

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # It prints what it repairs.
    try:
        with tifffile.TiffFile(io.BytesIO(raw)) as file:
            pages = [page for page in file.pages if not (page.is_reduced or page.is_mask)]
            chosen, found = _pages_of(pages, num_channels)
            if num_channels == _GREY and found in (_GREY, RGB):
                return None
            if found != num_channels:
                raise WrongChannelsError(_wrong_count(name, found, num_channels))
            _require_size(chosen, num_channels)
            _require_no_more_than_promised(chosen, raw)
            values = np.concatenate([_bands_last(page) for page in chosen], axis=-1)
            return values, int(chosen[0].bitspersample), _orientation(chosen[0])
    except WrongChannelsError:
        raise
    except Exception as error:  # tifffile raises many kinds for broken files, and one of its own.
        said = " ".join(str(error).split())[:200] or type(error).__name__
        way_out = "; install it (pip install imagecodecs), or save the image uncompressed or with deflate" * ("imagecodecs" in said)
        raise ValueError(f"{printable(name)} cannot be read as an image: {said}{way_out}") from error


def tiff_size(path: str) -> tuple[int, int] | None:
    """Returns height and width of a TIFF with any number of bands after its orientation is applied; None if it is no TIFF."""
    import tifffile  # Only for files of several bands.

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # It prints what it repairs.
    try:
        with tifffile.TiffFile(path) as file:
            first = next(page for page in file.pages if not (page.is_reduced or page.is_mask))
            height, width = int(first.imagelength), int(first.imagewidth)
            return (width, height) if _orientation(first) >= 5 else (height, width)
    except Exception:  # tifffile raises many kinds for broken files.
        return None


def _orientation(page: Any) -> int:
    """Returns the orientation of a TIFF's page, 1 (upright) to 8."""
    tag = page.tags.get(_TIFF_ORIENTATION)
    return int(tag.value) if tag is not None and tag.value in range(1, 9) else 1


def _pages_of(pages: Sequence[Any], num_channels: int) -> tuple[Sequence[Any], int]:
    """Returns the pages that hold the channels of a TIFF, and how many channels these are."""
    if not pages:
        raise ValueError("it has no page with an image")
    first = pages[0]
    same = all((page.shape, page.dtype) == (first.shape, first.dtype) for page in pages)
    if first.samplesperpixel == 1 and same and len(pages) == num_channels:
        return pages, num_channels
    return pages[:1], int(first.samplesperpixel)


def _require_size(pages: Sequence[Any], num_channels: int) -> None:
    """Raises ValueError for pages that would take absurd amounts of memory, before they are decoded."""
    first = pages[0]
    if first.imagedepth != 1 or first.dtype is None or first.dtype.kind not in "uif" or first.dtype.itemsize > 8:
        raise ValueError(f"its values are {first.dtype} of depth {first.imagedepth}, not numbers of 1 to 64 bits in one plane")
    pixels = first.imagewidth * first.imagelength
    if pixels * (num_channels if is_stacked(num_channels) else 1) > image_files.MAX_PIXELS:
        size = f"{first.imagewidth}x{first.imagelength} pixels of {num_channels} channels"
        raise ValueError(f"it has {size}, more than {image_files.MAX_PIXELS:,d} values; cut it into tiles")


def _require_no_more_than_promised(pages: Sequence[Any], raw: bytes) -> None:
    """Raises ValueError if a deflated strip or tile holds more bytes than its page promises; tifffile would decode all of them."""
    for page in pages:
        if page.compression not in _DEFLATE:
            continue
        limit = math.prod(page.chunks) * page.dtype.itemsize
        for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
            decoder = zlib.decompressobj()
            if len(decoder.decompress(raw[offset : offset + count], limit + 1)) > limit:
                raise ValueError(f"a strip or tile of it holds more than the {limit:,d} bytes of its pixels")


def _bands_last(page: Any) -> np.ndarray:
    """Returns the values of a page, [H, W, bands]."""
    values = page.asarray()
    if values.ndim == 2:
        return values[..., np.newaxis]
    if values.ndim != 3:
        raise ValueError(f"its values have the shape {values.shape}")
    return np.moveaxis(values, 0, -1) if page.axes.startswith("S") else values
