"""Names of classes as people give them: with commas between, or in a file with one a line.

Standard library only, so that command-line programs can import it before TensorFlow.
"""

import os
import re

from tpuseg import text_files

# labelme's lists begin with it: the value of unlabelled pixels, which is no class.
_IGNORE_LINE = "__ignore__"
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
    names = [line for line in lines if line and line != _IGNORE_LINE]
    if not names:
        raise ValueError(f"{path} names no class; it needs one name a line")
    if len(names) == 1 and "," in names[0]:
        raise ValueError(f"{path} has one line with commas; it needs one name a line")
    blank = lines.count("")
    if blank:
        print(f"{path}: {blank} blank lines are left out; class ids count the {len(names)} names", flush=True)
    if _IGNORE_LINE in lines:
        print(f"{path}: `{_IGNORE_LINE}` is no class and left out; the first class (id 0) is `{names[0]}`", flush=True)
    return names
