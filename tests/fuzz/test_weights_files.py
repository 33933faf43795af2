"""Damaged and crafted weights files: each ends as tensors or as one error that names it.

What may crash, hang or take all memory runs in a forked process with limits.
"""

import json
import os
import pathlib
import struct

import h5py
import numpy as np
import torch_files
from child import outcome
from hypothesis import given
from hypothesis import strategies as st
from outcomes import result_or_error
from torch_files import Tensor, Writer, global_

from tpuseg import weights
from tpuseg.weights import hdf5_process, pytorch, safe_pickle, safetensors, torchvision
from tpuseg.weights.external import Tensors

GOLDEN = pathlib.Path(__file__).parent.parent / "golden"
NAMES = ("tensors.pth", "tensors_legacy.pth", "tensors.safetensors", "with_arguments.pth")
FORMS = {name: (GOLDEN / name).read_bytes() for name in NAMES}
W = Writer()


@st.composite
def _damaged(draw, content):
    """A file that is cut, or has some bytes changed, removed or repeated."""
    content = bytearray(content)
    for _ in range(draw(st.integers(1, 8))):
        place = draw(st.integers(0, max(len(content) - 1, 0)))
        kind = draw(st.sampled_from(["change", "change", "flip", "cut", "remove", "repeat"]))
        if kind == "cut":
            content = content[:place]
        elif kind == "remove":
            del content[place : place + draw(st.integers(1, 20))]
        elif kind == "repeat":
            content[place:place] = content[place : place + draw(st.integers(1, 60))]
        elif content:
            content[place] = draw(st.integers(0, 255)) if kind == "change" else content[place] ^ (1 << draw(st.integers(0, 7)))
    return bytes(content)


def _path(folder, name, content):
    path = folder / name
    path.write_bytes(content)
    return str(path)


def _outcome(call, name):
    """In a process with limits where cases are random; the fixed ones of the default run are known to need none."""
    if os.environ.get("TPUSEG_FUZZ_EXAMPLES"):
        return outcome(call, megabytes=300)
    return result_or_error(call, name)[1] or "result"


def _is_one_line_about(said, name):
    return said == "result" or (name in said and len(said.splitlines()) == 1 and len(said) < 1000 and not said.startswith("trace"))


@given(st.sampled_from(sorted(FORMS)).flatmap(lambda name: st.tuples(st.just(name), _damaged(FORMS[name]))))
def test_damaged_files(tmp_path_factory, case):
    name, content = case
    path = _path(tmp_path_factory.getbasetemp(), name, content)
    result_or_error(lambda: pytorch.read(path), name)


_SIZES = st.one_of(st.integers(-1, 4), st.sampled_from([2**31, 2**40, 2**62, 2**63, 2**70, -(2**40)]))
_ODD = st.one_of(st.none(), st.text(max_size=3), st.floats(), st.booleans(), _SIZES)
_TENSORS = st.builds(
    Tensor,
    st.integers(0, 4).map(lambda size: np.ones((size, 2), np.float32)),
    shape=st.one_of(st.none(), st.lists(_SIZES, max_size=4).map(tuple), _ODD),
    strides=st.one_of(st.none(), st.lists(_SIZES, max_size=4).map(tuple), _ODD),
    offset=st.one_of(st.just(0), _SIZES, _ODD),
    numel=st.one_of(st.none(), _SIZES, _ODD),
    storage=st.sampled_from(["", "", "FloatStorage", "LongStorage", "BFloat16Storage", "QInt8Storage"]),
)
_KNOWN = st.sampled_from(["model", "state_dict", "weight", "conv1.weight", "layer1.0.conv1.weight"])
_KEYS = st.one_of(_KNOWN, st.text(max_size=4), _ODD)
_TREES = st.recursive(
    st.one_of(_TENSORS, _ODD),
    lambda below: st.one_of(st.lists(below, max_size=3), st.dictionaries(_KEYS, below, max_size=4)),
    max_leaves=8,
)


@given(_TREES, st.sampled_from([torch_files.zip_file, torch_files.legacy_file]))
def test_crafted_tensors(tmp_path_factory, tree, write):
    path = _path(tmp_path_factory.getbasetemp(), "crafted.pth", write(tree))
    said = _outcome(lambda: [tensors.take(name) for tensors in [pytorch.read(path)] for name in tensors.names()], "crafted.pth")
    assert _is_one_line_about(said, "crafted.pth"), said


_CODES = b"().0123NRbdelnopqrstuaQ]}\x81\x85\x86\x87\x88\x89\x8f\x90\x91\x93\x94\x97\x98"
_MODULES = ["numpy", "torch", "torch._utils", "numpy.core.multiarray", "_codecs", "collections", "builtins"]
_FUNCTIONS = ["dtype", "ndarray", "FloatStorage", "_rebuild_tensor_v2", "_reconstruct", "scalar", "encode", "OrderedDict", "eval"]
_VALUES = ["storage", "f8", "O8", "latin1", (0,), (1,), (3, "<", None, None, None, -1, -1, 0)]
_INSTRUCTIONS = st.one_of(
    st.sampled_from([bytes([code]) for code in _CODES]),
    st.builds(lambda code, index: code + bytes([index]), st.sampled_from([b"h", b"q", b"K", b"\x82"]), st.integers(0, 4)),
    st.builds(lambda code, index: code + struct.pack("<I", index), st.sampled_from([b"j", b"r", b"J"]), st.integers(0, 2**32 - 1)),
    st.builds(global_, st.sampled_from(_MODULES), st.sampled_from(_FUNCTIONS)),
    st.one_of(_ODD, st.sampled_from(_VALUES)).map(W.value),
    st.binary(max_size=8).map(lambda content: b"C" + bytes([len(content)]) + content),
    st.binary(max_size=3),
)


@given(st.lists(_INSTRUCTIONS, max_size=40))
def test_random_instructions(tmp_path_factory, instructions):
    path = _path(tmp_path_factory.getbasetemp(), "program.pkl", b"".join(instructions) + b".")
    said = _outcome(lambda: safe_pickle.load(path), "program.pkl")
    assert _is_one_line_about(said, "program.pkl"), said


@given(
    st.dictionaries(
        st.text(max_size=4),
        st.fixed_dictionaries(
            {
                "dtype": st.sampled_from(["F32", "F32", "BF16", "F4", "F8_E4M3", "BOOL", "X"]),
                "shape": st.one_of(st.lists(_SIZES, max_size=3), _ODD),
                "data_offsets": st.one_of(st.tuples(_SIZES, _SIZES), _ODD),
            }
        ),
        max_size=3,
    ),
    st.integers(0, 40),
)
def test_crafted_safetensors(tmp_path_factory, header, size):
    header = json.dumps(header).encode()
    path = _path(tmp_path_factory.getbasetemp(), "crafted.safetensors", struct.pack("<Q", len(header)) + header + bytes(size))
    assert _is_one_line_about(_outcome(lambda: safetensors.load(path), "crafted.safetensors"), "crafted.safetensors")


NETWORK = torch_files.network(torch_files.resnet50_shapes())


@given(st.sampled_from(sorted(NETWORK)), st.lists(st.integers(0, 3), max_size=5), st.sampled_from(["", "model.", "backbone."]))
def test_networks_with_a_tensor_of_another_shape(name, shape, prefix):
    tensors = {f"{prefix}{key}": value for key, value in {**NETWORK, name: np.ones(shape, np.float32)}.items()}

    path = str(GOLDEN / "tensors.pth")  # The translation reads a file's hash.

    def read():
        with weights._errors_that_name(path):
            return torchvision.translate(Tensors(path, pytorch._without_prefix(path, tensors))).layer_values(1e-3)

    result_or_error(read, path)


def _keras_content(folder):
    path = folder / "whole.h5"
    if not path.exists():
        with h5py.File(path, "w") as file:
            file.attrs["layer_names"] = [b"conv", b"norm"]
            for layer, shapes in {"conv": {"kernel": (3, 3, 3, 4)}, "norm": {"gamma": (4,), "beta": (4,)}}.items():
                group = file.create_group(layer)
                group.attrs["weight_names"] = [f"{layer}/{name}:0".encode() for name in shapes]
                for name, shape in shapes.items():
                    group.create_dataset(f"{layer}/{name}:0", data=np.ones(shape, np.float32))
    return path.read_bytes()


@given(st.data())
def test_damaged_hdf5(tmp_path_factory, data):
    """What the process of its own does; that it is stopped and its end is told has tests in `tests/weights`."""
    folder = tmp_path_factory.getbasetemp()
    path = _path(folder, "damaged.h5", data.draw(_damaged(_keras_content(folder))))

    def read():
        try:
            with h5py.File(path) as file:
                hdf5_process.Reader(pathlib.Path(path).stat().st_size).read(file)
        except (*hdf5_process._BROKEN, MemoryError) as error:
            raise ValueError("damaged.h5") from error

    said = outcome(read, seconds=3, megabytes=4096)
    assert said in ("result", "damaged.h5") or said.startswith("signal"), said
