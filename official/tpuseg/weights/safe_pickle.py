"""Tensors out of pickles, and nothing else out of them: a pickle is a program, and these come from the internet.

Reads PyTorch's files in both of their forms (since 1.6 a zip of a pickle and raw storages; before, pickles with the storages
behind them) and pickles of numpy arrays. No PyTorch is needed.
"""

import codecs
import collections
import dataclasses
import io
import pickle
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

_DTYPES = {
    "DoubleStorage": np.dtype("<f8"),
    "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": np.dtype(tf.bfloat16.as_numpy_dtype),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}
_LEGACY_MAGIC, _LEGACY_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


@dataclasses.dataclass
class _Storage:
    """A run of numbers; in the older form its bytes come after the pickle that mentions it."""

    dtype: np.dtype
    numel: int
    data: bytes = b""


@dataclasses.dataclass
class _View:
    """A tensor: a storage seen with a shape."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self) -> np.ndarray:
        """Returns the values; raises ValueError if they are not all in the storage."""
        storage = self.storage
        if len(self.shape) != len(self.strides) or min((self.offset, *self.shape, *self.strides)) < 0:
            raise ValueError(f"a tensor has the shape {self.shape} with strides {self.strides}")
        last = self.offset + sum((size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True))
        size = storage.dtype.itemsize
        if 0 in self.shape:
            return np.zeros(self.shape, storage.dtype)
        if last >= storage.numel or storage.numel * size > len(storage.data):
            raise ValueError(f"a tensor of shape {self.shape} is cut off")
        flat = np.frombuffer(storage.data, storage.dtype, storage.numel)[self.offset :]
        return np.lib.stride_tricks.as_strided(flat, self.shape, [stride * size for stride in self.strides]).copy()


def _rebuild_tensor(storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any) -> _View:
    if not isinstance(storage, _Storage):
        raise pickle.UnpicklingError("a tensor without a storage")
    return _View(storage, offset, tuple(shape), tuple(strides))


def _rebuild_parameter(data: _View, *_: Any) -> _View:
    return data


def _numpy_reconstruct() -> Callable[..., Any]:
    # numpy 2 moved it; files of either are read with either.
    return np.empty(0).__reduce__()[0]  # type: ignore[return-value, index]


def _numpy_scalar() -> Callable[..., Any]:
    return np.float32(0).__reduce__()[0]  # type: ignore[return-value, index]


def _from_buffer(buffer: bytes, dtype: np.dtype, shape: tuple[int, ...], order: Any) -> np.ndarray:
    """What numpy's arrays are made with in protocol 5."""
    return np.frombuffer(buffer, dtype).reshape(shape, order=order)


_ADMITTED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): codecs.encode,  # How Python 2 and 3 agree on an array's bytes.
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _numpy_reconstruct() for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _from_buffer for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _numpy_scalar() for core in ("core", "_core")},
    **{("torch", name): dtype for name, dtype in _DTYPES.items()},
}


class _Unpickler(pickle.Unpickler):
    """Admits what makes up tensors; everything else is refused by its name."""

    def __init__(self, file: io.BytesIO, storages: dict[str, _Storage] | None = None) -> None:
        super().__init__(file, encoding="latin1")
        self._storages = {} if storages is None else storages

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ADMITTED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(
                f"it holds a `{module}.{name}`, and nothing but tensors is read; save them alone:"
                " torch.save(model.state_dict(), FILE)"
            ) from None

    def persistent_load(self, identity: Any) -> _Storage:
        kind, dtype, key, _, numel, *view = identity
        if kind != "storage" or not isinstance(dtype, np.dtype) or any(view):
            raise pickle.UnpicklingError(f"it refers to {str(identity)[:80]}")
        return self._storages.setdefault(str(key), _Storage(dtype, int(numel)))


def _read_zip(content: bytes) -> Any:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = archive.namelist()
        roots = [name.removesuffix("data.pkl") for name in names if name.rpartition("/")[2] == "data.pkl"]
        if len(roots) != 1:
            raise ValueError("it is a zip without a data.pkl")
        root = roots[0]
        if f"{root}byteorder" in names and archive.read(f"{root}byteorder").strip() != b"little":
            raise ValueError("it was written on a machine with another order of bytes")
        storages: dict[str, _Storage] = {}
        tree = _Unpickler(io.BytesIO(archive.read(f"{root}data.pkl")), storages).load()
        for key, storage in storages.items():
            storage.data = archive.read(f"{root}data/{key}")
    return tree


def _read_legacy(file: io.BytesIO) -> Any:
    """Reads what follows the magic number of PyTorch's older form."""
    if _Unpickler(file).load() != _LEGACY_PROTOCOL:
        raise ValueError("it is of a form of PyTorch's files that is not known")
    if not _Unpickler(file).load().get("little_endian", True):
        raise ValueError("it was written on a machine with another order of bytes")
    storages: dict[str, _Storage] = {}
    tree = _Unpickler(file, storages).load()
    for key in _Unpickler(file).load():
        numel = int.from_bytes(file.read(8), "little")
        storage = storages.get(str(key))
        if storage is None or storage.numel != numel:
            raise ValueError(f"its storage {key} has another length than it should")
        storage.data = file.read(numel * storage.dtype.itemsize)
    return tree


def _arrays(tree: Any) -> Any:
    """Returns dictionaries of arrays for dictionaries of tensors."""
    if isinstance(tree, dict):
        return {str(key): _arrays(value) for key, value in tree.items()}
    return tree.array() if isinstance(tree, _View) else tree


def load(path: str) -> Any:
    """Reads a pickle.

    Args:
      path: a PyTorch file, or a pickle of dictionaries of numpy arrays.

    Returns:
      What was pickled, tensors as numpy arrays.

    Raises:
      ValueError: it holds anything but tensors, numbers, text and dictionaries of them, or is broken.
    """
    with tf.io.gfile.GFile(path, "rb") as source:
        content = source.read()
    try:
        if zipfile.is_zipfile(io.BytesIO(content)):
            return _arrays(_read_zip(content))
        file = io.BytesIO(content)
        first = _Unpickler(file).load()
        return _arrays(_read_legacy(file) if first == _LEGACY_MAGIC else first)
    except pickle.UnpicklingError as error:
        raise ValueError(f"{path} is not read: {error}") from error
    # A broken pickle is a broken program: it can fail in any of these ways.
    except (ValueError, EOFError, KeyError, IndexError, TypeError, AttributeError, zipfile.BadZipFile, UnicodeError) as error:
        raise ValueError(f"{path} is broken or no file of weights: {error or type(error).__name__}") from error
