"""Pictures on disk, and the names of what is made of them."""

import collections
import os
import re
from collections.abc import Sequence

from tpuseg import path_patterns

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


def find(pattern: str, flag: str = "--input") -> list[str]:
    """Returns the pictures that a flag names, as people order them: frame_2 before frame_10.

    Args:
      pattern: a picture, a folder of pictures or video frames, or a pattern.
      flag: for the message.

    Raises:
      ValueError: there are none.
    """
    if os.path.isdir(pattern):
        paths = [os.path.join(pattern, name) for name in os.listdir(pattern) if name.lower().endswith(ENDINGS)]
    else:
        paths = path_patterns.find(pattern)
    if not paths:
        raise ValueError(f"{flag}={pattern} names no picture ({', '.join(ENDINGS)})")
    return sorted(paths, key=_natural)


def _natural(path: str) -> tuple[list[tuple[int, str]], str]:
    # Digits stand at every second place.
    parts = re.split(r"(\d+)", path)
    return [(int(part), "") if place % 2 else (0, part) for place, part in enumerate(parts)], path


def names(paths: Sequence[str]) -> list[str]:
    """Returns a name for each picture under which its results are written; no two are alike, on any file system.

    The name is the file's without its ending; with it where several files share the former, and with the folders in which they
    differ where that is not enough: `a.jpg` and `a.png` give `a.jpg` and `a.png`.
    """
    full = [os.path.abspath(path).replace("\\", "/").split("/") for path in paths]
    forms = [[os.path.splitext(parts[-1])[0], *("_".join(parts[-depth:]) for depth in range(1, len(parts) + 1))] for parts in full]
    level = [0] * len(paths)
    while True:
        chosen = [form[min(place, len(form) - 1)] for form, place in zip(forms, level, strict=True)]
        counts = collections.Counter(name.casefold() for name in chosen)
        shared = [number for number, name in enumerate(chosen) if counts[name.casefold()] > 1]
        longer = [number for number in shared if level[number] < len(forms[number]) - 1]
        if not longer:
            return _numbered(chosen)
        # The shortest form gives way: a whole name stays when another picture's name without its ending is the same.
        shortest = min(level[number] for number in longer)
        for number in longer:
            level[number] += level[number] == shortest


def _numbered(chosen: list[str]) -> list[str]:
    """Returns the names with a number behind those that are there already, as when a picture is named twice."""
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
