"""Finding image files, and the names of files that are derived from them."""

import collections
import os
import re
import zlib
from collections.abc import Sequence

from tpuseg.io import path_patterns
from tpuseg.io.image_files import printable
from tpuseg.utils.messages import format_count

# Extensions of the files that converters, prediction and calibration read.
ENDINGS = (
    *(".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".webp", ".tif", ".tiff"),
    *(".gif", ".jp2", ".avif", ".ppm", ".pgm", ".pbm", ".tga"),
)
# File systems support names of 255 bytes. Files of an image add suffixes such as `_overlay.png.jpg.1234567.tmp` to its name.
_MAX_NAME_BYTES = 200


def find(pattern: str, flag: str = "--input") -> list[str]:
    """Finds the images given by a flag, and returns them in natural order: frame_2 before frame_10.

    Args:
      pattern: path of an image, a folder of images or video frames, or a pattern.
      flag: name of the flag, for the message.

    Raises:
      ValueError: there are no images.
    """
    if os.path.isdir(pattern):
        paths = [os.path.join(pattern, name) for name in os.listdir(pattern) if name.lower().endswith(ENDINGS)]
    else:
        paths = path_patterns.find(pattern)
    if not paths:
        raise ValueError(f"{flag}={pattern} matches no image ({', '.join(ENDINGS)})")
    return sorted(paths, key=_create_sort_key)


def left_out(pattern: str) -> str:
    """Returns a sentence about the files of a folder that `find` excludes by their extension; empty if there are none."""
    if not os.path.isdir(pattern):
        return ""
    others = [name for name in sorted(os.listdir(pattern)) if not name.lower().endswith(ENDINGS)]
    files = [name for name in others if os.path.isfile(os.path.join(pattern, name)) and not name.startswith(".")]
    if not files:
        return ""
    endings = sorted({os.path.splitext(name)[1].lower() or "none" for name in files})
    shown = ", ".join(endings[:5]) + (", ..." if len(endings) > 5 else "")
    return (
        f"{format_count(len(files), 'file')} of {pattern} left out, because the extension is not one of an image:"
        f" {printable(shown)}; a pattern such as '{pattern.rstrip('/')}/*' includes all files"
    )


def _create_sort_key(path: str) -> tuple[list[tuple[int, str]], str]:
    # The parts with an odd index are numbers.
    parts = re.split(r"(\d+)", path)
    return [(int(part), "") if place % 2 else (0, part) for place, part in enumerate(parts)], path


def names(paths: Sequence[str]) -> list[str]:
    """Returns a unique name for the results of each image, also on file systems that ignore case.

    The name is the file name without extension. If several files would have the same name, the extension is added, and if that is
    not sufficient, the folders in which they differ: `a.jpg` and `a.png` give `a.jpg` and `a.png`. Names that are not UTF-8 or too
    long for suffixes are rewritten or shortened.
    """
    full = [os.path.abspath(path).replace("\\", "/").split("/") for path in paths]
    longer_forms = [["_".join(parts[-depth:]) for depth in range(1, len(parts) + 1)] for parts in full]
    forms = [[_make_storable(os.path.splitext(form[0])[0]), *map(_make_storable, form)] for form in longer_forms]
    level = [0] * len(paths)
    while True:
        chosen = [form[min(place, len(form) - 1)] for form, place in zip(forms, level, strict=True)]
        counts = collections.Counter(name.casefold() for name in chosen)
        shared = [number for number, name in enumerate(chosen) if counts[name.casefold()] > 1]
        longer = [number for number in shared if level[number] < len(forms[number]) - 1]
        if not longer:
            return _add_numbers(chosen)
        # Only the shortest form is extended, so a full name is kept if the name of another image without extension is equal.
        shortest = min(level[number] for number in longer)
        for number in longer:
            level[number] += level[number] == shortest


def _make_storable(name: str) -> str:
    """Returns a name that every file system supports, also with suffixes."""
    encoded = os.fsencode(name)
    text = printable(name)
    if text.encode() != encoded:
        text = text.replace("\\", "_")
    if len(text.encode()) <= _MAX_NAME_BYTES:
        return text
    # A checksum keeps shortened names different.
    return f"{text.encode()[: _MAX_NAME_BYTES - 9].decode(errors='ignore')}~{zlib.crc32(encoded):08x}"


def _add_numbers(chosen: list[str]) -> list[str]:
    """Adds numbers to names that occur more than once, for example if an image is given twice."""
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
