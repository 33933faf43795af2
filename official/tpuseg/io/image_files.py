"""Decoding image files, for conversion, prediction, calibration and drawing.

This module imports only NumPy and Pillow, so that worker processes start quickly. Records are decoded in a graph, which
gives the same pixels; a test compares the two.
"""

import contextlib
import dataclasses
import functools
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

# Whether an image is turned as its EXIF data says.
EXIF_CHOICES = ("apply", "ignore")
# Names of the supported formats in Pillow. Some of Pillow's other formats (EPS) run another program, whatever the file name is.
_FORMATS = ("JPEG", "PNG", "BMP", "DIB", "WEBP", "TIFF", "GIF", "JPEG2000", "AVIF", "PPM", "TGA")
# Pillow's own limit; larger images would need gigabytes, and small files can have headers with any size.
MAX_PIXELS = 178_956_970
_MAX_FILE_BYTES = 1 << 31
# Records and first convolutions with more channels were not tested.
MAX_CHANNELS = 64
# Pillow also warns at half of its limit, which is not needed.
warnings.filterwarnings("ignore", category=PIL.Image.DecompressionBombWarning)
_EXIF_ORIENTATION = 0x0112
# Position of the bits per channel in the header of a PNG.
_PNG_BITS = 24
# Tags of TIFF: bits a channel, what zero means, and whether integers have a sign.
_TIFF_BITS, _TIFF_ZERO_IS, _TIFF_SAMPLES = 258, 262, 339
# Where `open_image` keeps the orientation of a TIFF, whose pixels Pillow turns while it decodes them.
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
    """An image file's pixels.

    Attributes:
      pixels: [height, width, 3] uint8 RGB.
      orientation: what the EXIF data says, 1 (upright) to 8; 1 where there is none.
      wide: of an image of more than 8 bits a channel; otherwise None.
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
      exif: `apply` turns the image as its EXIF data says; `ignore` takes the pixels as they are stored.
      pixel_range: the values that become black and white, of images of more than 8 bits a channel. Without one, 16 bits reach
        from 0 to 65535 (12 bits to 4095), and wider integers and floats are refused.

    Raises:
      OSError: the file is not there, or cannot be read.
      ValueError: it is no image that can be decoded; names the file.
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
    """Returns the pixels of an image as they are stored, [H, W, 3] uint8, and what they were if they had more than 8 bits.

    Args:
      image: as `opened` gives it.
      raw: the whole file.
      name: of the file, for messages.
      pixel_range: see `decode`.
    """
    bits = bits_of(image, raw)
    if bits <= 8:
        return _as_stored(np.asarray(image.convert("RGB")), image), None
    values = wide_values(image, raw, always=bool(pixel_range))
    if values is not None:
        narrow, wide = narrow_values(values, pixel_range, bits, name)
        return _as_stored(narrow if narrow.ndim == 3 else np.repeat(narrow[..., np.newaxis], 3, axis=2), image), wide
    upper = _as_stored(np.asarray(image.convert("RGB")), image)  # Of 16-bit colours, Pillow keeps the upper bytes.
    return upper, WideValues(float(upper.min()) * 256, float(upper.max()) * 256 + 255, bits, "16-bit", 0.0)


def read_bytes(path: str) -> bytes:
    """Returns the bytes of an image file.

    Raises:
      OSError: it is not there, or is something else than a file.
      ValueError: it is too large.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        raise OSError(f"{printable(path)} is not a regular file")
    if os.path.getsize(path) > _MAX_FILE_BYTES:
        raise ValueError(f"{printable(path)} has {os.path.getsize(path):,d} bytes, more than {_MAX_FILE_BYTES:,d}; make it smaller")
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
      name: of the file, for messages.
      what: the file should be, for messages.
    """
    name = printable(name)
    try:
        with PIL.Image.open(io.BytesIO(raw), formats=formats()) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise PIL.Image.DecompressionBombError(f"it has {width}x{height} pixels, more than {MAX_PIXELS:,d}")
            # First of all, because Pillow decodes some files to find their EXIF data, and reports damaged pixels only once.
            orientation = _tiff_orientation(image)
            image.load()
            image.info[_TIFF_ORIENTATION] = orientation
            yield image
    except PIL.UnidentifiedImageError as error:
        # Pillow's message has the address of the buffer instead of the file's name.
        bands = "; a TIFF of more than 4 channels needs their number, see docs/own_data.md" * raw.startswith((b"II*\0", b"MM\0*"))
        raise ValueError(f"{name} cannot be read as {_a(what)}: it is none of {', '.join(formats())}{bands}") from error
    except PIL.Image.DecompressionBombError as error:
        raise ValueError(f"{name} cannot be read as {_a(what)}: {_bomb(error)}; make it smaller, or cut it into tiles") from error
    except (OSError, *UNREADABLE) as error:
        if isinstance(error, ValueError) and str(error).startswith(name):
            raise  # This message already names the file.
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(f"{name} cannot be read as {_a(what)}: {said}") from error


def _a(what: str) -> str:
    return f"{'an' if what[0] in 'aeiou' else 'a'} {what}"


def _bomb(error: PIL.Image.DecompressionBombError) -> str:
    """Returns Pillow's message without its note on attacks."""
    return str(error).split(", could be")[0]


def orientation_of(image: PIL.Image.Image) -> int:
    """Returns the orientation in the EXIF data of an image, 1 to 8; 1 where there is none, or none that is defined.

    Broken EXIF data says nothing: the pixels beside it may be whole.
    """
    if image.format == "TIFF":
        return int(image.info.get(_TIFF_ORIENTATION, 1))  # Where it was not opened by `open_image`, its size is the upright one.
    try:
        value = image.getexif().get(_EXIF_ORIENTATION, 1)
    except (OSError, *UNREADABLE):
        return 1
    return int(value) if isinstance(value, int) and 1 <= value <= 8 else 1


def _tiff_orientation(image: PIL.Image.Image) -> int:
    """Returns the orientation of a TIFF that is not decoded yet; 1 of other files."""
    value = image.tag_v2.get(_EXIF_ORIENTATION, 1) if image.format == "TIFF" else 1  # type: ignore[attr-defined]
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def stored_size(image: PIL.Image.Image) -> tuple[int, int]:
    """Returns height and width of the stored pixels of an image that `open_image` opened."""
    turned = image.format == "TIFF" and orientation_of(image) >= 5
    return (image.width, image.height) if turned else (image.height, image.width)


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Returns [H, W, ...] pixels turned as an EXIF orientation says (CIPA DC-008, section 4.6.5)."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def _as_stored(pixels: np.ndarray, image: PIL.Image.Image) -> np.ndarray:
    """Returns the pixels of a decoded image as its file has them: inverts `upright` for a TIFF."""
    orientation = orientation_of(image) if image.format == "TIFF" else 1
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels.swapaxes(0, 1) if orientation >= 5 else pixels)


def bits_of(image: PIL.Image.Image, raw: bytes) -> int:
    """Returns the bits a channel of an image's file, as far as they are more than 8; otherwise 8."""
    if image.format == "PNG":
        return max(8, raw[_PNG_BITS])  # Pillow narrows 16-bit RGB without a word.
    if image.format == "TIFF":
        bits = image.tag_v2.get(_TIFF_BITS, (8,))  # type: ignore[attr-defined]
        return max(8, *(bits if isinstance(bits, tuple) else (bits,)))
    return 16 if image.mode.startswith("I;16") else 32 if image.mode in ("I", "F") else 8


def wide_values(image: PIL.Image.Image, raw: bytes, always: bool = True) -> np.ndarray | None:
    """Returns the values of an image of more than 8 bits a channel, [H, W] or [H, W, 3].

    Args:
      image: as Pillow opened it.
      raw: the whole file.
      always: also of 16-bit colours, for which another library is needed; otherwise None of them.
    """
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        values = np.asarray(image)
        if image.format in ("PNG", "PPM"):
            return values.astype(np.uint16)  # Pillow may hold them in 32 bits.
        if values.dtype == np.int32 and image.format == "TIFF" and _first(image, _TIFF_SAMPLES, 1) == 1:
            values = values.view(np.uint32)  # Pillow takes them for signed.
        if image.format == "TIFF" and _first(image, _TIFF_ZERO_IS, 1) == 0 and values.dtype.kind == "u":
            return np.iinfo(values.dtype).max - values  # Zero is white.
        return values.astype(values.dtype.newbyteorder("="))
    return _wide_colors(raw) if always else None


def _first(image: PIL.Image.Image, tag: int, default: int) -> int:
    value: Any = image.tag_v2.get(tag, default)  # type: ignore[attr-defined]
    return int(value[0] if isinstance(value, tuple) else value)


def _wide_colors(raw: bytes) -> np.ndarray:
    """Returns [H, W, 3] values of a file with 16-bit colours, with or without transparency."""
    import cv2  # Half a second to import, for files that are rare.

    try:
        values = cv2.imdecode(np.frombuffer(raw, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise ValueError(f"its 16-bit colours cannot be decoded ({error.err}); save it with 8 bits a channel") from error
    if values is None or values.dtype.itemsize == 1:
        raise ValueError("its 16-bit colours cannot be decoded; save it with 8 bits a channel")
    if values.ndim == 2 or values.shape[2] < 3:
        return np.repeat(values.reshape(*values.shape[:2], -1)[..., :1], 3, axis=2)
    return values[..., 2::-1]  # OpenCV has blue, green, red, and transparency last.


def _kind(values: np.ndarray) -> str:
    return "float" if values.dtype.kind == "f" else "16-bit" if values.dtype.itemsize == 2 else "32-bit integer"


def narrow_values(values: np.ndarray, pixel_range: Sequence[float], bits: int, name: str) -> tuple[np.ndarray, WideValues]:
    """Returns uint8 of wider values of any shape, and what they were.

    Args:
      values: of more than 8 bits.
      pixel_range: see `decode`.
      bits: of a value, as the file says.
      name: of the file, for messages.

    Raises:
      ValueError: it is not defined what is black and white.
    """
    kind = _kind(values)
    if values.dtype.kind == "f":
        values = np.nan_to_num(values, nan=pixel_range[0] if pixel_range else 0.0)
    smallest, largest = float(values.min()), float(values.max())
    if not pixel_range and kind != "16-bit":
        raise ValueError(
            f"{printable(name)} has {kind} values from {smallest:g} to {largest:g}, of which black and white are undefined; give"
            " them as --pixel_range=LOW,HIGH when converting (task.pixel_range of the model when predicting), or save it with 8"
            " bits a channel"
        )
    low, high = pixel_range or (0, (1 << min(bits, 16)) - 1)
    outside = (values < low) | (values > high) if smallest < low or largest > high else np.zeros(1, bool)
    detail = WideValues(smallest, largest, bits, kind, float(outside.mean()))
    return to_eight_bits(values, low, high), detail


def to_eight_bits(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Returns uint8 of values of any type, from 0 (`low` and below) to 255 (`high` and above) in 256 steps of the same width.

    Of 16-bit values from 0 to 65535 it is the upper byte, as TensorFlow and others narrow them.
    """
    if values.dtype == np.uint16:  # A table is faster than arithmetic.
        return to_eight_bits(np.arange(1 << 16, dtype=np.int32), low, high)[values]
    return np.clip(np.floor((values.astype(np.float64) - low) * (256.0 / (high - low))), 0, 255).astype(np.uint8)


def parse_range(text: Sequence[str], flag: str) -> tuple[float, ...]:
    """Returns the two numbers of a flag such as `--pixel_range=0,4095`, or none for an empty one.

    Raises:
      ValueError: it is something else; names the flag.
    """
    try:
        values = tuple(float(value) for value in text)
    except ValueError:
        values = (math.nan,)
    if not is_range(values):
        raise ValueError(f"{flag}={','.join(text)} is not LOW,HIGH, the values that become black and white, as in {flag}=0,4095")
    return values


def is_range(values: Sequence[float]) -> bool:
    """Returns whether some values are a `pixel_range`: two finite numbers, the smaller one first, or nothing."""
    return not values or (len(values) == 2 and all(map(math.isfinite, values)) and values[0] < values[1])
