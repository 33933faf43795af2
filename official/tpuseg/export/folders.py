"""Writing folders atomically."""

import contextlib
import os
from collections.abc import Callable, Iterator

import tensorflow as tf

from tpuseg.io import checkpoint_files, files
from tpuseg.utils.error_text import first_line


@contextlib.contextmanager
def replace_folder(folder: str, is_ours: Callable[[str], bool]) -> Iterator[str]:
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
    _mend(folder)
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


def _mend(folder: str) -> None:
    """Removes what killed exports left beside a folder; one that was moved away and not replaced gets its place again."""
    parent, name = os.path.split(folder)
    for other in checkpoint_files.names(parent or "."):
        path = os.path.join(parent, other.rstrip("/"))
        if other.startswith(f"{name}.") and path.endswith(".old") and files.is_left_over(path) and not files.exists(folder):
            tf.io.gfile.rename(path, folder)
    files.remove_left_over(parent or ".", f"{name}.")
