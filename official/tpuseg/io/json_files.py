"""Reading JSON files of other programs, with any size.

Worker processes import this module, so it does not import TensorFlow.
"""

import json
from typing import Any


def read(path: str, what: str) -> Any:
    """Reads a JSON file in UTF-8, UTF-16 or UTF-32, with or without a byte order mark.

    Args:
      path: path of the file on a local disk.
      what: kind of the file, for messages: `annotation file`.

    Raises:
      ValueError: the file does not exist, is not text or not JSON, or is nested too deeply; the message names it.
    """
    try:
        with open(path, "rb") as file:
            raw = file.read()
    except FileNotFoundError:
        raise ValueError(f"there is no {what} {path}") from None
    except IsADirectoryError:
        raise ValueError(f"{path} is a folder, not {_add_article(what)}") from None
    try:
        return json.loads(raw.decode(json.detect_encoding(raw)))
    except UnicodeDecodeError as error:
        guess = "; is it Latin-1?" if error.encoding.startswith("utf-8") else ""
        detail = f"byte {error.start} is 0x{raw[error.start]:02x}{guess}"
        raise ValueError(f"{path} is not valid {error.encoding.upper()} ({detail}); save it as UTF-8") from error
    except RecursionError:
        raise ValueError(f"{path} is nested too deeply to be {_add_article(what)}") from None
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error


def _add_article(what: str) -> str:
    return f"{'an' if what[0] in 'aeiou' else 'a'} {what}"
