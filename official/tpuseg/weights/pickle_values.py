"""What a pickle of weights may consist of: plain values, and the stand-ins of this module for arrays, tensors and their types.

A pickle asks for classes and functions by name. The names that PyTorch's and numpy's files need are in `NAMES`; each stands for a
function of this module that checks its arguments and returns plain data. No object of numpy or of Python's library is created from
what a pickle says: an array is made from bytes whose number has been compared with its shape.
"""

import dataclasses
import math
import pickle
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tpuseg.weights.external import printable

_STORAGES: dict[str, np.dtype] = {
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
# Floats, integers and booleans of a known size. Everything else (objects, text, records, dates) is no weight.
_NUMPY_TYPE = re.compile(r"[<>|=]?(f[248]|[iu][1248]|b1)")
_MAX_DIMENSIONS = 32
_LIMIT = 2**62
_ENTRY_BYTES = 64


class Budget:
    """How many bytes a file may still make the program allocate.

    Files of weights take about as much memory as they are long. A small file that asks for much more (one storage that many tensors
    see, a stride of 0, compressed zeros) is made to exhaust memory.
    """

    def __init__(self, file_size: int) -> None:
        self._file_size = file_size
        self._left = 8 * file_size + 2**20

    def take(self, num_bytes: int) -> None:
        """Raises ValueError if a file asks for many times its own size."""
        self._left -= num_bytes
        if self._left < 0:
            raise ValueError(f"its {self._file_size} bytes would take more than 8 times as much memory; no file of weights does")


@dataclasses.dataclass
class Storage:
    """The bytes that tensors are views of. In PyTorch's older form they come after the pickle that mentions them."""

    numel: int
    itemsize: int
    data: bytes = b""

    @property
    def num_bytes(self) -> int:
        """Returns how many bytes it should have."""
        return self.numel * self.itemsize


@dataclasses.dataclass(frozen=True)
class TypedStorage:
    """A storage read as numbers of one type."""

    storage: Storage
    dtype: np.dtype
    numel: int


@dataclasses.dataclass(frozen=True)
class View:
    """A tensor: a storage seen with an offset, a shape and strides, all in numbers and not in bytes."""

    typed: TypedStorage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self) -> np.ndarray:
        """Returns the values, a read-only view of the storage; raises ValueError if they are not all in it."""
        dtype, numel, data = self.typed.dtype, self.typed.numel, self.typed.storage.data
        if len(self.shape) != len(self.strides) or min((self.offset, *self.shape, *self.strides)) < 0:
            raise ValueError(f"a tensor has the shape {self.shape} with strides {self.strides}")
        if 0 in self.shape:
            return np.zeros(self.shape, dtype)
        last = self.offset + sum((size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True))
        if last >= numel or numel * dtype.itemsize > len(data):
            raise ValueError(f"a tensor of shape {self.shape} is truncated")
        flat = np.frombuffer(data, dtype, numel)[self.offset :]
        return np.lib.stride_tricks.as_strided(
            flat, self.shape, [stride * dtype.itemsize for stride in self.strides], writeable=False
        )


@dataclasses.dataclass
class NumpyType:
    """What stands for a `numpy.dtype`; its state may turn the order of bytes around."""

    dtype: np.dtype

    def set_state(self, state: Any, _: Budget) -> None:
        """Takes the state of a `numpy.dtype`, of which only the order of bytes is known to simple types."""
        is_known = isinstance(state, tuple) and 5 <= len(state) <= 9 and state[1] in ("<", ">", "|", "=")
        if not is_known or any(part is not None for part in state[2:5]):
            raise ValueError("it holds an array whose type is not numeric")
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


@dataclasses.dataclass
class Array:
    """What stands for a `numpy.ndarray`, which has no values before its state."""

    value: np.ndarray | None = None

    def set_state(self, state: Any, budget: Budget) -> None:
        """Takes the state of a `numpy.ndarray`: (version, shape, type, whether columns come first, bytes)."""
        if not isinstance(state, tuple) or len(state) not in (4, 5):
            raise ValueError("it holds an array whose state is not one of numpy's")
        shape, dtype, is_fortran, data = state[-4:]
        if isinstance(data, str):  # Python 2 wrote bytes as text.
            data = encode(budget, data, "latin1")
        self.value = _array(data, dtype, shape, "F" if is_fortran is True or is_fortran == 1 else "C")

    def array(self) -> np.ndarray:
        """Returns the values; raises ValueError if there are none."""
        if self.value is None:
            raise ValueError("it holds an array without values")
        return self.value


@dataclasses.dataclass(frozen=True)
class Name:
    """A class or function that a pickle asked for; `call` makes the stand-in of what it would return."""

    text: str
    call: Callable[..., Any] | None = None
    dtype: np.dtype | None = None


def _sizes(values: Any) -> tuple[int, ...]:
    """Returns a shape, offset or strides as integers; raises ValueError for anything else."""
    if type(values) not in (tuple, list) or len(values) > _MAX_DIMENSIONS:
        raise ValueError("it holds an array whose shape is not a list of at most 32 integers")
    if any(type(value) is not int or abs(value) > _LIMIT for value in values):
        raise ValueError("it holds an array whose shape is not a list of integers")
    return tuple(values)


def _array(data: Any, dtype: Any, shape: Any, order: str) -> np.ndarray:
    sizes = _sizes(shape)
    if not isinstance(dtype, NumpyType):
        raise ValueError("it holds an array whose type is not numeric")
    if not isinstance(data, bytes | bytearray):
        raise ValueError("it holds an array of Python objects")
    if min(sizes, default=0) < 0 or math.prod(sizes) * dtype.dtype.itemsize != len(data):
        raise ValueError(f"an array of shape {sizes} and type {dtype.dtype} has {len(data)} bytes")
    return np.frombuffer(bytes(data), dtype.dtype).reshape(sizes, order="F" if order == "F" else "C")


def typed_storage(identity: object, storages: dict[str, Storage]) -> TypedStorage:
    """Returns the storage that PyTorch's pickles refer to as ("storage", type, key, device, number of elements, ...).

    Args:
      identity: what the pickle says.
      storages: storages by key; a new one is added.

    Raises:
      pickle.UnpicklingError: it refers to something else.
    """
    if type(identity) is not tuple or not 5 <= len(identity) <= 6 or identity[0] != "storage" or any(identity[5:]):
        raise pickle.UnpicklingError("it refers to something that is not a numeric storage")
    _, name, key, _, numel = identity[:5]
    dtype = name.dtype if isinstance(name, Name) else None
    if dtype is None or type(key) not in (str, int) or type(numel) is not int or not 0 <= numel <= _LIMIT:
        raise pickle.UnpicklingError("it refers to a storage without a known type and size")
    storage = storages.setdefault(str(key), Storage(numel, dtype.itemsize))
    if storage.num_bytes != numel * dtype.itemsize:
        raise ValueError("one of its storages has two different sizes")
    return TypedStorage(storage, dtype, numel)


def _rebuild_tensor(_: Budget, storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any) -> View:
    del rest  # Whether the tensor requires a gradient, and its hooks.
    if not isinstance(storage, TypedStorage):
        raise pickle.UnpicklingError("it holds a tensor without a storage")
    return View(storage, _sizes((offset,))[0], _sizes(shape), _sizes(strides))


def _rebuild_parameter(_: Budget, data: Any, *rest: Any) -> View:
    del rest
    if not isinstance(data, View):
        raise pickle.UnpicklingError("it holds a parameter that is not a tensor")
    return data


def _first(_: Budget, value: object = None, *rest: Any) -> Any:
    """Stands for classes around one plain value: `torch.Size`, `torch.device`."""
    del rest
    return value


def _dictionary(budget: Budget, entries: Any = (), *rest: Any) -> dict:
    del rest
    if isinstance(entries, dict):
        entries = list(entries.items())
    if type(entries) not in (list, tuple):
        return {}
    budget.take(_ENTRY_BYTES * len(entries))
    found: dict = {}
    for entry in entries:
        if type(entry) not in (list, tuple) or len(entry) != 2:
            raise ValueError("it holds a dictionary whose entries are not pairs")
        found[dictionary_key(entry[0])] = entry[1]
    return found


def dictionary_key(key: object) -> str:
    """Returns a key as text.

    Only plain keys are taken: the hash of tuples that hold one another takes a time that doubles with every level.
    """
    if type(key) not in (str, int, float, bool, type(None)):
        raise ValueError("it holds a dictionary whose keys are neither text nor numbers")
    return str(key)


def _numpy_type(_: Budget, code: Any, *rest: Any) -> NumpyType:
    del rest
    if type(code) is not str or not _NUMPY_TYPE.fullmatch(code):
        raise ValueError(f"it holds an array of the type {str(code)[:20] if type(code) is str else type(code).__name__!r}")
    return NumpyType(np.dtype(code))


def _reconstruct(_: Budget, *rest: Any) -> Array:
    del rest  # The class, an empty shape and a type, all of which the state replaces.
    return Array()


def _from_buffer(_: Budget, data: Any, dtype: Any, shape: Any, order: Any = "C") -> Array:
    """Stands for what arrays are made with in protocol 5."""
    return Array(_array(data, dtype, shape, order if order == "F" else "C"))


def _scalar(_: Budget, dtype: Any, data: Any = b"") -> Any:
    data = data.encode("latin1") if isinstance(data, str) and len(data) <= 8 else data
    return _array(data, dtype, (), "C")[()]


def encode(budget: Budget, text: object, encoding: object = "latin1", *rest: Any) -> bytes:
    """Stands for `_codecs.encode`, by which Python 2 and 3 agree on an array's bytes."""
    del rest
    if type(text) is not str or encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError("it encodes text with an encoding that arrays do not use")
    budget.take(len(text))
    return text.encode("latin1")


_CALLS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _dictionary,
    "collections.Counter": _dictionary,  # Part of the state of PyTorch's learning rate schedules.
    "torch.Size": _first,
    "torch.device": _first,
    "torch._utils._rebuild_tensor": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
    "torch._utils._rebuild_parameter_with_state": _rebuild_parameter,
    "numpy.dtype": _numpy_type,
    "_codecs.encode": encode,
    # numpy 2 moved it; files of either are read with either.
    **{f"numpy.{core}.multiarray._reconstruct": _reconstruct for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": _from_buffer for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": _scalar for core in ("core", "_core")},
}


def find_name(module: Any, name: Any) -> Name:
    """Returns the stand-in of a class or function.

    Raises:
      pickle.UnpicklingError: it is none of those that tensors and arrays need, which names it.
    """
    text = f"{module}.{name}" if type(module) is str and type(name) is str else "name that is not text"
    if text in _CALLS:
        return Name(text, call=_CALLS[text])
    if text == "numpy.ndarray":
        return Name(text)  # An argument of `_reconstruct`, and never called.
    if module == "torch" and name in _STORAGES:
        return Name(text, dtype=_STORAGES[name])
    raise pickle.UnpicklingError(
        f"it holds a `{printable(text)}`, but only tensors are read; save only the tensors: torch.save(model.state_dict(), FILE)"
    )
