"""Reading and atomically writing small files, on local disks and on gs://."""

import contextlib
import json
import os
import re
import socket
import time
import zlib
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from tpuseg.io import text_files

# Maximum sizes of files that are read into memory; parsed JSON needs many times the memory of the file.
_MAX_TEXT_BYTES = 512 << 20
_MAX_JSON_BYTES = 32 << 20


def exists(path: str) -> bool:
    """Returns whether there is a file or folder at `path`.

    Raises:
      ValueError: the name is not UTF-8.
      OSError: the file system fails; the message names the path.
    """
    try:
        return bool(tf.io.gfile.exists(path))
    except UnicodeError as error:
        raise ValueError(f"{path!a}: the name is not UTF-8; rename the file") from error
    except tf.errors.OpError as error:
        raise OSError(f"cannot access {path}: {_find_reason(error)}") from error


def read_bytes(path: str, max_bytes: int = _MAX_TEXT_BYTES) -> bytes:
    """Returns the content of a file.

    Raises:
      ValueError: the file is larger than `max_bytes`.
      OSError: the file cannot be read; the message names it.
    """
    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            content: bytes = file.read(max_bytes + 1)
    except tf.errors.OpError as error:
        raise OSError(f"cannot read {path}: {_find_reason(error)}") from error
    if len(content) > max_bytes:
        raise ValueError(f"{path} is larger than {max_bytes >> 20} MiB, the maximum for such a file; is it the right file?")
    return content


def _find_reason(error: tf.errors.OpError) -> str:
    lines = str(error.message).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def read_text(path: str, max_bytes: int = _MAX_TEXT_BYTES) -> str:
    """Returns the content of a text file in UTF-8, or in the encoding of its byte order mark.

    Raises:
      ValueError: the file is too large, or is not text; the message names it.
      OSError: the file cannot be read; the message names it.
    """
    return decode(read_bytes(path, max_bytes), path)


def decode(content: bytes, name: str) -> str:
    """Decodes the bytes of a text file: UTF-8, or UTF-16 or UTF-32 with a byte order mark.

    Args:
      content: the bytes.
      name: name of the file, for messages.

    Raises:
      ValueError: the bytes are invalid in this encoding; the message names file and line, and a way to fix it.
    """
    encoding = text_files.marked_encoding(content) or "utf-8"
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
    """Writes a file atomically: after a kill at any time, it has either the old or the new content.

    Args:
      path: path of the file; its folder is created if it does not exist.
      content: content of the file.

    Raises:
      OSError: the file cannot be written.
    """
    temporary = temporary_name(path)
    try:
        tf.io.gfile.makedirs(os.path.dirname(path) or ".")
        with tf.io.gfile.GFile(temporary, "wb") as file:
            file.write(content)
        tf.io.gfile.rename(temporary, path, overwrite=True)
    except tf.errors.OpError as error:
        with contextlib.suppress(tf.errors.OpError):
            tf.io.gfile.remove(temporary)  # On a full disk, its space is needed.
        raise OSError(f"cannot write {path}: {_find_reason(error)}") from error


# The suffix of the name of a file or folder until it is complete: the process that writes it.
_TEMPORARY = re.compile(r"\.(?P<pid>\d+)(-(?P<host>[0-9a-f]{8}))?\.(tmp|old)/?$")
_OLD_SECONDS = 24 * 3600.0


def temporary_name(path: str, ending: str = "tmp") -> str:
    """Returns the temporary name under which this process writes a file or folder."""
    return f"{path}.{os.getpid()}-{_hash_host_name()}.{ending}"


def _hash_host_name() -> str:
    """Returns a short name of this host, because the length of file names is limited."""
    return f"{zlib.crc32(socket.gethostname().encode()):08x}"


def is_left_over(path: str) -> bool:
    """Returns whether a file or folder is incomplete and the process that wrote it no longer exists.

    For another host, whose processes are not visible, the file must be one day old.
    """
    match = _TEMPORARY.search(path)
    if not match:
        return False
    if match["host"] in (None, _hash_host_name()):
        return not is_alive(int(match["pid"]))
    try:
        return time.time() - tf.io.gfile.stat(path.rstrip("/")).mtime_nsec / 1e9 > _OLD_SECONDS
    except tf.errors.OpError:
        return False


def remove_left_over(folder: str, prefix: str = "") -> None:
    """Removes incomplete files and folders of killed processes, if possible.

    Args:
      folder: the folder, without its subfolders; may be missing.
      prefix: beginning of the names.
    """
    with contextlib.suppress(tf.errors.OpError):
        for name in tf.io.gfile.listdir(folder) if tf.io.gfile.isdir(folder) else []:
            path = os.path.join(folder, name.rstrip("/"))
            if name.startswith(prefix) and is_left_over(path):
                tf.io.gfile.rmtree(path) if tf.io.gfile.isdir(path) else tf.io.gfile.remove(path)


def is_alive(pid: int) -> bool:
    """Returns whether this host has a process with this id."""
    if not 0 < pid < 1 << 31:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # The process belongs to another user.
    return True


_failed: set[str] = set()


@contextlib.contextmanager
def optional(what: str) -> Iterator[None]:
    """Runs a block that writes optional files: an error is printed once as a warning and does not end the run.

    Args:
      what: name of the files in the plural, for the warning.
    """
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        if what not in _failed:
            reason = _find_reason(error) if isinstance(error, tf.errors.OpError) else str(error)
            print(f"warning: cannot write {what} ({reason}); the run continues without them", flush=True)
        _failed.add(what)


def write_text(path: str, text: str) -> None:
    """Writes a text file like `write_bytes`."""
    write_bytes(path, text.encode())


def read_json(path: str) -> Any:
    """Returns the content of a JSON file.

    Raises:
      ValueError: the file is not JSON, is too large or nested too deeply; the message names it.
      OSError: the file cannot be read; the message names it.
    """
    return parse_json(read_text(path, _MAX_JSON_BYTES), path)


def parse_json(text: str, name: str) -> Any:
    """Parses JSON; raises a ValueError with the given name if it is invalid."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{name} is not valid JSON: {error}") from error
    except (ValueError, RecursionError) as error:  # A number with too many digits, or too many nested lists.
        raise ValueError(f"{name} is JSON that cannot be read: {error}") from error


def write_json(path: str, value: object) -> None:
    """Writes a JSON file like `write_text`."""
    write_text(path, json.dumps(value, indent=2) + "\n")
