"""Values on a command line: `task.model.num_classes=5,task.model.input_size=[64,64]`, the Model Garden's form."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from tpuseg.io import yaml_files
from tpuseg.utils import messages

_KEY = re.compile(r"\s*([A-Za-z_][\w.]*)\s*=[ \t]*")
_CLOSING = {"[": "]", "{": "}"}
_HELP = "write key.key=value,key.key=value; a value with a comma stands in quotes or [brackets]"


def is_file(text: str) -> bool:
    """Returns whether a text is the path of a YAML file and not `key=value`."""
    return text.endswith((".yaml", ".yml")) and not _KEY.match(text)


def parse(text: str, name: str) -> dict[str, Any]:
    """Parses `key.key=value,key.key=value`.

    A value in quotes or brackets is YAML; any other goes to the next comma and is a number, a truth value or text as in YAML,
    whatever characters it has. Nothing behind `=` is an empty value. Of a key given twice, the last value counts, so that a
    program can add to what it was given.

    Args:
      text: what follows the flag.
      name: of the flag, for messages.

    Returns:
      The values in nested dictionaries.

    Raises:
      ValueError: the text is not of that form; has the flag and the place.
    """
    values: dict[str, Any] = {}
    position = 0
    while position < len(text):
        match = _KEY.match(text, position)
        if match is None:
            raise ValueError(f"{name}: `{messages.shorten(text[position:])}` does not begin with `key=`; {_HELP}")
        key, start = match[1], match.end()
        where = f"{name}: {messages.shorten(key)}"
        position = _end_of_value(text, start, where)
        _put(values, key, _value(text[start:position].strip(), where), where)
        if position < len(text) and text[position] != ",":
            raise ValueError(f"{where}: there is `{messages.shorten(text[position:])}` behind the value; {_HELP}")
        position += 1
    return values


def from_mapping(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Returns `{"task.model.num_classes": 5}`, also partly nested, as nested dictionaries; of equal keys the last one wins.

    Args:
      values: keys may have dots, at any level.
      name: of the argument, for messages.

    Raises:
      ValueError: a key is none; has the name and the key.
    """
    found: dict[str, Any] = {}
    for key, value in values.items():
        where = f"{name}: {messages.shorten(str(key))}"
        for path, leaf in _leaves(value):
            _put(found, ".".join((str(key), *path)), leaf, where)
    return found


def _leaves(value: object, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yields the values in nested mappings, with their keys."""
    if not isinstance(value, Mapping) or not value:
        yield path, value
        return
    for key, inner in value.items():
        yield from _leaves(inner, (*path, str(key)))


def _end_of_value(text: str, start: int, where: str) -> int:
    """Returns the position after the value that starts at `start`."""
    first = text[start : start + 1]
    if first not in ("'", '"', "[", "{") or not first:
        comma = text.find(",", start)
        return len(text) if comma < 0 else comma
    open_brackets, quote = "", ""
    for position in range(start, len(text)):
        character = text[position]
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in _CLOSING:
            open_brackets += character
        elif open_brackets and character == _CLOSING[open_brackets[-1]]:
            open_brackets = open_brackets[:-1]
        if not quote and not open_brackets:
            return position + 1
    raise ValueError(f"{where}: `{messages.shorten(text[start:])}` has no end: a quote or bracket is missing")


def _value(text: str, where: str) -> Any:
    return yaml_files.parse_value(text, where) if text[:1] in ("'", '"', "[", "{") else yaml_files.plain_value(text, where)


def _put(values: dict[str, Any], key: str, value: object, where: str) -> None:
    *folders, last = key.split(".")
    if len(folders) > yaml_files.MAX_DEPTH or not all((*folders, last)):
        raise ValueError(f"{where}: is not a key; {_HELP}")
    for folder in folders:
        inner = values.setdefault(folder, {})
        if not isinstance(inner, dict):
            raise ValueError(f"{where}: `{folder}` is given a value and keys of its own")
        values = inner
    values[last] = value

