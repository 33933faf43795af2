"""How error messages show what was given."""

from typing import Any


def shortened(text: str, length: int = 100) -> str:
    """Returns a text that fits into one line of a message: control characters escaped, and no longer than `length`."""
    start = text[:length]
    shown = start if start.isprintable() else repr(start)[1:-1]
    return shown if len(text) <= length else f"{shown}..."


def shown(value: Any, length: int = 100) -> str:
    """Returns a value as messages show it: `empty` for None, else as in Python, no longer than `length`."""
    if value is None:
        return "empty"
    try:
        return shortened(repr(value), length)
    except ValueError:  # Python does not write out numbers of thousands of digits.
        return "a number of thousands of digits"
