"""Folders that are written whole or not at all."""

import contextlib
import os
from collections.abc import Callable, Iterator

import tensorflow as tf


@contextlib.contextmanager
def replaced(folder: str, is_ours: Callable[[str], bool]) -> Iterator[str]:
    """Gives a folder to write into, and puts it in the place of another when all is written.

    Args:
      folder: the place.
      is_ours: whether what is there may go.

    Yields:
      The folder to write into.

    Raises:
      ValueError: something else is there.
      OSError: the folder cannot be written.
    """
    folder = folder.rstrip("/")
    gfile = tf.io.gfile
    is_there = gfile.exists(folder)
    if is_there and not (gfile.isdir(folder) and (not gfile.listdir(folder) or is_ours(folder))):
        raise ValueError(f"{folder} holds something else than an exported model; name another --output_dir, or move it away")
    unfinished, old = f"{folder}.{os.getpid()}.tmp", f"{folder}.{os.getpid()}.old"
    try:
        gfile.makedirs(unfinished)
        yield unfinished
        if is_there:
            gfile.rename(folder, old)
        gfile.rename(unfinished, folder)
        if is_there:
            gfile.rmtree(old)
    except tf.errors.OpError as error:
        raise OSError(f"cannot write {folder}: {error.message}") from error
    finally:
        if gfile.exists(unfinished):
            gfile.rmtree(unfinished)
