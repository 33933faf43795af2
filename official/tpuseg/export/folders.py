"""Writing folders atomically."""

import contextlib
import os
from collections.abc import Callable, Iterator

import tensorflow as tf

from tpuseg.io import checkpoint_files, files
from tpuseg.utils.error_text import first_line


@contextlib.contextmanager
def replace_folder(folder: str, is_ours: Callable[[str], bool]) -> Iterator[str]:
    """Creates a temporary folder, and replaces a folder by it at the end of the block.

    Args:
      folder: path of the folder to replace; it may not exist.
      is_ours: function that returns whether an existing folder may be replaced.

    Yields:
      The path of the temporary folder.

    Raises:
      ValueError: the folder exists, and `is_ours` is False for it.
      OSError: the folder cannot be written.
    """
    folder = folder.rstrip("/")
    gfile = tf.io.gfile
    _remove_left_over(folder)
    is_there = gfile.exists(folder)
    if is_there and not (gfile.isdir(folder) and (not gfile.listdir(folder) or is_ours(folder))):
        raise ValueError(f"{folder} exists and is not an exported model; choose another --output_dir, or move it")
    unfinished, old = files.temporary_name(folder), files.temporary_name(folder, "old")
    try:
        gfile.makedirs(unfinished)
        yield unfinished
        if is_there:
            gfile.rename(folder, old)
        gfile.rename(unfinished, folder)
        if is_there:
            gfile.rmtree(old)
    except tf.errors.OpError as error:
        raise OSError(f"cannot write {folder}: {first_line(error)}") from error
    finally:
        if gfile.exists(unfinished):
            gfile.rmtree(unfinished)


def _remove_left_over(folder: str) -> None:
    """Removes incomplete folders of killed exports; moves back an old folder if its replacement is missing."""
    parent, name = os.path.split(folder)
    for other in checkpoint_files.names(parent or "."):
        path = os.path.join(parent, other.rstrip("/"))
        if other.startswith(f"{name}.") and path.endswith(".old") and files.is_left_over(path) and not files.exists(folder):
            tf.io.gfile.rename(path, folder)
    files.remove_left_over(parent or ".", f"{name}.")
