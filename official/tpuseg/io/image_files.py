"""Decoding image files, for conversion, prediction, calibration and drawing.

This module imports only NumPy and Pillow, so that worker processes start quickly. Records are decoded in a graph, which
gives the same pixels; a test compares the two.
"""

import contextlib
import dataclasses
import functools
import hashlib
import io
import math
import os
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import PIL.Image

# Whether the EXIF orientation of an image is applied.
EXIF_CHOICES = ("apply", "ignore")
# Names of the supported formats in Pillow. Some of Pillow's other formats (EPS) run another program, whatever the file name is.
_FORMATS = ("JPEG", "PNG", "BMP", "DIB", "WEBP", "TIFF", "GIF", "JPEG2000", "AVIF", "PPM", "TGA")
# Pillow's own limit; larger images would need gigabytes, and small files can have headers with any size.
MAX_PIXELS = 178_956_970
MAX_FILE_BYTES = 1 << 31
# Records and first convolutions with more channels were not tested.
MAX_CHANNELS = 64
# Pillow also warns at half of its limit, which is not needed.
warnings.filterwarnings("ignore", category=PIL.Image.DecompressionBombWarning)
_EXIF_ORIENTATION = 0x0112
# Position of the bits per channel in the header of a PNG.
_PNG_BITS = 24
# Tags of TIFF: bits per channel, the meaning of zero, and whether integers are signed.
_TIFF_BITS, _TIFF_ZERO_IS, _TIFF_SAMPLES = 258, 262, 339
# Tag of TIFF: 2 if all values of a channel are stored before those of the next one.
_TIFF_PLANES = 284
# Key under which `open_image` saves the orientation of a TIFF, because Pillow applies it when it decodes the pixels.
_TIFF_ORIENTATION = "orientation of the TIFF"
# Errors that Pillow raises for damaged files, in addition to OSError. Any other error is a bug.
UNREADABLE = (
    SyntaxError,
    ValueError,
    ArithmeticError,
    LookupError,
    TypeError,
    AttributeError,
    EOFError,
    MemoryError,
    NotImplementedError,
    RuntimeError,
    struct.error,
    zlib.error,
    PIL.Image.DecompressionBombError,
)


@dataclasses.dataclass(frozen=True)
class WideValues:
    """The values of an image with more than 8 bits per channel.

    Attributes:
      smallest: smallest value.
      largest: largest value.
      bits: bits per channel in the file.
      kind: `16-bit`, `32-bit integer` or `float`.
      clipped: fraction of the values outside of the range from black to white.
    """

    smallest: float
    largest: float
    bits: int
    kind: str
    clipped: float


@dataclasses.dataclass(frozen=True)
class Decoded:
    """The pixels of an image file.

    Attributes:
      pixels: [height, width, 3] uint8 RGB pixels.
      orientation: orientation in the EXIF data, 1 (upright) to 8; 1 if there is none.
      wide: original values of an image with more than 8 bits per channel; otherwise None.
    """

    pixels: np.ndarray
    orientation: int
    wide: WideValues | None


def read_rgb(data: bytes | str, exif: str = "apply", pixel_range: Sequence[float] = ()) -> np.ndarray:
    """Decodes an image or a file to [height, width, 3] uint8 RGB; see `decode`."""
    return decode(data, exif, pixel_range).pixels


def decode(data: bytes | str, exif: str = "apply", pixel_range: Sequence[float] = ()) -> Decoded:
    """Decodes an image to RGB with 8 bits per channel; transparency is dropped.

    Args:
      data: the encoded image, or the path of a file.
      exif: `apply` applies the EXIF orientation; `ignore` returns the pixels as they are stored.
      pixel_range: the values that become black and white in images with more than 8 bits per channel. By default, the range of
        16-bit images is 0 to 65535 (of 12-bit images, 0 to 4095), and wider integers and floats are an error.

    Raises:
      OSError: the file does not exist, or cannot be read.
      ValueError: the image cannot be decoded; the message names the file.
    """
    check_exif(exif)
    raw, name = (data, "the image") if isinstance(data, bytes) else (read_bytes(data), data)
    with open_image(raw, name) as image:
        orientation = orientation_of(image)
        pixels, wide = pixels_of(image, raw, name, pixel_range)
    return Decoded(upright(pixels, orientation) if exif == "apply" else pixels, orientation, wide)


@functools.cache
def formats() -> tuple[str, ...]:
    """Returns the names of the supported formats: those of `_FORMATS` that the installed Pillow was built with."""
    PIL.Image.init()
    return tuple(name for name in _FORMATS if name in PIL.Image.OPEN)


def check_exif(exif: str) -> None:
    """Raises ValueError unless the value is one of `EXIF_CHOICES`."""
    if exif not in EXIF_CHOICES:
        raise ValueError(f"exif is `{exif}`, but must be one of {', '.join(EXIF_CHOICES)}")


def pixels_of(
    image: PIL.Image.Image, raw: bytes, name: str, pixel_range: Sequence[float] = ()
) -> tuple[np.ndarray, WideValues | None]:
    """Returns the pixels of an image as they are stored, and the original values if they have more than 8 bits.

    Args:
      image: the image that `open_image` opened.
      raw: content of the file.
      name: name of the file, for messages.
      pixel_range: see `decode`.

    Returns:
      The pixels, [H, W, 3] uint8, and a description of the original values or None.
    """
    bits = bits_of(image, raw)
    if bits <= 8:
        return _restore_orientation(np.asarray(image.convert("RGB")), image), None
    if image.format == "TIFF" and len(image.getbands()) > 1 and _read_tag(image, _TIFF_PLANES, 1) == 2:
        # Pillow and OpenCV return wrong pixels without an error.
        raise ValueError(f"its {bits}-bit colours are stored in separate planes; save it with interleaved colours or with 8 bits")
    values = wide_values(image, raw, always=bool(pixel_range))
    if values is not None:
        narrow, wide = narrow_values(values, pixel_range, bits, name)
        return _restore_orientation(narrow if narrow.ndim == 3 else np.repeat(narrow[..., np.newaxis], 3, axis=2), image), wide
    upper = _restore_orientation(np.asarray(image.convert("RGB")), image)  # Pillow returns the upper bytes of 16-bit colours.
    return upper, WideValues(float(upper.min()) * 256, float(upper.max()) * 256 + 255, bits, "16-bit", 0.0)


def read_bytes(path: str) -> bytes:
    """Returns the content of an image file.

    Raises:
      OSError: the file does not exist, or is not a regular file.
      ValueError: the file is too large.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        raise OSError(f"{printable(path)} is not a regular file")
    if os.path.getsize(path) > MAX_FILE_BYTES:
        raise ValueError(f"{printable(path)} has {os.path.getsize(path):,d} bytes, more than {MAX_FILE_BYTES:,d}; make it smaller")
    with open(path, "rb") as file:
        return file.read()


def printable(path: str) -> str:
    """Returns a path that can be printed; bytes that are not UTF-8 become escapes with a backslash."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


@contextlib.contextmanager
def open_image(raw: bytes, name: str, what: str = "image") -> Iterator[PIL.Image.Image]:
    """Opens and decodes an encoded image; errors of the image in the block become a ValueError that names the file.

    Args:
      raw: the encoded image.
      name: name of the file, for messages.
      what: kind of the file, for messages.
    """
    name = printable(name)
    try:
        with PIL.Image.open(io.BytesIO(raw), formats=formats()) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise PIL.Image.DecompressionBombError(f"it has {width}x{height} pixels, more than {MAX_PIXELS:,d}")
            # Read before anything else, because Pillow decodes some files to find their EXIF data, and reports damaged pixels once.
            orientation = _read_tiff_orientation(image)
            image.load()
            image.info[_TIFF_ORIENTATION] = orientation
            yield image
    except PIL.UnidentifiedImageError as error:
        # Pillow's message contains the address of the buffer instead of the name of the file.
        bands = "; a TIFF of more than 4 channels needs their number, see docs/own_data.md" * raw.startswith((b"II*\0", b"MM\0*"))
        raise ValueError(f"{name} cannot be read as {_add_article(what)}: it is none of {', '.join(formats())}{bands}") from error
    except PIL.Image.DecompressionBombError as error:
        said = _shorten_bomb_error(error)
        raise ValueError(f"{name} cannot be read as {_add_article(what)}: {said}; make it smaller, or cut it into tiles") from error
    except (OSError, *UNREADABLE) as error:
        if isinstance(error, ValueError) and str(error).startswith(name):
            raise  # This message already names the file.
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(f"{name} cannot be read as {_add_article(what)}: {said}") from error


def _add_article(what: str) -> str:
    return f"{'an' if what[0] in 'aeiou' else 'a'} {what}"


def _shorten_bomb_error(error: PIL.Image.DecompressionBombError) -> str:
    """Returns Pillow's message without its remark about attacks."""
    return str(error).split(", could be")[0]


def digest(pixels: np.ndarray) -> bytes:
    """Returns a digest of the size and the pixels of an image, which is equal for images with the same pixels.

    Args:
      pixels: [H, W] or [H, W, N].
    """
    return hashlib.sha1(f"{pixels.shape}".encode() + np.ascontiguousarray(pixels).tobytes()).digest()


def orientation_of(image: PIL.Image.Image) -> int:
    """Returns the orientation in the EXIF data of an image, 1 to 8; 1 if there is none, or if its value is not defined.

    Damaged EXIF data is ignored, because the pixels may be intact.
    """
    if image.format == "TIFF":
        return int(image.info.get(_TIFF_ORIENTATION, 1))  # Without `open_image`, the size is the one after the orientation.
    try:
        value = image.getexif().get(_EXIF_ORIENTATION, 1)
    except (OSError, *UNREADABLE):
        return 1
    return int(value) if isinstance(value, int) and 1 <= value <= 8 else 1


def _read_tiff_orientation(image: PIL.Image.Image) -> int:
    """Returns the orientation of a TIFF that is not decoded yet; 1 for other files."""
    value = image.tag_v2.get(_EXIF_ORIENTATION, 1) if image.format == "TIFF" else 1  # type: ignore[attr-defined]
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def stored_size(image: PIL.Image.Image) -> tuple[int, int]:
    """Returns height and width of the stored pixels of an image that `open_image` opened."""
    turned = image.format == "TIFF" and orientation_of(image) >= 5
    return (image.width, image.height) if turned else (image.height, image.width)


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Applies an EXIF orientation (CIPA DC-008, section 4.6.5) to [H, W, ...] pixels."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def _restore_orientation(pixels: np.ndarray, image: PIL.Image.Image) -> np.ndarray:
    """Returns the pixels of a decoded image in the orientation of its file: inverts `upright` for a TIFF."""
    orientation = orientation_of(image) if image.format == "TIFF" else 1
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels.swapaxes(0, 1) if orientation >= 5 else pixels)


def bits_of(image: PIL.Image.Image, raw: bytes) -> int:
    """Returns the bits per channel of an image's file, at least 8."""
    if image.format == "PNG":
        return max(8, raw[_PNG_BITS])  # Pillow converts 16-bit RGB to 8 bits without a message.
    if image.format == "TIFF":
        bits = image.tag_v2.get(_TIFF_BITS, (8,))  # type: ignore[attr-defined]
        return max(8, *(bits if isinstance(bits, tuple) else (bits,)))
    return 16 if image.mode.startswith("I;16") else 32 if image.mode in ("I", "F") else 8


def wide_values(image: PIL.Image.Image, raw: bytes, always: bool = True) -> np.ndarray | None:
    """Returns the values of an image with more than 8 bits per channel, [H, W] or [H, W, 3].

    Args:
      image: image opened by Pillow.
      raw: content of the file.
      always: whether 16-bit colours, for which another library is needed, are read too; otherwise None is returned for them.
    """
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        values = np.asarray(image)
        if image.format in ("PNG", "PPM"):
            return values.astype(np.uint16)  # Pillow may return them with 32 bits.
        if values.dtype == np.int32 and image.format == "TIFF" and _read_tag(image, _TIFF_SAMPLES, 1) == 1:
            values = values.view(np.uint32)  # Pillow interprets them as signed.
        if image.format == "TIFF" and _read_tag(image, _TIFF_ZERO_IS, 1) == 0 and values.dtype.kind == "u":
            return np.iinfo(values.dtype).max - values  # Zero is white.
        return values.astype(values.dtype.newbyteorder("="))
    return _decode_wide_colors(raw) if always else None


def _read_tag(image: PIL.Image.Image, tag: int, default: int) -> int:
    value: Any = image.tag_v2.get(tag, default)  # type: ignore[attr-defined]
    return int(value[0] if isinstance(value, tuple) else value)


def _decode_wide_colors(raw: bytes) -> np.ndarray:
    """Returns the [H, W, 3] values of a file with 16-bit colours, with or without transparency."""
    import cv2  # Imported here because it takes half a second, and such files are rare.

    try:
        values = cv2.imdecode(np.frombuffer(raw, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise ValueError(f"its 16-bit colours cannot be decoded ({error.err}); save it with 8 bits per channel") from error
    if values is None or values.dtype.itemsize == 1:
        raise ValueError("its 16-bit colours cannot be decoded; save it with 8 bits per channel")
    if values.ndim == 2 or values.shape[2] < 3:
        return np.repeat(values.reshape(*values.shape[:2], -1)[..., :1], 3, axis=2)
    return values[..., 2::-1]  # OpenCV's order is blue, green, red and transparency.


def _describe_kind(values: np.ndarray) -> str:
    return "float" if values.dtype.kind == "f" else "16-bit" if values.dtype.itemsize == 2 else "32-bit integer"


def narrow_values(values: np.ndarray, pixel_range: Sequence[float], bits: int, name: str) -> tuple[np.ndarray, WideValues]:
    """Converts values with more than 8 bits to uint8.

    Args:
      values: values of any shape with more than 8 bits.
      pixel_range: see `decode`.
      bits: bits per value in the file.
      name: name of the file, for messages.

    Returns:
      uint8 values of the same shape, and a description of the original values.

    Raises:
      ValueError: the values of black and white are not defined.
    """
    kind = _describe_kind(values)
    if values.dtype.kind == "f":
        values = np.nan_to_num(values, nan=pixel_range[0] if pixel_range else 0.0)
    smallest, largest = float(values.min()), float(values.max())
    if not pixel_range and kind != "16-bit":
        raise ValueError(
            f"{printable(name)} has {kind} values from {smallest:g} to {largest:g}, and the values of black and white are not"
            " defined; give them as --pixel_range=LOW,HIGH when converting (task.pixel_range of the model when predicting), or"
            " save it with 8 bits per channel"
        )
    low, high = pixel_range or (0, (1 << min(bits, 16)) - 1)
    outside = (values < low) | (values > high) if smallest < low or largest > high else np.zeros(1, bool)
    detail = WideValues(smallest, largest, bits, kind, float(outside.mean()))
    return to_eight_bits(values, low, high), detail


def to_eight_bits(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Converts values of any type to uint8: 0 for `low` and below, 255 for `high` and above, in 256 steps of equal width.

    For 16-bit values from 0 to 65535, the result is the upper byte, as in TensorFlow and other libraries.
    """
    if values.dtype == np.uint16:  # A lookup table is faster than arithmetic.
        return to_eight_bits(np.arange(1 << 16, dtype=np.int32), low, high)[values]
    return np.clip(np.floor((values.astype(np.float64) - low) * (256.0 / (high - low))), 0, 255).astype(np.uint8)


def parse_range(text: Sequence[str], flag: str) -> tuple[float, ...]:
    """Parses the two numbers of a flag such as `--pixel_range=0,4095`; the result is empty if the flag is.

    Raises:
      ValueError: the values are not a range; the message names the flag.
    """
    try:
        values = tuple(float(value) for value in text)
    except ValueError:
        values = (math.nan,)
    if not is_range(values):
        raise ValueError(f"{flag}={','.join(text)} is not LOW,HIGH, the values that become black and white, as in {flag}=0,4095")
    return values


def is_range(values: Sequence[float]) -> bool:
    """Returns whether values are a valid `pixel_range`: two finite numbers, the smaller one first, or no numbers."""
    return not values or (len(values) == 2 and all(map(math.isfinite, values)) and values[0] < values[1])
