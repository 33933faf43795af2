"""Tensors out of pickles, and nothing else out of them: a pickle is a program, and these come from the internet.

Reads PyTorch's files in both of their forms (since 1.6 a zip of a pickle and raw storages; before, pickles with the storages
behind them) and pickles of numpy arrays. No PyTorch is needed.
"""

import io
import pickle
import struct
import zipfile
import zlib
from typing import Any

import tensorflow as tf

from tpuseg.weights import pickle_machine
from tpuseg.weights.pickle_values import Array, Budget, Storage, View

_LEGACY_MAGIC, _LEGACY_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_MAX_DEPTH = 100
# A broken pickle is a broken program: it can fail in any of these ways. RuntimeError is zipfile's for encrypted files.
_BROKEN = (
    *(ValueError, EOFError, LookupError, TypeError, AttributeError, OverflowError, AssertionError, RuntimeError),
    *(struct.error, zlib.error, zipfile.BadZipFile),
)


def load(path: str) -> Any:
    """Reads a pickle.

    Args:
      path: a PyTorch file, or a pickle of dictionaries of numpy arrays.

    Returns:
      What was pickled, tensors as numpy arrays, which are read-only. The keys of dictionaries are text.

    Raises:
      ValueError: it contains anything but tensors, numbers, text and dictionaries of them, is damaged, or would take many times its
        size in memory.
    """
    with tf.io.gfile.GFile(path, "rb") as source:
        content = source.read()
    budget = Budget(len(content))
    try:
        if zipfile.is_zipfile(io.BytesIO(content)):
            return _arrays(_read_zip(content, budget), budget)
        file = io.BytesIO(content)
        first = pickle_machine.run(file, {}, budget)
        return _arrays(_read_legacy(file, budget) if first == _LEGACY_MAGIC else first, budget)
    except pickle.UnpicklingError as error:
        raise ValueError(f"{path} is not read: {error}") from error
    except _BROKEN as error:
        what = " ".join(str(error).split())[:300] or type(error).__name__
        raise ValueError(f"{path} is damaged or not a file of weights: {what}") from error


def _read_zip(content: bytes, budget: Budget) -> Any:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = archive.namelist()
        roots = [name.removesuffix("data.pkl") for name in names if name.rpartition("/")[2] == "data.pkl"]
        if len(roots) != 1:
            raise ValueError("it is a zip without a data.pkl")
        root = roots[0]
        if f"{root}byteorder" in names and _read_member(archive, f"{root}byteorder", budget).strip() != b"little":
            raise ValueError("it was written on a machine with another byte order")
        storages: dict[str, Storage] = {}
        tree = pickle_machine.run(io.BytesIO(_read_member(archive, f"{root}data.pkl", budget)), storages, budget)
        for key, storage in storages.items():
            storage.data = _read_member(archive, f"{root}data/{key}", budget)
    return tree


def _read_member(archive: zipfile.ZipFile, name: str, budget: Budget) -> bytes:
    """Returns the bytes of one file in a zip, whose size says how many there can be."""
    info = archive.getinfo(name)
    # zipfile unpacks the other methods without a limit.
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError("it is compressed in a way that PyTorch does not use")
    budget.take(info.file_size)
    return archive.read(info)


def _read_legacy(file: io.BytesIO, budget: Budget) -> Any:
    """Reads what follows the magic number of PyTorch's older form."""
    if pickle_machine.run(file, {}, budget) != _LEGACY_PROTOCOL:
        raise ValueError("it is in an unknown variant of PyTorch's file format")
    system = pickle_machine.run(file, {}, budget)
    if type(system) is not dict or not system.get("little_endian", True):
        raise ValueError("it was written on a machine with another byte order")
    storages: dict[str, Storage] = {}
    tree = pickle_machine.run(file, storages, budget)
    keys = pickle_machine.run(file, {}, budget)
    if type(keys) is not list:
        raise ValueError("it has no list of its storages")
    for key in keys:
        storage = storages.get(str(key)) if type(key) in (str, int) else None
        if storage is None or storage.numel != int.from_bytes(file.read(8), "little"):
            raise ValueError("one of its storages has a wrong length")
        storage.data = file.read(storage.num_bytes)
    return tree


def _arrays(tree: object, budget: Budget) -> Any:
    """Returns dictionaries of arrays for dictionaries of tensors.

    A dictionary that is in several places, or in itself, stays one dictionary.
    """
    if isinstance(tree, View | Array):
        array = tree.array()  # Still a view.
        budget.take(array.nbytes)
        return array
    if type(tree) is not dict:
        return tree
    converted: dict[int, dict] = {id(tree): {}}
    level = [tree]
    for _ in range(_MAX_DEPTH):
        below = []
        for source in level:
            target = converted[id(source)]
            for key, value in source.items():
                if type(value) is dict and id(value) not in converted:
                    converted[id(value)] = {}
                    below.append(value)
                target[key] = converted[id(value)] if type(value) is dict else _arrays(value, budget)
        level = below
        if not level:
            return converted[id(tree)]
    raise ValueError(f"its dictionaries are nested more than {_MAX_DEPTH} deep")
