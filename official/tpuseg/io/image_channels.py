"""Reading image files with another number of channels than three, and encoding them for records.

Number of channels and the files that can have it:

    1      grey images of every format, and RGB images whose three channels are equal
    2      grey with transparency (PNG), TIFF
    4      RGB with transparency (PNG and others), whatever the meaning of the fourth channel; TIFF
    others TIFF: bands of one page, in either planar configuration, or pages with one band each

The stored values are used: they are not multiplied by transparency. `image_files` reads images with three channels; it drops
transparency and repeats grey.

In a record, an image with one channel is a grey image, and one with four channels a PNG with transparency. For another number N, it
is a grey PNG in which the channels are stacked vertically, because TensorFlow decodes at most four channels:

    channels [H, W, N]      PNG [N H, W]
    (a) (b)  of N = 2       a a a
                            a a a
                            b b b
                            b b b

This module uses NumPy, Pillow and, for TIFF, tifffile. Records are decoded in a graph by `records.decode_image`.
"""

import contextlib
import dataclasses
import io
import logging
import math
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import PIL.Image

from tpuseg.io import image_files
from tpuseg.io.image_files import Decoded, WideValues, printable
from tpuseg.utils.messages import format_count

RGB = 3
# zlib's level in a PNG, which is Pillow's default; and the level for windows of large images, of which there are thousands.
COMPRESS_LEVEL, FAST_COMPRESS_LEVEL = 6, 1
# Numbers of channels that are stored without stacking.
_GREY, _WITH_TRANSPARENCY = 1, 4
# The first bytes of a TIFF.
TIFF_BEGINNINGS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_TIFF_ORIENTATION = 274
# Values of a TIFF's compression tag that mean deflate.
_DEFLATE = (8, 32946)
# Formats and modes that Pillow and TensorFlow decode to the same values, by the number of channels.
_PLAIN_MODES: dict[int, dict[str, tuple[str, ...]]] = {
    _GREY: {"JPEG": ("L",), "PNG": ("1", "L")},
    _WITH_TRANSPARENCY: {"PNG": ("RGBA",)},
}


class WrongChannelsError(ValueError):
    """An image has another number of channels than its data set requires."""


@dataclasses.dataclass(frozen=True)
class Stored:
    """The channels of an image file.

    Attributes:
      pixels: [height, width, N] uint8 pixels in the stored orientation.
      orientation: orientation in the EXIF data, 1 (upright) to 8; 1 if there is none.
      wide: original values of an image with more than 8 bits per channel; otherwise None.
      form: description of the file: `TIFF format`, `16-bit PNG`.
      plain_format: `jpeg` or `png` if TensorFlow decodes the file itself to the same values; otherwise empty.
    """

    pixels: np.ndarray
    orientation: int
    wide: WideValues | None
    form: str
    plain_format: str = ""


def is_stacked(num_channels: int) -> bool:
    """Returns whether images with this number of channels are stacked vertically in records."""
    return num_channels not in (_GREY, RGB, _WITH_TRANSPARENCY)


def decode(data: bytes | str, num_channels: int, exif: str = "apply", pixel_range: Sequence[float] = ()) -> Decoded:
    """Decodes an image with any number of channels to 8 bits per channel.

    Args:
      data: the encoded image, or the path of a file.
      num_channels: required number of channels; with 3, transparency is dropped and grey is repeated.
      exif: see `image_files.decode`.
      pixel_range: see `image_files.decode`; the same for all channels.

    Returns:
      The pixels, [height, width, num_channels] uint8, and the other values of `image_files.Decoded`.

    Raises:
      OSError: the file does not exist, or cannot be read.
      ValueError: the image cannot be decoded, or has another number of channels; the message names the file.
    """
    if num_channels == RGB:
        return image_files.decode(data, exif, pixel_range)
    image_files.check_exif(exif)
    raw, name = (data, "the image") if isinstance(data, bytes) else (image_files.read_bytes(data), data)
    found = read(raw, name, num_channels, pixel_range)
    pixels = image_files.upright(found.pixels, found.orientation) if exif == "apply" else found.pixels
    return Decoded(pixels, found.orientation, found.wide)


def read(raw: bytes, name: str, num_channels: int, pixel_range: Sequence[float] = ()) -> Stored:
    """Reads the channels of a file with another number of channels than three.

    Args:
      raw: content of the file.
      name: name of the file, for messages.
      num_channels: required number of channels.
      pixel_range: see `image_files.decode`.

    Raises:
      WrongChannelsError: the file has another number of channels.
      ValueError: the file cannot be read; the message names it.
    """
    bands = _read_tiff_bands(raw, name, num_channels) if raw.startswith(TIFF_BEGINNINGS) else None
    if bands is not None:
        found = _narrow_values(*bands, pixel_range, name)
    else:
        with image_files.open_image(raw, name) as image:
            found = _read_with_pillow(image, raw, name, num_channels, pixel_range)
    if found.pixels.size > image_files.MAX_PIXELS and is_stacked(num_channels):
        height, width = found.pixels.shape[:2]
        raise ValueError(
            f"{printable(name)} has {width}x{height} pixels of {num_channels} channels, together more than"
            f" {image_files.MAX_PIXELS:,d} values; cut it into tiles"
        )
    return found


def png(pixels: np.ndarray, compress_level: int = COMPRESS_LEVEL) -> bytes:
    """Encodes [H, W, N] uint8 pixels as the PNG that is stored in a record.

    Args:
      pixels: the pixels.
      compress_level: zlib's level, 0 to 9. For a noisy image of 1024x1024, level 1 takes 0.10 s and 1.72 MB, level 6 0.34 s and
        1.88 MB.
    """
    height, width, count = pixels.shape
    if count == RGB or count == _WITH_TRANSPARENCY:
        image = PIL.Image.fromarray(pixels)
    else:
        image = PIL.Image.fromarray(np.ascontiguousarray(pixels.transpose(2, 0, 1)).reshape(count * height, width))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=compress_level)
    return buffer.getvalue()


def _read_with_pillow(image: PIL.Image.Image, raw: bytes, name: str, num_channels: int, pixel_range: Sequence[float]) -> Stored:
    """Reads the channels of any file that is not a TIFF with several bands."""
    orientation, bits = image_files.orientation_of(image), image_files.bits_of(image, raw)
    plain = _PLAIN_MODES.get(num_channels, {}).get(str(image.format), ())
    form = f"{bits}-bit {image.format}" if bits > 8 else f"{image.format} format"
    form += ", of which the first frame or page is used" * bool(getattr(image, "is_animated", False))
    if bits == 8 and image.mode in plain:
        pixels = np.asarray(image.convert("L"))[..., np.newaxis] if num_channels == _GREY else np.asarray(image)
        return Stored(pixels, orientation, None, form, str(image.format).lower())
    found = _count_channels(image)
    if num_channels == _GREY and found != _WITH_TRANSPARENCY:
        pixels, wide = image_files.pixels_of(image, raw, name, pixel_range)
        if (pixels == pixels[..., :1]).all():
            detail = form if image.mode in ("1", "L") or bits > 8 else f"{image.mode} colours"
            return Stored(pixels[..., :1], orientation, wide, detail)
    if found != num_channels or num_channels not in (2, _WITH_TRANSPARENCY):
        raise WrongChannelsError(describe_wrong_count(name, found, num_channels))
    if bits > 8:
        pixels, wide = image_files.narrow_values(_read_wide_channels(raw, num_channels), pixel_range, bits, name)
        return Stored(pixels, orientation, wide, form)
    mode = "LA" if num_channels == 2 else "RGBA"
    return Stored(np.asarray(image.convert(mode)), orientation, None, form if image.mode == mode else f"{image.mode} colours")


def _count_channels(image: PIL.Image.Image) -> int:
    """Returns the number of channels of an image: its colours, and transparency."""
    if image.mode in ("LA", "La"):
        return 2
    if image.mode in ("1", "L", "I", "F") or image.mode.startswith("I;16"):
        return 1
    # The four values of CMYK are converted to three colours.
    return 4 if image.mode in ("RGBA", "RGBa") or (image.mode != "CMYK" and image.has_transparency_data) else 3


def describe_wrong_count(name: str, found: int, num_channels: int) -> str:
    """Returns the message for a file that has another number of channels than required."""
    channels = format_count(found, "channel")
    if num_channels > _WITH_TRANSPARENCY and found <= _WITH_TRANSPARENCY:
        channels += ", and only TIFFs have more than 4"
    return (
        f"{printable(name)} has {channels}, but the required number is {num_channels}; give --num_channels={found} when converting"
        f" (task.model.num_channels of the model when predicting), or an image with {num_channels}"
    )


def _read_wide_channels(raw: bytes, num_channels: int) -> np.ndarray:
    """Returns the [H, W, N] uint16 values of a PNG with 16 bits and transparency; N is 2 or 4."""
    import cv2  # Imported here because it takes half a second, and such files are rare.

    values = cv2.imdecode(np.frombuffer(raw, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or values.ndim != 3 or values.shape[2] != _WITH_TRANSPARENCY or values.dtype != np.uint16:
        raise ValueError("its 16-bit channels cannot be decoded; save it as TIFF, or with 8 bits per channel")
    # OpenCV's order is blue, green, red and transparency; grey is repeated.
    return values[..., [2, 1, 0, 3]] if num_channels == _WITH_TRANSPARENCY else values[..., [0, 3]]


def _narrow_values(values: np.ndarray, bits: int, orientation: int, pixel_range: Sequence[float], name: str) -> Stored:
    """Converts the bands of a TIFF to 8 bits."""
    if bits < 8:
        values = image_files.to_eight_bits(values, 0, (1 << bits) - 1)
    wide = None
    if values.dtype != np.uint8:
        values, wide = image_files.narrow_values(values, pixel_range, bits, name)
    return Stored(values, orientation, wide, f"{bits}-bit TIFF" if bits > 8 else "TIFF format")


def _read_tiff_bands(raw: bytes, name: str, num_channels: int) -> tuple[np.ndarray, int, int] | None:
    """Returns a TIFF's [H, W, N] values, bits per channel and orientation; None if Pillow can read it as a grey image."""
    try:
        with _open_tiff(io.BytesIO(raw)) as pages:
            chosen, found = _choose_pages(pages, num_channels)
            if num_channels == _GREY and found in (_GREY, RGB):
                return None
            if found != num_channels:
                raise WrongChannelsError(describe_wrong_count(name, found, num_channels))
            _require_size(chosen, num_channels)
            _require_declared_size(chosen, raw)
            values = np.concatenate([_read_bands(page) for page in chosen], axis=-1)
            return values, int(chosen[0].bitspersample), read_orientation(chosen[0])
    except WrongChannelsError:
        raise
    except Exception as error:  # tifffile raises errors of many classes for damaged files, one of which is its own.
        said = " ".join(str(error).split())[:200] or type(error).__name__
        way_out = "; install it (pip install imagecodecs), or save the image uncompressed or with deflate" * ("imagecodecs" in said)
        raise ValueError(f"{printable(name)} cannot be read as an image: {said}{way_out}") from error


def tiff_size(path: str) -> tuple[int, int] | None:
    """Returns height and width of a TIFF with any number of bands after its orientation is applied; None for other files."""
    try:
        with _open_tiff(path) as (first, *_):
            height, width = int(first.imagelength), int(first.imagewidth)
            return (width, height) if read_orientation(first) >= 5 else (height, width)
    except Exception:  # tifffile raises errors of many classes for damaged files.
        return None


@contextlib.contextmanager
def _open_tiff(source: str | io.BytesIO) -> Iterator[list[Any]]:
    """Opens a TIFF and yields its pages without previews and masks; tifffile's errors are of many classes."""
    import tifffile  # Only needed for files with several bands.

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # It prints a message for every error that it repairs.
    with tifffile.TiffFile(source) as file:
        yield [page for page in file.pages if not (page.is_reduced or page.is_mask)]


def read_orientation(page: Any) -> int:
    """Returns the orientation of a page of a TIFF, 1 (upright) to 8."""
    tag = page.tags.get(_TIFF_ORIENTATION)
    return int(tag.value) if tag is not None and tag.value in range(1, 9) else 1


def _choose_pages(pages: Sequence[Any], num_channels: int) -> tuple[Sequence[Any], int]:
    """Returns the pages that contain the channels of a TIFF, and the number of channels."""
    if not pages:
        raise ValueError("it has no page with an image")
    first = pages[0]
    same = all((page.shape, page.dtype) == (first.shape, first.dtype) for page in pages)
    if first.samplesperpixel == 1 and same and len(pages) == num_channels:
        return pages, num_channels
    return pages[:1], int(first.samplesperpixel)


def _require_size(pages: Sequence[Any], num_channels: int) -> None:
    """Raises ValueError for pages that would need too much memory, before they are decoded."""
    first = pages[0]
    if first.imagedepth != 1 or first.dtype is None or first.dtype.kind not in "uif" or first.dtype.itemsize > 8:
        raise ValueError(f"its values are {first.dtype} of depth {first.imagedepth}, not numbers of 1 to 64 bits in one plane")
    pixels = first.imagewidth * first.imagelength
    if pixels * (num_channels if is_stacked(num_channels) else 1) > image_files.MAX_PIXELS:
        size = f"{first.imagewidth}x{first.imagelength} pixels of {num_channels} channels"
        raise ValueError(f"it has {size}, more than {image_files.MAX_PIXELS:,d} values; cut it into tiles")


def _require_declared_size(pages: Sequence[Any], raw: bytes) -> None:
    """Raises ValueError if a deflated strip or tile has more bytes than its page declares; tifffile would decode all of them."""
    for page in pages:
        if page.compression not in _DEFLATE:
            continue
        limit = math.prod(page.chunks) * page.dtype.itemsize
        for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
            decoder = zlib.decompressobj()
            if len(decoder.decompress(raw[offset : offset + count], limit + 1)) > limit:
                raise ValueError(f"a strip or tile of it contains more than the {limit:,d} bytes of its pixels")


def _read_bands(page: Any) -> np.ndarray:
    """Returns the values of a page, [H, W, bands]."""
    values = page.asarray()
    if values.ndim == 2:
        return values[..., np.newaxis]
    if values.ndim != 3:
        raise ValueError(f"its values have the shape {values.shape}")
    return np.moveaxis(values, 0, -1) if page.axes.startswith("S") else values
