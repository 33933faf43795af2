"""Pictures of a data set: read, checked, and made into the bytes that records hold.

Worker processes import this module, so it leaves TensorFlow alone: its import would cost each of them several seconds.
"""

import dataclasses
import io
import os

import numpy as np
import PIL.Image
import PIL.ImageOps

from tpuseg.pictures import ENDINGS

# Whether an image is turned as its EXIF data says.
EXIF_CHOICES = ("apply", "ignore")
_EXIF_ORIENTATION = 0x0112
# Markers of JPEG's segments: APP1, which holds EXIF data and XMP, and the beginning of the pixels.
_EXIF_SEGMENT, _SCAN = 0xE1, 0xDA
# What Pillow raises for broken files; some of its readers let a SyntaxError through.
UNREADABLE = (OSError, SyntaxError, ValueError, PIL.Image.DecompressionBombError)
# Modes that TensorFlow decodes to the same colours as Pillow.
_PLAIN_MODES = {"JPEG": ("L", "RGB"), "PNG": ("1", "L", "LA", "P", "RGB", "RGBA")}


@dataclasses.dataclass(frozen=True)
class EncodedImage:
    """A picture as records hold it.

    Attributes:
      data: the encoded picture.
      format: `jpeg` or `png`.
      height: in pixels.
      width: in pixels.
      reencoded: why it is not the file's own bytes; empty if it is.
      is_stored: the file has an EXIF orientation that was not applied.
      is_ambiguous: the file has an EXIF orientation, and the annotated size fits the stored and the upright pixels alike.
      orientation: what the file's EXIF data says, 1 (upright) to 8; 1 where there is none. From 5 on, height and width of the
        upright image are those of the stored one swapped.
    """

    data: bytes
    format: str
    height: int
    width: int
    reencoded: str
    orientation: int = 1
    is_stored: bool = False
    is_ambiguous: bool = False


def png(picture: PIL.Image.Image) -> bytes:
    """Returns a picture as PNG."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def read_image(path: str, exif: str = "apply", annotated_size: tuple[int, int] | None = None) -> EncodedImage:
    """Reads a picture: the file's own bytes where the training input can take them, otherwise a new PNG.

    Re-encoded are pictures that EXIF data says to turn, other formats than JPEG and PNG, and colours other than grey, palette or
    RGB with 8 bits. A JPEG whose EXIF orientation is ignored loses its EXIF data and keeps its pixels.

    The annotations of a file with an EXIF orientation belong either to its stored or to its upright pixels. The annotated size
    decides where it fits only one of them; `exif` decides where it fits both (square images, orientations 2 to 4).

    Args:
      path: of the file.
      exif: `apply` turns the image as its EXIF data says; `ignore` takes the pixels as they are stored.
      annotated_size: height and width that the annotations give the image; None if they do not say.

    Raises:
      ValueError: it is missing or broken, or has pixels without a defined white.
    """
    if exif not in EXIF_CHOICES:
        raise ValueError(f"exif is `{exif}`, but must be one of {', '.join(EXIF_CHOICES)}")
    raw = read_bytes(path, "picture")
    try:
        with PIL.Image.open(io.BytesIO(raw)) as picture:
            orientation = _orientation(picture)
            picture.load()
            is_stored, is_ambiguous = _frame(picture, orientation, exif, annotated_size)
            turns = orientation != 1 and not is_stored
            reason = _why_reencode(picture, raw, turns)
            if is_stored and not reason:
                raw = _without_exif(raw)
                reason = "" if raw else "kept as stored, without its EXIF data"
            if not reason:
                data, form, size = raw, str(picture.format).lower(), picture.size
            else:
                narrow = _eight_bit(picture, path)
                rgb = (PIL.ImageOps.exif_transpose(narrow) if turns else narrow).convert("RGB")
                data, form, size = png(rgb), "png", rgb.size
            return EncodedImage(data, form, size[1], size[0], reason, orientation, is_stored, is_ambiguous)
    except UNREADABLE as error:
        raise ValueError(explain_unreadable(path, "picture", error)) from error


def _frame(
    picture: PIL.Image.Image, orientation: int, exif: str, annotated_size: tuple[int, int] | None
) -> tuple[bool, bool]:
    """Returns whether the annotations of a file are of its stored pixels against its EXIF data, and whether that is open."""
    stored = (picture.height, picture.width)
    upright = stored[::-1] if orientation >= 5 else stored
    if orientation == 1:
        return False, False
    if annotated_size is None or annotated_size == stored == upright:
        return exif == "ignore", True
    return annotated_size == stored, False


def _without_exif(raw: bytes) -> bytes:
    """Returns a JPEG without the segments that hold EXIF data and the like, its pixels as they are; nothing if that fails."""
    kept, place = [raw[:2]], 2
    while raw[place : place + 1] == b"\xff" and place + 3 < len(raw) and 0xC0 <= raw[place + 1] < 0xFF and raw[place + 1] != _SCAN:
        stop = place + 2 + int.from_bytes(raw[place + 2 : place + 4], "big")
        kept += [] if raw[place + 1] == _EXIF_SEGMENT else [raw[place:stop]]
        place = stop
    result = b"".join([*kept, raw[place:]])
    with PIL.Image.open(io.BytesIO(result)) as picture:
        return result if picture.format == "JPEG" and _orientation(picture) == 1 else b""


def read_bytes(path: str, what: str) -> bytes:
    """Returns the content of a file; raises ValueError that says what it should be if there is none."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError as error:
        raise ValueError(f"there is no {what} {path}") from error


def explain_unreadable(path: str, what: str, error: BaseException) -> str:
    """Returns the message for a file that Pillow cannot read."""
    # Pillow calls a file in memory by the address of its buffer.
    said = "no format that Pillow knows" if isinstance(error, PIL.UnidentifiedImageError) else str(error)
    return said if said.startswith(path) else f"{path} cannot be read as a {what}: {said}"


def _orientation(picture: PIL.Image.Image) -> int:
    """Returns the orientation in the EXIF data; 1 where there is none, or none that is defined."""
    value = picture.getexif().get(_EXIF_ORIENTATION, 1)
    return value if value in range(1, 9) else 1


def _why_reencode(picture: PIL.Image.Image, raw: bytes, turns: bool) -> str:
    if turns:
        return "turned as its EXIF data says"
    if picture.format not in _PLAIN_MODES:
        return f"{picture.format} format"
    if picture.format == "PNG" and raw[24] > 8:  # The header's bit depth; Pillow narrows 16-bit RGB without a word.
        return f"{raw[24]}-bit PNG"
    return "" if picture.mode in _PLAIN_MODES[picture.format] else f"{picture.mode} colours"


def _eight_bit(picture: PIL.Image.Image, path: str) -> PIL.Image.Image:
    """Returns the picture with 8-bit pixels; Pillow's own conversion of wider ones would clip them to white."""
    wide = picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format == "PNG")
    if not wide and picture.mode in ("I", "F"):
        raise ValueError(f"{path} has pixels of mode {picture.mode}, whose white is undefined; save it with 8 bits a channel")
    if not wide:
        return picture
    narrow = PIL.Image.fromarray((np.asarray(picture).astype(np.int64) >> 8).astype(np.uint8))
    narrow.info = picture.info  # With the EXIF data.
    return narrow


def find_image(folder: str, name: str) -> str | None:
    """Returns the path of the picture called `name`, whatever its ending, or None."""
    for ending in ENDINGS:
        for spelling in (ending, ending.upper()):
            path = os.path.join(folder, name + spelling)
            if os.path.isfile(path):
                return path
    return None
