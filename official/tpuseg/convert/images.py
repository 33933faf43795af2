"""Reading and checking the images of a data set, and encoding them for records.

Worker processes import this module, so it does not import TensorFlow, which would take several seconds in each of them.
"""

import dataclasses
import io
import os
from collections.abc import Sequence

import numpy as np
import PIL.Image

from tpuseg.convert.channel_values import ChannelValues
from tpuseg.io import image_channels, image_files
from tpuseg.io.image_paths import ENDINGS

# Markers of JPEG segments: APP1, which contains EXIF and XMP data, and the start of the pixels.
_EXIF_SEGMENT, _SCAN = 0xE1, 0xDA
ROTATED = "rotated according to its EXIF data"
# Modes that TensorFlow decodes to the same colours as Pillow.
_PLAIN_MODES = {"JPEG": ("L", "RGB"), "PNG": ("1", "L", "LA", "P", "RGB", "RGBA")}


@dataclasses.dataclass(frozen=True)
class EncodedImage:
    """An image as it is stored in a record.

    Attributes:
      data: the encoded image.
      format: `jpeg` or `png`.
      height: height in pixels.
      width: width in pixels.
      reencoded: why the image was re-encoded; empty if these are the bytes of the file.
      is_stored: whether the file has an EXIF orientation that was not applied.
      is_ambiguous: whether the file has an EXIF orientation, and the annotated size fits both the stored and the upright pixels.
      wide: the range of the values if they had more than 8 bits; otherwise None.
      orientation: EXIF orientation of the file, 1 (upright) to 8; 1 if there is none. From 5, the upright image has height and
        width swapped.
      channels: sums of the values of each channel if their number is not 3; otherwise None.
      digest: digest of size and pixels, equal for images that the record decodes to the same pixels; empty if it was not requested.
    """

    data: bytes
    format: str
    height: int
    width: int
    reencoded: str
    orientation: int = 1
    is_stored: bool = False
    is_ambiguous: bool = False
    wide: image_files.WideValues | None = None
    channels: ChannelValues | None = None
    digest: bytes = b""


def png(image: PIL.Image.Image, compress_level: int = image_channels.COMPRESS_LEVEL) -> bytes:
    """Returns an image as PNG; see `image_channels.png`."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=compress_level)
    return buffer.getvalue()


def read_image(
    path: str,
    exif: str = "apply",
    annotated_size: tuple[int, int] | None = None,
    pixel_range: Sequence[float] = (),
    num_channels: int = 3,
    with_digest: bool = False,
) -> EncodedImage:
    """Reads an image: the bytes of the file if the input pipeline can decode them, otherwise a new PNG.

    Images are re-encoded if their EXIF orientation is applied, if their format is not JPEG or PNG, or if their colours are not
    greyscale, palette or RGB with 8 bits (if the number of channels is not 3, if `image_channels` has no `plain_format` for them).
    If the EXIF orientation of a JPEG is ignored, only its EXIF data is removed.

    A file with an EXIF orientation was annotated either on its stored or on its upright pixels. If the annotated size fits only one
    of them, it decides; if it fits both (square images, orientations 2 to 4), `exif` decides.

    Args:
      path: path of the file.
      exif: `apply` applies the EXIF orientation; `ignore` uses the stored pixels.
      annotated_size: height and width in the annotations; None if they are missing.
      pixel_range: values that become black and white, for images with more than 8 bits; see `image_files.decode`.
      num_channels: required number of channels; with 3, transparency is dropped and greyscale is repeated.
      with_digest: whether `EncodedImage.digest` is computed, which takes a tenth of the time of reading.

    Raises:
      ValueError: the file is missing or damaged, its white is undefined, or it has another number of channels.
    """
    image_files.check_exif(exif)
    raw = read_bytes(path, "image")
    if num_channels != image_channels.RGB:
        return _read_channels(raw, path, exif, annotated_size, pixel_range, num_channels, with_digest)
    with image_files.open_image(raw, path, "image") as image:
        orientation = image_files.orientation_of(image)
        is_stored, is_ambiguous = annotated_pixels(image_files.stored_size(image), orientation, exif, annotated_size)
        turns = orientation != 1 and not is_stored
        reason = ROTATED if turns else why_reencode(image, raw)
        data = raw
        if is_stored and not reason:
            data = _remove_exif(raw)
            reason = "" if data else "kept as stored, without its EXIF data"
        if not reason:
            form, size, wide = str(image.format).lower(), (image.height, image.width), None
            digest = image_files.digest(np.asarray(image.convert("RGB"))) if with_digest else b""
        else:
            stored, wide = image_files.pixels_of(image, raw, path, pixel_range)
            pixels = image_files.upright(stored, orientation) if turns else stored
            data, form, size = png(PIL.Image.fromarray(pixels)), "png", (pixels.shape[0], pixels.shape[1])
            digest = image_files.digest(pixels) if with_digest else b""
        return EncodedImage(data, form, *size, reason, orientation, is_stored, is_ambiguous, wide, None, digest)


def _read_channels(
    raw: bytes,
    path: str,
    exif: str,
    annotated_size: tuple[int, int] | None,
    pixel_range: Sequence[float],
    num_channels: int,
    with_digest: bool,
) -> EncodedImage:
    """Does the same as `read_image` if the number of channels is not 3."""
    found = image_channels.read(raw, path, num_channels, pixel_range)
    stored_size = (found.pixels.shape[0], found.pixels.shape[1])
    is_stored, is_ambiguous = annotated_pixels(stored_size, found.orientation, exif, annotated_size)
    turns = found.orientation != 1 and not is_stored
    pixels = image_files.upright(found.pixels, found.orientation) if turns else found.pixels
    reason = ROTATED if turns else "kept as stored, without its EXIF data" if is_stored else found.form
    is_plain = bool(found.plain_format) and found.orientation == 1
    return EncodedImage(
        raw if is_plain else image_channels.png(pixels),
        found.plain_format if is_plain else "png",
        pixels.shape[0],
        pixels.shape[1],
        "" if is_plain else reason,
        found.orientation,
        is_stored,
        is_ambiguous,
        found.wide,
        ChannelValues.of(pixels),
        image_files.digest(pixels) if with_digest else b"",
    )


def annotated_pixels(
    stored: tuple[int, int], orientation: int, exif: str, annotated_size: tuple[int, int] | None
) -> tuple[bool, bool]:
    """Returns whether the stored pixels were annotated in spite of an EXIF orientation, and whether this is ambiguous."""
    upright = stored[::-1] if orientation >= 5 else stored
    if orientation == 1:
        return False, False
    if annotated_size is None or annotated_size == stored == upright:
        return exif == "ignore", True
    return annotated_size == stored, False


def _remove_exif(raw: bytes) -> bytes:
    """Removes the segments with EXIF data from a JPEG without changing its pixels; returns nothing if that fails."""
    kept, place = [raw[:2]], 2
    while raw[place : place + 1] == b"\xff" and place + 3 < len(raw) and 0xC0 <= raw[place + 1] < 0xFF and raw[place + 1] != _SCAN:
        stop = place + 2 + int.from_bytes(raw[place + 2 : place + 4], "big")
        kept += [] if raw[place + 1] == _EXIF_SEGMENT else [raw[place:stop]]
        place = stop
    result = b"".join([*kept, raw[place:]])
    with PIL.Image.open(io.BytesIO(result), formats=image_files.formats()) as image:
        return result if image.format == "JPEG" and image_files.orientation_of(image) == 1 else b""


def read_bytes(path: str, what: str) -> bytes:
    """Returns the bytes of a file; raises a ValueError with the kind of file if it cannot be read."""
    try:
        return image_files.read_bytes(path)
    except FileNotFoundError as error:
        raise ValueError(f"there is no {what} {image_files.printable(path)}") from error
    except OSError as error:
        raise ValueError(f"{image_files.printable(path)} cannot be read as a {what}: {error}") from error


def why_reencode(image: PIL.Image.Image, raw: bytes) -> str:
    """Returns why an image with three channels cannot be stored as it is; empty if it can."""
    if image.format not in _PLAIN_MODES:
        first = ", of which the first frame or page is used" if getattr(image, "is_animated", False) else ""
        return f"{image.format} format{first}"
    if image.format == "PNG" and image_files.bits_of(image, raw) > 8:
        return f"{image_files.bits_of(image, raw)}-bit PNG"
    return "" if image.mode in _PLAIN_MODES[image.format] else f"{image.mode} colours"


def find_image(folder: str, name: str) -> str | None:
    """Returns the path of the image with this name and any image extension, or None."""
    for ending in ENDINGS:
        for spelling in (ending, ending.upper()):
            path = os.path.join(folder, name + spelling)
            if os.path.isfile(path):
                return path
    return None
