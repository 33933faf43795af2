"""Reader of the safetensors format (https://github.com/huggingface/safetensors), by the format's own package."""

from typing import Any

import numpy as np
import safetensors
import tensorflow as tf

from tpuseg.weights.external import printable

_DTYPES: dict[str, np.dtype] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(tf.bfloat16.as_numpy_dtype),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U64": np.dtype("<u8"),
    "U32": np.dtype("<u4"),
    "U16": np.dtype("<u2"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}


def load(path: str) -> dict[str, np.ndarray]:
    """Returns the tensors of a file by their names.

    The package checks that the tensors lie in the file one after another, without overlaps, gaps or bytes behind the last one.

    Raises:
      ValueError: the file is damaged, or has an unsupported data type.
    """
    with tf.io.gfile.GFile(path, "rb") as source:
        content = source.read()
    try:
        return {name: _tensor(name, entry) for name, entry in safetensors.deserialize(content)}
    except (safetensors.SafetensorError, ValueError, OverflowError) as error:
        said = " ".join(str(error).split())[:300]
        raise ValueError(f"{path} is damaged, truncated, or not a safetensors file: {said}") from error


def _tensor(name: str, entry: dict[str, Any]) -> np.ndarray:
    if entry["dtype"] not in _DTYPES:
        raise ValueError(f"tensor `{printable(name)}` is of the type {entry['dtype']}; supported are {', '.join(_DTYPES)}")
    return np.frombuffer(entry["data"], _DTYPES[entry["dtype"]]).reshape(entry["shape"])
