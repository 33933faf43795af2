"""How error messages show what was given."""



def shortened(text: str, length: int = 100) -> str:
    """Returns a text that fits into one line of a message: control characters escaped, and no longer than `length`."""
    start = text[:length]
    shown = start if start.isprintable() else repr(start)[1:-1]
    return shown if len(text) <= length else f"{shown}..."


def shown(value: object, length: int = 100) -> str:
    """Returns a value as messages show it: `empty` for None, else as in Python, no longer than `length`."""
    if value is None:
        return "empty"
    try:
        return shortened(repr(value), length)
    except ValueError:  # Python does not write out numbers of thousands of digits.
        return "a number of thousands of digits"


def plural(count: int, one: str, several: str = "") -> str:
    """Returns the form of a word that fits a number: `one` for 1, otherwise `several`, which is `one` with an s by default."""
    return one if count == 1 else several or f"{one}s"


def counted(count: int, one: str, several: str = "") -> str:
    """Returns a number with its noun, and perhaps its verb, as in `1 image` or `3 images are`; see `plural` for the forms."""
    return f"{count} {plural(count, one, several)}"
