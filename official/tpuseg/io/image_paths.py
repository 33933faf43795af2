"""Images on disk, and the names of what is made of them."""

import collections
import os
import re
import zlib
from collections.abc import Sequence

from tpuseg.io import path_patterns
from tpuseg.io.image_files import printable
from tpuseg.utils.messages import counted

# Of what the converters, prediction and calibration read.
ENDINGS = (
    *(".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".webp", ".tif", ".tiff"),
    *(".gif", ".jp2", ".avif", ".ppm", ".pgm", ".pbm", ".tga"),
)
# File systems take names of 255 bytes. What is written for an image adds as much as `_overlay.png.jpg.1234567.tmp` to its name.
_MAX_NAME_BYTES = 200


def find(pattern: str, flag: str = "--input") -> list[str]:
    """Returns the images that a flag names, as people order them: frame_2 before frame_10.

    Args:
      pattern: an image, a folder of images or video frames, or a pattern.
      flag: for the message.

    Raises:
      ValueError: there are none.
    """
    if os.path.isdir(pattern):
        paths = [os.path.join(pattern, name) for name in os.listdir(pattern) if name.lower().endswith(ENDINGS)]
    else:
        paths = path_patterns.find(pattern)
    if not paths:
        raise ValueError(f"{flag}={pattern} names no image ({', '.join(ENDINGS)})")
    return sorted(paths, key=_natural)


def left_out(pattern: str) -> str:
    """Returns a sentence about the files of a folder that `find` leaves out for their endings; empty if there are none."""
    if not os.path.isdir(pattern):
        return ""
    others = [name for name in sorted(os.listdir(pattern)) if not name.lower().endswith(ENDINGS)]
    files = [name for name in others if os.path.isfile(os.path.join(pattern, name)) and not name.startswith(".")]
    if not files:
        return ""
    endings = sorted({os.path.splitext(name)[1].lower() or "none" for name in files})
    shown = ", ".join(endings[:5]) + (", ..." if len(endings) > 5 else "")
    return (
        f"{counted(len(files), 'file')} of {pattern} left out, whose ending is not one of an image:"
        f" {printable(shown)}; a pattern such as '{pattern.rstrip('/')}/*' takes all files"
    )


def _natural(path: str) -> tuple[list[tuple[int, str]], str]:
    # Digits stand at every second place.
    parts = re.split(r"(\d+)", path)
    return [(int(part), "") if place % 2 else (0, part) for place, part in enumerate(parts)], path


def names(paths: Sequence[str]) -> list[str]:
    """Returns a name for each image under which its results are written; no two are alike, on any file system.

    The name is the file's without its ending; with it where several files share the former, and with the folders in which they
    differ where that is not enough: `a.jpg` and `a.png` give `a.jpg` and `a.png`. Names that are not UTF-8 or too long to have
    something behind them are rewritten or shortened.
    """
    full = [os.path.abspath(path).replace("\\", "/").split("/") for path in paths]
    longer_forms = [["_".join(parts[-depth:]) for depth in range(1, len(parts) + 1)] for parts in full]
    forms = [[_storable(os.path.splitext(form[0])[0]), *map(_storable, form)] for form in longer_forms]
    level = [0] * len(paths)
    while True:
        chosen = [form[min(place, len(form) - 1)] for form, place in zip(forms, level, strict=True)]
        counts = collections.Counter(name.casefold() for name in chosen)
        shared = [number for number, name in enumerate(chosen) if counts[name.casefold()] > 1]
        longer = [number for number in shared if level[number] < len(forms[number]) - 1]
        if not longer:
            return _numbered(chosen)
        # The shortest form gives way: a whole name stays when another image's name without its ending is the same.
        shortest = min(level[number] for number in longer)
        for number in longer:
            level[number] += level[number] == shortest


def _storable(name: str) -> str:
    """Returns a name that every file system takes, also with what is written behind it."""
    encoded = os.fsencode(name)
    text = printable(name)
    if text.encode() != encoded:
        text = text.replace("\\", "_")
    if len(text.encode()) <= _MAX_NAME_BYTES:
        return text
    # What is cut off is what tells long names apart, hence a checksum.
    return f"{text.encode()[: _MAX_NAME_BYTES - 9].decode(errors='ignore')}~{zlib.crc32(encoded):08x}"


def _numbered(chosen: list[str]) -> list[str]:
    """Returns the names with a number behind those that are there already, as when an image is named twice."""
    taken: set[str] = set()
    result = []
    for name in chosen:
        number, unique = 1, name
        while unique.casefold() in taken:
            number += 1
            unique = f"{name}_{number}"
        taken.add(unique.casefold())
        result.append(unique)
    return result
