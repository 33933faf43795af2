"""Reading class names from a flag: separated by commas, or in a file with one name per line.

Standard library only, so that command-line programs can import it before TensorFlow.
"""

import os
import re

from tpuseg.io import text_files
from tpuseg.utils.messages import format_count

# The first line of labelme's lists, for unlabelled pixels; it is not a class.
_IGNORE_LINE = "__ignore__"
# Lines that other programs write around names: comments, `0: road`, `"road",`.
_COMMENT = re.compile(r"#(\s|$)")
_NUMBERED = re.compile(r"(?P<number>[0-9]{1,5})(?P<separator>\s*[:;,=\t]\s*|[.)]?\s+)(?P<name>\S.*)")
_QUOTED = re.compile(r"""(["'])(?P<name>[^"']+)\1,?""")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")
_ENDING = re.compile(r"\.(txt|names|csv|tsv|json|ya?ml|xml|labels?|cfg|data|pbtxt)$", re.IGNORECASE)


def read(text: str, flag: str = "--class_names") -> list[str]:
    """Returns the names from the value of a flag, and prints a message for everything that is not a name.

    Args:
      text: names separated by commas, or the path of a file with one name per line.
      flag: name of the flag, for messages.

    Raises:
      ValueError: the file does not exist, a name is empty, or the file is not text; the message names the file.
    """
    text = text.strip()
    if not text:
        return []
    if _CONTROL.search(text):
        raise ValueError(f"{flag}={text!r} has control characters; give names separated by commas, or a file")
    if os.path.exists(text):
        return _read_file(text)
    names = [name.strip() for name in text.rstrip(",").split(",")]
    for place, name in enumerate(names, start=1):
        if not name:
            raise ValueError(f"{flag}={text}: name {place} is empty; ids are the positions of the names, so none can be missing")
        if _ENDING.search(name) or (len(names) == 1 and ("/" in name or "\\" in name)):
            raise ValueError(f"{flag}={text}: there is no file {name} (from {os.getcwd()})")
    if _IGNORE_LINE in names:
        print(f"{flag}: `{_IGNORE_LINE}` is not a class and is left out", flush=True)
    return [name for name in names if name != _IGNORE_LINE]


def _read_file(path: str) -> list[str]:
    lines = text_files.read_lines(path, "file of class names")
    while lines and not lines[-1]:
        lines.pop()
    names = [line for line in lines if line and line != _IGNORE_LINE and not _COMMENT.match(line)]
    if not names:
        raise ValueError(f"{path} contains no class names; write one name per line")
    if len(names) == 1 and "," in names[0]:
        raise ValueError(f"{path} has one line with commas; write one name per line")
    comments = sum(_COMMENT.match(line) is not None for line in lines)
    if comments:
        lines_are = format_count(comments, "comment line that begins with # is", "comment lines that begin with # are")
        print(f"{path}: {lines_are} left out", flush=True)
    names = _remove_quotes(_remove_numbers(names, path), path)
    blank = lines.count("")
    if blank:
        lines_are = format_count(blank, "blank line is", "blank lines are")
        print(f"{path}: {lines_are} left out; class ids count the {format_count(len(names), 'name')}", flush=True)
    if _IGNORE_LINE in lines:
        print(f"{path}: `{_IGNORE_LINE}` is not a class and is left out; the first class (id 0) is `{names[0]}`", flush=True)
    return names


def _remove_numbers(names: list[str], path: str) -> list[str]:
    """Removes ids in front of names; raises ValueError if the ids are not those of the lines."""
    found = [_NUMBERED.fullmatch(name) for name in names]
    rows = [row for row in found if row]
    if len(names) < 2 or len(rows) < len(names):
        return names
    numbers = [int(row["number"]) for row in rows]
    if numbers == list(range(len(names))):
        print(f"{path}: the ids in front of the names are removed; class 0 is `{rows[0]['name']}`", flush=True)
        return [row["name"] for row in rows]
    if all(row["separator"].strip() or "\t" in row["separator"] for row in rows):
        place = next(place for place, number in enumerate(numbers) if place != number)
        raise ValueError(
            f"{path}: `{names[place]}` has the number {numbers[place]}, but is name {place}, counted from 0: class ids are the"
            " positions of the names; give a name for every id from 0, or names without numbers"
        )
    return names


def _remove_quotes(names: list[str], path: str) -> list[str]:
    """Removes quotation marks if all names have them."""
    rows = [row for row in map(_QUOTED.fullmatch, names) if row]
    if len(rows) < len(names):
        return names
    print(f"{path}: the quotation marks around the names are removed", flush=True)
    return [row["name"].strip() for row in rows]
