"""The files of checkpoints: listing them, verifying them, and reading them from folders with any name.

A checkpoint `.../ckpt-1200` consists of `ckpt-1200.index` and one or more files `ckpt-1200.data-*`. TensorFlow writes the index
last, so a checkpoint with an index is complete. The state file `checkpoint` only repeats the names and is not needed.
"""

import functools
import os
import re
import tempfile
from typing import Any

import tensorflow as tf

from tpuseg.utils.error_text import first_line

# Training moves damaged checkpoints to this subfolder of their folder.
DAMAGED_FOLDER = "damaged_checkpoints"
_INDEX = ".index"
_OWN_NAME = re.compile(r"ckpt-\d+$")
_UNFINISHED = re.compile(r"ckpt-\d+_temp/?$")
_DATA = re.compile(r"(ckpt-\d+)\.data-\d+-of-\d+$")
# TensorFlow interprets the path of a checkpoint as a pattern.
_GLOB_CHARACTERS = frozenset("*?[\\")
_READ_BYTES = 8 << 20


def step_of(path: str) -> int:
    """Returns the step in a checkpoint's name, `.../ckpt-1200`, or -1."""
    number = path.rpartition("-")[2]
    return int(number) if number.isascii() and number.isdigit() else -1


def list_checkpoints(folder: str) -> list[str]:
    """Lists the checkpoints of a run in a folder, by their indexes, the oldest first; empty if the folder does not exist."""
    return [path for path in list_all_checkpoints(folder) if _OWN_NAME.match(os.path.basename(path))]


def list_all_checkpoints(folder: str) -> list[str]:
    """Lists all checkpoints in a folder like `list_checkpoints`, also those with other names than `ckpt-STEP`."""
    found = {name.removesuffix(_INDEX) for name in names(folder) if name.endswith(_INDEX)}
    return [os.path.join(folder, name) for name in sorted(found - {""}, key=lambda name: (step_of(name), name))]


def list_without_index(folder: str) -> list[str]:
    """Lists the names of checkpoints in a folder that have data but no index."""
    there = names(folder)
    with_data = {match[1] for name in there if (match := _DATA.match(name))}
    return sorted(with_data - {name.removesuffix(_INDEX) for name in there})


def names(folder: str) -> list[str]:
    """Lists the names in a folder, or nothing if it does not exist; names of folders may end with a slash.

    Raises:
      OSError: the folder cannot be listed.
    """
    try:
        return list(tf.io.gfile.listdir(folder)) if tf.io.gfile.isdir(folder) else []
    except tf.errors.NotFoundError:
        return []  # Removed between the two calls.
    except tf.errors.OpError as error:
        raise OSError(f"cannot list {folder}: {first_line(error)}") from error


def files_of(path: str) -> list[str]:
    """Lists the files of a checkpoint, the index first: removing them in this order never leaves an incomplete checkpoint."""
    folder, prefix = os.path.split(path)
    own = re.compile(re.escape(prefix) + r"\.data-\d+-of-\d+$")
    there = names(folder or ".")
    index = [prefix + _INDEX] * (prefix + _INDEX in there)
    return [os.path.join(folder, name) for name in index + sorted(filter(own.match, there))]


def find_damage(path: str) -> str | None:
    """Verifies a checkpoint by reading all values, for which TensorFlow compares checksums.

    Args:
      path: the checkpoint, `.../ckpt-1200`.

    Returns:
      A short description of the damage; None if the checkpoint is intact.

    Raises:
      OSError: the files cannot be read temporarily, for example because there is no permission or no connection.
    """
    return _find_damage(path, tuple(_read_stamp(file) for file in files_of(path)))


def _read_stamp(path: str) -> tuple[str, int, int]:
    try:
        status = tf.io.gfile.stat(path)
    except tf.errors.NotFoundError:
        return path, -1, 0
    return path, status.length, status.mtime_nsec


@functools.lru_cache(maxsize=64)
def _find_damage(path: str, stamp: tuple[tuple[str, int, int], ...]) -> str | None:
    del stamp  # Part of the cache's key, so that rewritten files are read again.
    try:
        reader = tf.train.load_checkpoint(readable(path))
        for name in reader.get_variable_to_shape_map():
            _read(reader, name)
    except MemoryError:
        raise
    except Exception as error:  # The reader raises errors of many classes for damaged bytes.
        _require_access(path)
        return first_line(error).replace(readable(path), path)
    return None


def _read(reader: Any, name: str) -> None:
    try:
        reader.get_tensor(name)
    except tf.errors.UnimplementedError:
        pass  # A partitioned value, which can only be read in a graph, and is not verified.


def _require_access(path: str) -> None:
    """Raises OSError if the file system fails, and not the contents of the files."""
    for file in files_of(path):
        try:
            with tf.io.gfile.GFile(file, "rb") as opened:
                while opened.read(_READ_BYTES):
                    pass
        except tf.errors.NotFoundError:
            continue
        except tf.errors.OpError as error:
            raise OSError(f"cannot read {file}: {first_line(error)}") from error


def open_reader(path: str) -> Any:
    """Opens TensorFlow's reader of a checkpoint.

    Raises:
      ValueError: it cannot be read.
    """
    try:
        return tf.train.load_checkpoint(readable(path))
    except (tf.errors.OpError, RuntimeError, IndexError) as error:
        raise ValueError(f"checkpoint {path} cannot be read: {first_line(error).replace(readable(path), path)}") from error


def readable(path: str) -> str:
    """Returns a path with which TensorFlow finds a checkpoint; a different one if its folder's name has pattern characters."""
    folder, name = os.path.split(path)
    if _GLOB_CHARACTERS.isdisjoint(path):
        return path
    if not _GLOB_CHARACTERS.isdisjoint(name):
        raise ValueError(f"{path}: TensorFlow cannot read a checkpoint with one of * ? [ \\ in its name; rename its files")
    return os.path.join(readable_folder(folder), name)


def readable_folder(folder: str) -> str:
    """Returns a path of a folder without pattern characters: the folder itself, or a symbolic link to it.

    Raises:
      ValueError: the folder is not on a local disk.
    """
    if _GLOB_CHARACTERS.isdisjoint(folder):
        return folder
    if "://" in folder:
        raise ValueError(f"{folder}: TensorFlow cannot read from a folder with one of * ? [ \\ in its name; use another name")
    return _link(os.path.abspath(folder))


@functools.cache
def _link(folder: str) -> str:
    # The link is kept until the process ends, because TensorFlow reads values of objects that are created later.
    links = _create_link_folder()
    path = os.path.join(links.name, f"folder{len(os.listdir(links.name))}")
    os.symlink(folder, path)
    return path


@functools.cache
def _create_link_folder() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(prefix="tpuseg-links-")


def set_aside(path: str) -> str:
    """Moves a checkpoint to the subfolder for damaged checkpoints, and returns that folder.

    Raises:
      OSError: the files cannot be moved.
    """
    target = os.path.join(os.path.dirname(path), DAMAGED_FOLDER)
    try:
        tf.io.gfile.makedirs(target)
        for file in files_of(path):
            tf.io.gfile.rename(file, os.path.join(target, os.path.basename(file)), overwrite=True)
    except tf.errors.OpError as error:
        raise OSError(f"cannot move {path} to {target}: {first_line(error)}") from error
    return target


def remove(path: str) -> None:
    """Removes a checkpoint; missing files are ignored."""
    for file in files_of(path):
        try:
            tf.io.gfile.remove(file)
        except tf.errors.NotFoundError:
            continue
        except tf.errors.OpError as error:
            raise OSError(f"cannot remove {file}: {first_line(error)}") from error


def remove_unfinished(folder: str) -> None:
    """Removes incomplete checkpoints of killed or failed processes, which TensorFlow never removes and which can be large."""
    for name in names(folder):
        if _UNFINISHED.match(name):
            try:
                tf.io.gfile.rmtree(os.path.join(folder, name))
            except tf.errors.OpError as error:
                raise OSError(f"cannot remove {os.path.join(folder, name)}: {first_line(error)}") from error
