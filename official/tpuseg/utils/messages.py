"""Formatting values and numbers in messages."""


def shorten(text: str, length: int = 100) -> str:
    """Shortens a text to `length` characters and escapes control characters, so that it fits into one line of a message."""
    start = text[:length]
    shown = start if start.isprintable() else repr(start)[1:-1]
    return shown if len(text) <= length else f"{shown}..."


def format_value(value: object, length: int = 100) -> str:
    """Formats a value for a message: `empty` for None, otherwise its `repr`, shortened to `length`."""
    if value is None:
        return "empty"
    try:
        return shorten(repr(value), length)
    except ValueError:  # Python refuses to convert integers of thousands of digits.
        return "a number of thousands of digits"


def plural(count: int, one: str, several: str = "") -> str:
    """Returns the form of a word that fits a number: `one` for 1, otherwise `several`, which is `one` with an s by default."""
    return one if count == 1 else several or f"{one}s"


def format_count(count: int, one: str, several: str = "") -> str:
    """Returns a number with its noun, and perhaps its verb, as in `1 image` or `3 images are`; see `plural` for the forms."""
    return f"{count} {plural(count, one, several)}"
