"""Reading labelmap.txt, the names and colours of classes in CVAT's export format "Segmentation mask"."""

import re
from typing import NamedTuple

from tpuseg.io import text_files

_LINE = re.compile(r"(?P<name>[^:]+):\s*(?P<red>[0-9]{1,3})\s*,\s*(?P<green>[0-9]{1,3})\s*,\s*(?P<blue>[0-9]{1,3})\s*(:.*)?")


class Labelmap(NamedTuple):
    """Classes in the order of the file, which is that of their ids.

    Attributes:
      names: name of each class.
      colors: red, green and blue of each class, 0 to 255.
    """

    names: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...]


def read(path: str) -> Labelmap:
    """Reads lines of the form `name:red,green,blue:parts:actions`; lines that begin with # are comments.

    Raises:
      ValueError: the file is missing or has an invalid line; the message names it.
    """
    lines = text_files.read_lines(path, "labelmap")
    names: list[str] = []
    colors: list[tuple[int, int, int]] = []
    for number, line in enumerate(lines, start=1):
        if not line or line.startswith("#"):
            continue
        found = _LINE.fullmatch(line)
        color = found and (int(found["red"]), int(found["green"]), int(found["blue"]))
        if not found or not color or max(color) > 255:
            raise ValueError(f"{path}, line {number}: `{line}` is not `name:red,green,blue:parts:actions`")
        name = found["name"].strip()
        if name in names:
            raise ValueError(f"{path}, line {number}: the class `{name}` occurs twice; remove one")
        if color in colors:
            raise ValueError(f"{path}, line {number}: {name} has the same colour as {names[colors.index(color)]}")
        names.append(name)
        colors.append(color)
    if not names:
        raise ValueError(f"{path} contains no classes")
    return Labelmap(tuple(names), tuple(colors))
