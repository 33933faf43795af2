"""Writes files as PyTorch does, without PyTorch, and with whatever mistakes a test wants in them."""

import dataclasses
import io
import struct
import zipfile
from typing import Any

import numpy as np

_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_STORAGES = {"float32": "FloatStorage", "float64": "DoubleStorage", "float16": "HalfStorage", "int64": "LongStorage"}


@dataclasses.dataclass
class Tensor:
    """A tensor as a pickle has it; by default what it says about an array is true."""

    array: np.ndarray
    shape: Any = None
    strides: Any = None
    offset: Any = 0
    numel: Any = None
    storage: str = ""


def network(names: dict[str, tuple[int, ...]], seed: int = 0) -> dict[str, np.ndarray]:
    """Returns positive arrays of the given shapes."""
    rng = np.random.default_rng(seed)
    return {name: rng.uniform(0.5, 1.5, shape).astype(np.float32) for name, shape in names.items()}


def resnet50_shapes() -> dict[str, tuple[int, ...]]:
    """Returns the names of torchvision's ResNet-50 with shapes that are as small as the reader takes them."""
    shapes: dict[str, tuple[int, ...]] = {}

    def add(conv: str, norm: str, shape: tuple[int, ...]) -> None:
        shapes[f"{conv}.weight"] = shape
        shapes.update({f"{norm}.{part}": shape[:1] for part in ("weight", "bias", "running_mean", "running_var")})

    add("conv1", "bn1", (2, 3, 1, 1))
    for stage, count in enumerate((3, 4, 6, 3), start=1):
        for block in range(count):
            name = f"layer{stage}.{block}"
            add(f"{name}.conv1", f"{name}.bn1", (2, 2, 1, 1))
            add(f"{name}.conv2", f"{name}.bn2", (64, 64, 1, 1) if stage == 1 and block == 0 else (2, 2, 1, 1))
            add(f"{name}.conv3", f"{name}.bn3", (2, 2, 1, 1))
            if block == 0:
                add(f"{name}.downsample.0", f"{name}.downsample.1", (2, 2, 1, 1))
    return shapes


class Writer:
    """Writes the instructions of pickles, protocol 2."""

    def __init__(self) -> None:
        self.storages: dict[str, bytes] = {}
        self.sizes: dict[str, int] = {}

    def pickle(self, tree: Any) -> bytes:
        """Returns a whole pickle."""
        return b"\x80\x02" + self.value(tree) + b"."

    def value(self, value: Any) -> bytes:
        """Returns the instructions that make a value; bytes are taken for instructions."""
        if isinstance(value, bytes):
            return value
        if value is None or isinstance(value, bool):
            return {None: b"N", True: b"\x88", False: b"\x89"}[value]
        if isinstance(value, int):
            content = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
            return b"\x8a" + bytes([len(content)]) + content
        if isinstance(value, float):
            return b"G" + struct.pack(">d", value)
        if isinstance(value, str):
            content = value.encode("utf-8", "surrogatepass")
            return b"X" + struct.pack("<I", len(content)) + content
        if isinstance(value, tuple | list):
            return b"(" + b"".join(map(self.value, value)) + (b"t" if isinstance(value, tuple) else b"l")
        if isinstance(value, dict):
            return b"}(" + b"".join(self.value(key) + self.value(item) for key, item in value.items()) + b"u"
        return self._tensor(Tensor(value) if isinstance(value, np.ndarray) else value)

    def _tensor(self, tensor: Tensor) -> bytes:
        array = np.ascontiguousarray(tensor.array)
        key = str(len(self.storages))
        numel = array.size if tensor.numel is None else tensor.numel
        self.storages[key], self.sizes[key] = array.tobytes(), array.size
        name = tensor.storage or _STORAGES[str(array.dtype)]
        storage = b"".join(map(self.value, ("storage", global_("torch", name), key, "cpu", numel)))
        shape = array.shape if tensor.shape is None else tensor.shape
        strides = tuple(step // array.itemsize for step in array.strides) if tensor.strides is None else tensor.strides
        rest = b"".join(self.value(part) for part in (tensor.offset, shape, strides, False, None))
        return global_("torch._utils", "_rebuild_tensor_v2") + b"((" + storage + b"tQ" + rest + b"tR"


def global_(module: str, name: str) -> bytes:
    """Returns the instruction that asks for a class or function."""
    return f"c{module}\n{name}\n".encode()


def zip_file(tree: Any, compression: int = zipfile.ZIP_STORED, writer: Writer | None = None) -> bytes:
    """Returns a file of `torch.save` since PyTorch 1.6."""
    writer = writer or Writer()
    pickled, target = writer.pickle(tree), io.BytesIO()
    with zipfile.ZipFile(target, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/byteorder", "little")
        for key, content in writer.storages.items():
            archive.writestr(f"archive/data/{key}", content)
    return target.getvalue()


def legacy_file(tree: Any) -> bytes:
    """Returns a file of `torch.save` before PyTorch 1.6."""
    writer = Writer()
    pickled = writer.pickle(tree)
    parts = [writer.pickle(value) for value in (_MAGIC, _PROTOCOL, {"little_endian": True})]
    parts += [pickled, writer.pickle(list(writer.storages))]
    parts += [struct.pack("<Q", writer.sizes[key]) + content for key, content in writer.storages.items()]
    return b"".join(parts)
