"""Small files that must never be half-written, on local disks and on gs://."""

import json
import os
from typing import Any

import tensorflow as tf


def exists(path: str) -> bool:
    """Returns whether there is a file or folder at `path`."""
    return bool(tf.io.gfile.exists(path))


def read_text(path: str) -> str:
    """Returns the content of a text file."""
    with tf.io.gfile.GFile(path, "r") as file:
        return file.read()


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
      ValueError: the file is not JSON; names it.
    """
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error


def write_json(path: str, value: Any) -> None:
    """Writes a JSON file like `write_text`."""
    write_text(path, json.dumps(value, indent=2) + "\n")
