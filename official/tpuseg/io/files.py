"""Small files that must never be half-written, on local disks and on gs://."""

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

# More than any file that is read as a whole into memory has: of text, and of JSON, whose values need many times its bytes.
_MAX_TEXT_BYTES = 512 << 20
_MAX_JSON_BYTES = 32 << 20


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
    """Writes a file so that a reader, or a kill at any moment, sees the old content or the new, never a part.

    Args:
      path: its folder is made if it is not there.
      content: of the file.

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
            tf.io.gfile.remove(temporary)  # On a full disk its part takes what little space there is.
        raise OSError(f"cannot write {path}: {_reason(error)}") from error


# What follows the name of a file or folder until it is whole: who writes it.
_TEMPORARY = re.compile(r"\.(?P<pid>\d+)(-(?P<host>[0-9a-f]{8}))?\.(tmp|old)/?$")
_OLD_SECONDS = 24 * 3600.0


def temporary_name(path: str, ending: str = "tmp") -> str:
    """Returns the name under which this process writes a file or folder until it is whole."""
    return f"{path}.{os.getpid()}-{_host()}.{ending}"


def _host() -> str:
    """Returns a short name for this host: names of files have a limit."""
    return f"{zlib.crc32(socket.gethostname().encode()):08x}"


def is_left_over(path: str) -> bool:
    """Returns whether a file or folder is unfinished, and the process that wrote it is gone.

    One of another host, whose processes nobody here can see, counts as left over when it is a day old.
    """
    match = _TEMPORARY.search(path)
    if not match:
        return False
    if match["host"] in (None, _host()):
        return not is_alive(int(match["pid"]))
    try:
        return time.time() - tf.io.gfile.stat(path.rstrip("/")).mtime_nsec / 1e9 > _OLD_SECONDS
    except tf.errors.OpError:
        return False


def remove_left_over(folder: str, prefix: str = "") -> None:
    """Removes what killed processes left unfinished in a folder, as far as it can be removed.

    Args:
      folder: looked through without its folders; need not be there.
      prefix: how the names begin.
    """
    with contextlib.suppress(tf.errors.OpError):
        for name in tf.io.gfile.listdir(folder) if tf.io.gfile.isdir(folder) else []:
            path = os.path.join(folder, name.rstrip("/"))
            if name.startswith(prefix) and is_left_over(path):
                tf.io.gfile.rmtree(path) if tf.io.gfile.isdir(path) else tf.io.gfile.remove(path)


def is_alive(pid: int) -> bool:
    """Returns whether this host has a process of a number."""
    if not 0 < pid < 1 << 31:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # It is somebody else's.
    return True


_failed: set[str] = set()


@contextlib.contextmanager
def optional(what: str) -> Iterator[None]:
    """A block that writes what a run can do without: that it fails is said once, and does not end the run.

    Args:
      what: is written, in the plural.
    """
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        if what not in _failed:
            reason = _reason(error) if isinstance(error, tf.errors.OpError) else str(error)
            print(f"warning: cannot write {what} ({reason}); the run continues without them", flush=True)
        _failed.add(what)


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


def write_json(path: str, value: object) -> None:
    """Writes a JSON file like `write_text`."""
    write_text(path, json.dumps(value, indent=2) + "\n")
