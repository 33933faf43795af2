"""Names of classes as people give them: with commas between, or in a file with one a line.

Standard library only, so that command-line programs can import it before TensorFlow.
"""

import os
import re

from tpuseg.io import text_files
from tpuseg.utils.messages import counted

# labelme's lists begin with it: the value of unlabelled pixels, which is no class.
_IGNORE_LINE = "__ignore__"
# Lines that other programs write around names: comments, `0: road`, `"road",`.
_COMMENT = re.compile(r"#(\s|$)")
_NUMBERED = re.compile(r"(?P<number>[0-9]{1,5})(?P<separator>\s*[:;,=\t]\s*|[.)]?\s+)(?P<name>\S.*)")
_QUOTED = re.compile(r"""(["'])(?P<name>[^"']+)\1,?""")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")
_ENDING = re.compile(r"\.(txt|names|csv|tsv|json|ya?ml|xml|labels?|cfg|data|pbtxt)$", re.IGNORECASE)


def read(text: str, flag: str = "--class_names") -> list[str]:
    """Returns the names that a flag gives; prints a line for everything in them that is no name.

    Args:
      text: names with commas between, or the path of a file with one a line.
      flag: for messages.

    Raises:
      ValueError: it is the path of no file, a name is empty, or the file is not text; names the file.
    """
    text = text.strip()
    if not text:
        return []
    if _CONTROL.search(text):
        raise ValueError(f"{flag}={text!r} has control characters; give names with commas between, or a file")
    if os.path.exists(text):
        return _from_file(text)
    names = [name.strip() for name in text.rstrip(",").split(",")]
    for place, name in enumerate(names, start=1):
        if not name:
            raise ValueError(f"{flag}={text}: name {place} is empty; ids are the places of the names, so none can be left out")
        if _ENDING.search(name) or (len(names) == 1 and ("/" in name or "\\" in name)):
            raise ValueError(f"{flag}={text}: there is no file {name} (from {os.getcwd()})")
    if _IGNORE_LINE in names:
        print(f"{flag}: `{_IGNORE_LINE}` is no class and left out", flush=True)
    return [name for name in names if name != _IGNORE_LINE]


def _from_file(path: str) -> list[str]:
    lines = text_files.read_lines(path, "file of class names")
    while lines and not lines[-1]:
        lines.pop()
    names = [line for line in lines if line and line != _IGNORE_LINE and not _COMMENT.match(line)]
    if not names:
        raise ValueError(f"{path} names no class; it needs one name a line")
    if len(names) == 1 and "," in names[0]:
        raise ValueError(f"{path} has one line with commas; it needs one name a line")
    comments = sum(_COMMENT.match(line) is not None for line in lines)
    if comments:
        lines_are = counted(comments, "line that begins with # is a comment", "lines that begin with # are comments")
        print(f"{path}: {lines_are} and left out", flush=True)
    names = _without_quotes(_without_numbers(names, path), path)
    blank = lines.count("")
    if blank:
        lines_are = counted(blank, "blank line is", "blank lines are")
        print(f"{path}: {lines_are} left out; class ids count the {counted(len(names), 'name')}", flush=True)
    if _IGNORE_LINE in lines:
        print(f"{path}: `{_IGNORE_LINE}` is no class and left out; the first class (id 0) is `{names[0]}`", flush=True)
    return names


def _without_numbers(names: list[str], path: str) -> list[str]:
    """Returns names without the ids in front of them; raises ValueError if the ids are not those of the lines."""
    found = [_NUMBERED.fullmatch(name) for name in names]
    rows = [row for row in found if row]
    if len(names) < 2 or len(rows) < len(names):
        return names
    numbers = [int(row["number"]) for row in rows]
    if numbers == list(range(len(names))):
        print(f"{path}: the numbers in front of the names are their ids and left out; class 0 is `{rows[0]['name']}`", flush=True)
        return [row["name"] for row in rows]
    if all(row["separator"].strip() or "\t" in row["separator"] for row in rows):
        place = next(place for place, number in enumerate(numbers) if place != number)
        raise ValueError(
            f"{path}: `{names[place]}` has the number {numbers[place]}, but is name {place}, counted from 0: class ids are the"
            " places of the names; give a name for every id from 0 on, or names without numbers"
        )
    return names


def _without_quotes(names: list[str], path: str) -> list[str]:
    """Returns names without quotation marks if all of them have some."""
    rows = [row for row in map(_QUOTED.fullmatch, names) if row]
    if len(rows) < len(names):
        return names
    print(f"{path}: the quotation marks around the names are left out", flush=True)
    return [row["name"].strip() for row in rows]
