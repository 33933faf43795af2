"""Small files that must never be half-written, on local disks and on gs://."""

import codecs
import json
import os
from typing import Any

import tensorflow as tf

# More than any file that is read as a whole into memory has: of text, and of JSON, whose values need many times its bytes.
_MAX_TEXT_BYTES = 512 << 20
_MAX_JSON_BYTES = 32 << 20
# The marks of UTF-32 begin like those of UTF-16.
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def exists(path: str) -> bool:
    """Returns whether there is a file or folder at `path`.

    Raises:
      ValueError: the name is not UTF-8.
      OSError: the file system cannot tell; names the path.
    """
    try:
        return bool(tf.io.gfile.exists(path))
    except UnicodeError as error:
        raise ValueError(f"{path!a}: the name is not UTF-8; rename the file") from error
    except tf.errors.OpError as error:
        raise OSError(f"cannot look at {path}: {_reason(error)}") from error


def read_bytes(path: str, max_bytes: int = _MAX_TEXT_BYTES) -> bytes:
    """Returns the content of a file.

    Raises:
      ValueError: the file is larger than `max_bytes`.
      OSError: the file cannot be read; names it.
    """
    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            content: bytes = file.read(max_bytes + 1)
    except tf.errors.OpError as error:
        raise OSError(f"cannot read {path}: {_reason(error)}") from error
    if len(content) > max_bytes:
        raise ValueError(f"{path} is larger than {max_bytes >> 20} MiB, more than a file of this kind can have")
    return content


def _reason(error: tf.errors.OpError) -> str:
    lines = str(error.message).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def read_text(path: str, max_bytes: int = _MAX_TEXT_BYTES) -> str:
    """Returns the content of a text file: UTF-8, or what its byte order mark says.

    Raises:
      ValueError: the file is too large, or is not text; names it.
      OSError: the file cannot be read; names it.
    """
    return decode(read_bytes(path, max_bytes), path)


def decode(content: bytes, name: str) -> str:
    """Returns the text of a file's bytes: UTF-8, or UTF-16 or UTF-32 where a byte order mark says so.

    Args:
      content: the bytes.
      name: of the file, for messages.

    Raises:
      ValueError: the bytes are not of that encoding; names file and line, and says what to do.
    """
    encoding = next((encoding for mark, encoding in _BYTE_ORDER_MARKS if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line, wrong = content.count(b"\n", 0, error.start) + 1, f"byte 0x{content[error.start]:02x}"
        raise ValueError(
            f"{name}:{line}: is not {encoding.removesuffix('-sig').upper()} text ({wrong}); save the file as UTF-8"
        ) from error
    if encoding == "utf-8" and content[1:2] == b"\0":
        raise ValueError(f"{name}: looks like UTF-16 text without a byte order mark; save the file as UTF-8")
    return text


def write_bytes(path: str, content: bytes) -> None:
    """Writes a file so that a reader, or a kill at any moment, sees the old content or the new, never a part.

    Args:
      path: its folder is made if it is not there.
      content: of the file.

    Raises:
      OSError: the file cannot be written.
    """
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        tf.io.gfile.makedirs(os.path.dirname(path) or ".")
        with tf.io.gfile.GFile(temporary, "wb") as file:
            file.write(content)
        tf.io.gfile.rename(temporary, path, overwrite=True)
    except tf.errors.OpError as error:
        raise OSError(f"cannot write {path}: {error.message}") from error


def write_text(path: str, text: str) -> None:
    """Writes a text file like `write_bytes`."""
    write_bytes(path, text.encode())


def read_json(path: str) -> Any:
    """Returns the content of a JSON file.

    Raises:
      ValueError: the file is not JSON, is too large or nested too deeply; names it.
      OSError: the file cannot be read; names it.
    """
    return parse_json(read_text(path, _MAX_JSON_BYTES), path)


def parse_json(text: str, name: str) -> Any:
    """Returns the value of a JSON text; raises ValueError, which has the given name, if it is none."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{name} is not valid JSON: {error}") from error
    except (ValueError, RecursionError) as error:  # A number of too many digits; lists in lists without end.
        raise ValueError(f"{name} is JSON that cannot be read: {error}") from error


def write_json(path: str, value: Any) -> None:
    """Writes a JSON file like `write_text`."""
    write_text(path, json.dumps(value, indent=2) + "\n")
