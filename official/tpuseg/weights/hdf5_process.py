"""Reads the arrays of an HDF5 file that Keras wrote; a process of its own, because the HDF5 library hangs on some damaged files.

HDF5 can refer to other files (external links, external storage, virtual datasets), and those would be read as weights whatever they
hold. Keras writes none of these, and no link but hard ones, so only what is stored in the file itself is read. This file must
import nothing of this package, as that would bring TensorFlow, whose import takes seconds.

python hdf5_process.py FILE RESULT: an HDF5 file; the .npz file to write. What is wrong with FILE is printed, with exit code 1.
"""

import json
import math
import os
import sys
from typing import Any

# Python puts this file's folder first, where `safetensors` or `torchvision` would hide other packages of these names.
sys.path[:] = [path for path in sys.path if path != os.path.dirname(os.path.abspath(__file__))]

import h5py  # noqa: E402
import numpy as np  # noqa: E402

_MAX_NAMES = 100_000
# Compressed files are longer when they are read; a small file that asks for much more is made to exhaust memory.
_MAX_EXPANSION = 16
# What h5py raises for damaged files.
_BROKEN = (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, ArithmeticError, NotImplementedError)


def main() -> int:
    """Reads the file that the first argument names into the one that the second names."""
    path, result = sys.argv[1:]
    _limit_memory(os.path.getsize(path))
    try:
        with h5py.File(path, "r") as file:
            weights = Reader(os.path.getsize(path)).read(file)
        with open(result, "wb") as target:
            # Names of arrays are not valid file names, so they are written separately.
            names = np.frombuffer(json.dumps(list(weights)).encode(), np.uint8)
            np.savez(target, names, *weights.values())
    except (*_BROKEN, MemoryError) as error:
        print(ascii(" ".join(str(error).split())[:300] or type(error).__name__)[1:-1])
        return 1
    return 0


def _limit_memory(file_size: int) -> None:
    try:
        import resource
    except ImportError:  # Not on Windows.
        return
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    wanted = 2 * _MAX_EXPANSION * file_size + 4 * 2**30
    resource.setrlimit(resource.RLIMIT_AS, (wanted if most == resource.RLIM_INFINITY else min(wanted, most), most))


class Reader:
    """Reads one file, and counts what it has read."""

    def __init__(self, file_size: int) -> None:
        self._file_size = file_size
        self._left = _MAX_EXPANSION * file_size + 2**20

    def read(self, file: h5py.File) -> dict[str, np.ndarray]:
        """Returns each layer's weights as `layer/kernel`.

        Raises:
          ValueError: the file lacks what Keras writes, or refers to data outside itself. Damaged files raise other errors too.
        """
        root = _child(file, "model_weights") if "model_weights" in file else file
        if "layer_names" not in root.attrs:
            raise ValueError("it has no attribute `layer_names`, which Keras' weights files have")
        weights = {}
        for layer in self._names(root, "layer_names"):
            group = _child(root, layer)
            for weight in self._names(group, "weight_names"):
                dataset: Any = group
                for part in weight.split("/"):
                    dataset = _child(dataset, part)
                weights[f"{layer}/{_last_part(weight)}"] = self._values(dataset, weight)
        return weights

    def _names(self, group: Any, attribute: str) -> list[str]:
        """Returns the names that an attribute lists."""
        if not isinstance(group, h5py.Group) or attribute not in group.attrs:
            raise ValueError(f"it has a layer without the attribute `{attribute}`")
        identity = group.attrs.get_id(attribute)
        if math.prod(identity.shape or ()) > _MAX_NAMES:
            raise ValueError(f"its attribute `{attribute}` has more than {_MAX_NAMES} names")
        self._take(math.prod(identity.shape or ()) * identity.dtype.itemsize)
        values = np.asarray(group.attrs[attribute]).reshape(-1).tolist()
        return [value.decode() if isinstance(value, bytes) else str(value) for value in values]

    def _values(self, dataset: Any, name: str) -> np.ndarray:
        shown = ascii(name[:80])
        if not isinstance(dataset, h5py.Dataset):
            raise ValueError(f"{shown} is not an array")
        if dataset.is_virtual or dataset.external:
            raise ValueError(f"{shown} stores its values in another file")
        if dataset.dtype.kind not in "fiub" or dataset.shape is None:
            raise ValueError(f"{shown} holds {dataset.dtype}, not numbers")
        num_bytes = math.prod(dataset.shape) * dataset.dtype.itemsize
        self._take(num_bytes)
        if dataset.id.get_storage_size() < num_bytes and dataset.id.get_create_plist().get_nfilters() == 0:
            raise ValueError(f"{shown} has the shape {dataset.shape}, but fewer values")
        return np.asarray(dataset[()])

    def _take(self, num_bytes: int) -> None:
        self._left -= num_bytes
        if self._left < 0:
            raise ValueError(
                f"its {self._file_size} bytes would take more than {_MAX_EXPANSION} times as much memory; no file of weights does"
            )


def _last_part(name: str) -> str:
    """Returns `kernel` for `block_1/kernel:0`."""
    return name.rpartition("/")[2].partition(":")[0]


def _child(group: Any, name: str) -> Any:
    """Returns what a group holds under a name; raises ValueError if it only refers to it."""
    shown = ascii(name[:80])
    if not isinstance(group, h5py.Group):
        raise ValueError(f"it has no entry {shown}")
    link = group.get(name, getlink=True)
    if isinstance(link, h5py.ExternalLink):
        raise ValueError(f"{shown} is a link to another file")
    if not isinstance(link, h5py.HardLink):
        raise ValueError(f"{shown} is a link to another place, which Keras does not write")
    return group[name]


if __name__ == "__main__":
    sys.exit(main())
