"""Reader of the safetensors format: a length, a JSON header, and the tensors' bytes."""

import json
import math

import numpy as np
import tensorflow as tf

_DTYPES: dict[str, np.dtype] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(tf.bfloat16.as_numpy_dtype),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}


def load(path: str) -> dict[str, np.ndarray]:
    """Returns the tensors of a file by their names.

    Raises:
      ValueError: the file is broken, or has a type of number that is not known.
    """
    with tf.io.gfile.GFile(path, "rb") as source:
        content = source.read()
    try:
        length = int.from_bytes(content[:8], "little")
        header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
        header.pop("__metadata__", None)
        return {name: _tensor(entry, data) for name, entry in header.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is no whole safetensors file: {error or type(error).__name__}") from error


def _tensor(entry: dict, data: bytes) -> np.ndarray:
    dtype, (start, end) = _DTYPES[entry["dtype"]], entry["data_offsets"]
    if not 0 <= start <= end <= len(data):
        raise ValueError(f"a tensor lies at {start} to {end} of {len(data)} bytes")
    shape = entry["shape"]
    if math.prod(shape) * dtype.itemsize != end - start:
        raise ValueError(f"a tensor of shape {shape} has {end - start} bytes")
    return np.frombuffer(data[start:end], dtype).reshape(shape)
