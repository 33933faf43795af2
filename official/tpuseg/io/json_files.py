"""JSON files that other programs wrote, of any size.

Worker processes import this module, so it leaves TensorFlow alone.
"""

import json
from typing import Any


def read(path: str, what: str) -> Any:
    """Returns the value in a JSON file: UTF-8, 16 or 32, with a byte order mark or without.

    Args:
      path: of the file, on a local disk.
      what: the file is, for messages: `annotation file`.

    Raises:
      ValueError: the file is missing, is not text or no JSON, or is nested too deeply; names it.
    """
    try:
        with open(path, "rb") as file:
            raw = file.read()
    except FileNotFoundError:
        raise ValueError(f"there is no {what} {path}") from None
    except IsADirectoryError:
        raise ValueError(f"{path} is a folder, not {_a(what)}") from None
    try:
        return json.loads(raw.decode(json.detect_encoding(raw)))
    except UnicodeDecodeError as error:
        guess = "; is it Latin-1?" if error.encoding.startswith("utf-8") else ""
        detail = f"byte {error.start} is 0x{raw[error.start]:02x}{guess}"
        raise ValueError(f"{path} is not valid {error.encoding.upper()} ({detail}); save it as UTF-8") from error
    except RecursionError:
        raise ValueError(f"{path} is nested too deeply to be {_a(what)}") from None
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error


def _a(what: str) -> str:
    return f"{'an' if what[0] in 'aeiou' else 'a'} {what}"
