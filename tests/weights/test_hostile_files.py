"""Weights files made to crash the program, to exhaust memory or time, or to read other files: each is one error that names it."""

import pathlib
import pickle
import struct
import zipfile
from importlib import util

import h5py
import numpy as np
import pytest
import torch_files
from child import outcome
from torch_files import Tensor, Writer, global_

from tpuseg.weights import hdf5, hdf5_process, pickle_values, pytorch, safe_pickle

GOLDEN = pathlib.Path(__file__).parent.parent / "golden"
W = Writer()
ONE = np.ones(1, np.float32)


def _array(dtype, data, shape=(1,), state=None):
    """The instructions for a numpy array; `dtype` is the code that a `numpy.dtype` is made with."""
    made = global_("numpy", "dtype") + W.value((dtype, False, True)) + b"R"
    if state is not None:
        made += W.value(state) + b"b"
    begin = global_("numpy.core.multiarray", "_reconstruct") + b"(" + global_("numpy", "ndarray") + W.value((0,)) + b"C\x01btR"
    return begin + b"(" + W.value(1) + W.value(shape) + made + b"\x89B" + struct.pack("<I", len(data)) + data + b"tb"


def _nested(levels, one, two):
    """Values that hold the one before twice: 2^levels paths through a small file."""
    content = one + b"q\x00"
    for level in range(levels):
        content += two(b"h" + bytes([level])) + b"q" + bytes([level + 1])
    return content


def _dictionaries_in_dictionaries(levels):
    return _nested(levels, W.value({"weight": 1}), lambda value: b"}(" + W.value("a") + value + W.value("b") + value + b"u")


HOSTILE_PICKLES = {
    "an array of objects from bytes": _array("O8", b"AAAAAAAA"),
    "objects by the state of a type": _array("f8", b"AAAAAAAA", state=(3, "|", None, ("a",), {"a": ("O", 0)}, 8, 1, 63)),
    "a shape of more bytes than there are": _array("f8", b"AAAAAAAA", (2**40,)),
    "a negative shape": _array("f8", b"AAAAAAAA", (-1,)),
    "an uninitialised array": global_("numpy", "ndarray") + W.value(((2**40,),)) + b"R",
    "a state for a type of the reader": global_("torch", "FloatStorage") + W.value((3, ">", None, None, None, -1, -1, 0)) + b"b",
    "a state for a function": global_("torch._utils", "_rebuild_tensor_v2") + W.value({"__code__": 1}) + b"b",
    "nested tuples as a key": b"}" + _nested(60, W.value((1, 2)), lambda value: b"(" + value + value + b"t") + b"Ns",
    "text encoded many times": b"](" + W.value("x" * 100_000) + b"q\x00"
    + (global_("_codecs", "encode") + b"(h\x00" + W.value("latin1") + b"tR") * 20_000 + b"e",
    "pairs made to dictionaries many times": W.value([("a", 1)] * 10_000) + b"q\x00"
    + (global_("collections", "OrderedDict") + b"(h\x00tR0") * 5_000,
    "more instructions than any file needs": b"]" * 500_001,
    "bytes that are not there": b"\x8e" + struct.pack("<Q", 2**62),
    "an instruction of another kind": b"\x82\x01",
    "a call of what is no function": W.value(1) + W.value(()) + b"R",
}
HOSTILE_TREES = {
    "no stride and a huge shape": {"weight": Tensor(ONE, shape=(2**40,), strides=(0,))},
    "a stride beyond 64 bits": {"weight": Tensor(ONE, shape=(1,), strides=(2**62,))},
    "more dimensions than numpy has": {"weight": Tensor(ONE, shape=(1,) * 99, strides=(1,) * 99)},
    "a shape of text": {"weight": Tensor(ONE, shape=("a",), strides=(1,))},
    "a storage of a negative size": {"weight": Tensor(ONE, numel=-1)},
    "a storage larger than its bytes": {"weight": Tensor(ONE, numel=2**40, shape=(2**40,), strides=(1,))},
    "a name of two lines": {"weight\nerror: all is well": Tensor(ONE)},
    "a name that no terminal shows": {"\ud800weight": Tensor(ONE)},
    "values that are not finite": {"weight": np.array([np.nan], np.float32)},
    "no tensor": {"epoch": 3, "arguments": {"lr": 0.1}},
}


@pytest.mark.parametrize("name", HOSTILE_PICKLES)
def test_hostile_pickles(name, tmp_path):
    path = tmp_path / "hostile.pkl"
    path.write_bytes(b"\x80\x02" + HOSTILE_PICKLES[name] + b".")
    said = outcome(lambda: safe_pickle.load(str(path)))
    assert "hostile.pkl is" in said and len(said.splitlines()) == 1 and len(said) < 600, said


@pytest.mark.parametrize("name", HOSTILE_TREES)
@pytest.mark.parametrize("write", [torch_files.zip_file, torch_files.legacy_file])
def test_hostile_tensors(name, write, tmp_path):
    path = tmp_path / "hostile.pth"
    path.write_bytes(write(HOSTILE_TREES[name]))
    said = outcome(lambda: pytorch.read(str(path)).take("weight"))
    assert "hostile.pth" in said and len(said.splitlines()) == 1 and len(said) < 600, said
    assert not said.startswith("traceback")


def test_what_only_looks_hostile_is_read(tmp_path):
    """Shared dictionaries, one in itself, a high number in the memo, an expanded scalar."""
    path = tmp_path / "odd.pkl"
    path.write_bytes(b"\x80\x02" + _dictionaries_in_dictionaries(40) + b".")
    assert outcome(lambda: safe_pickle.load(str(path))) == "result"
    path.write_bytes(b"\x80\x02}q\x00" + W.value("self") + b"h\x00s.")
    found = safe_pickle.load(str(path))
    assert found["self"] is found
    path.write_bytes(b"\x80\x02" + W.value(5) + b"r\xff\xff\xff\x7f0j\xff\xff\xff\x7f.")
    assert safe_pickle.load(str(path)) == 5
    path.write_bytes(torch_files.zip_file({"weight": Tensor(ONE, shape=(3, 2), strides=(0, 0))}))
    np.testing.assert_array_equal(pytorch.read(str(path)).take("weight"), np.ones((3, 2)))


def test_one_storage_is_not_read_as_two_types(tmp_path):
    writer = Writer()
    small = writer.value(Tensor(np.ones(2, np.float32)))
    other = small.replace(b"FloatStorage", b"LongStorage")
    path = tmp_path / "two.pth"
    path.write_bytes(torch_files.zip_file(b"}(" + writer.value("a") + small + writer.value("b") + other + b"u", writer=writer))
    with pytest.raises(ValueError, match="one of its storages has two different sizes"):
        safe_pickle.load(str(path))


def test_dictionaries_nested_too_deep(tmp_path):
    path = tmp_path / "deep.pkl"
    path.write_bytes(b"\x80\x02" + (b"}" + W.value("a")) * 100_000 + b"N" + b"s" * 100_000 + b".")
    said = outcome(lambda: safe_pickle.load(str(path)))
    assert "deep.pkl is damaged or not a file of weights: its dictionaries are nested" in said


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_bomb(compression, tmp_path):
    path = tmp_path / "bomb.pth"
    path.write_bytes(torch_files.zip_file({"weight": np.zeros(10_000_000, np.float32)}, compression))
    said = outcome(lambda: safe_pickle.load(str(path)), megabytes=30)
    assert "bomb.pth is damaged" in said and ("8 times as much memory" in said or "compressed in a way" in said)


def test_a_compressed_file_is_read(tmp_path):
    path = tmp_path / "deflated.pth"
    values = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    path.write_bytes(torch_files.zip_file({"weight": values}, zipfile.ZIP_DEFLATED))
    np.testing.assert_array_equal(pytorch.read(str(path)).take("weight"), values)


def test_many_tensors_of_one_storage(tmp_path):
    writer = Writer()
    one = writer.value(Tensor(np.ones(250_000, np.float32)))
    tree = b"}(" + b"".join(writer.value(f"weight{number}") + one for number in range(2000)) + b"u"
    path = tmp_path / "many.pth"
    path.write_bytes(torch_files.zip_file(tree, writer=writer))
    assert "8 times as much memory" in outcome(lambda: safe_pickle.load(str(path)))


def test_a_refused_file_changes_nothing(tmp_path):
    before = {name: dtype.str for name, dtype in pickle_values._STORAGES.items()}
    path = tmp_path / "hostile.pkl"
    for content in HOSTILE_PICKLES.values():
        if len(content) < 10_000:
            path.write_bytes(b"\x80\x02" + content + b".")
            with pytest.raises(ValueError):
                safe_pickle.load(str(path))
    assert {name: dtype.str for name, dtype in pickle_values._STORAGES.items()} == before
    np.testing.assert_array_equal(pytorch.read(str(GOLDEN / "tensors.pth")).take("plain").reshape(-1), np.arange(24))


def test_big_endian_arrays_are_read_as_they_are(tmp_path):
    path = tmp_path / "big.pkl"
    path.write_bytes(pickle.dumps({"weight": np.arange(6, dtype=">f8").reshape(2, 3), "fortran": np.asfortranarray(np.eye(3, 2))}))
    found = safe_pickle.load(str(path))
    np.testing.assert_array_equal(found["weight"], np.arange(6).reshape(2, 3))
    np.testing.assert_array_equal(found["fortran"], np.eye(3, 2))


def _keras_file(path, fill=None, names=("conv/kernel:0",)):
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"conv"]
        group = file.create_group("conv")
        group.attrs["weight_names"] = [name.encode() for name in names]
        (fill or (lambda group, file: group.create_dataset("conv/kernel:0", data=np.ones((1, 1, 2, 3)))))(group, file)


def _external_link(group, file):
    group["conv/kernel:0"] = h5py.ExternalLink("secret.h5", "/values")


def _external_group(group, file):
    group["conv"] = h5py.ExternalLink("secret.h5", "/")


def _external_storage(group, file):
    group.create_dataset("conv/kernel:0", (2,), "f4", external=[("secret.raw", 0, 8)])


def _virtual(group, file):
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("secret.h5", "values", (4,))
    group.create_virtual_dataset("conv/kernel:0", layout)


def _soft_loop(group, file):
    group["conv"] = h5py.SoftLink("/conv/conv")


def _huge(group, file):
    group.create_dataset("conv/kernel:0", (2**20, 2**20), "f4", chunks=(16, 16))


def _compressed(group, file):
    group.create_dataset("conv/kernel:0", data=np.zeros((4000, 4000), "f4"), chunks=(1000, 1000), compression="gzip")


def _text(group, file):
    group.create_dataset("conv/kernel:0", data=[b"text"], dtype=h5py.string_dtype())


def _records(group, file):
    group.create_dataset("conv/kernel:0", data=np.zeros(2, [("a", "f4")]))


def _group(group, file):
    group.create_group("conv/kernel:0")


@pytest.mark.parametrize(
    ("fill", "said"),
    [
        (_external_link, "is a link to another file"),
        (_external_group, "is a link to another file"),
        (_external_storage, "stores its values in another file"),
        (_virtual, "stores its values in another file"),
        (_soft_loop, "is a link to another place"),
        (_huge, "16 times as much memory"),
        (_compressed, "16 times as much memory"),
        (_text, "not numbers"),
        (_records, "not numbers"),
        (_group, "is not an array"),
    ],
)
def test_hdf5_files_hold_their_own_numbers(fill, said, tmp_path):
    with h5py.File(tmp_path / "secret.h5", "w") as secret:
        secret["values"] = np.arange(4, dtype=np.float32)
        secret["kernel:0"] = np.arange(4, dtype=np.float32)
    (tmp_path / "secret.raw").write_bytes(bytes(8))
    path = tmp_path / "weights.h5"
    _keras_file(path, fill)
    with h5py.File(path) as file, pytest.raises(ValueError, match=said):
        hdf5_process.Reader(path.stat().st_size).read(file)


def test_hdf5_files_are_read_in_a_process_of_its_own(tmp_path):
    path = tmp_path / "weights.h5"
    _keras_file(path)
    found = hdf5.read(str(path))
    assert list(found) == ["conv/kernel"] and found["conv/kernel"].shape == (1, 1, 2, 3) and (found["conv/kernel"] == 1).all()
    _keras_file(path, _external_link)
    with pytest.raises(ValueError, match="weights.h5 is not a readable HDF5 file of Keras: 'kernel:0' is a link to another file"):
        hdf5.read(str(path))


@pytest.mark.parametrize(
    ("program", "said"),
    [("while True: pass", "did not finish within 1 s"), ("import os; os.kill(os.getpid(), 11)", "ended with signal 11")],
)
def test_a_library_that_hangs_or_crashes_on_a_file(program, said, tmp_path, monkeypatch):
    (tmp_path / "process.py").write_text(program)
    (tmp_path / "weights.h5").write_bytes(b"")
    monkeypatch.setattr(hdf5, "_PROCESS", str(tmp_path / "process.py"))
    monkeypatch.setattr(hdf5, "_SECONDS", 1.0)
    with pytest.raises(ValueError, match=f"weights.h5 is damaged: the HDF5 library {said}"):
        hdf5.read(str(tmp_path / "weights.h5"))


def test_the_process_brings_no_tensorflow():
    assert "tpuseg" not in pathlib.Path(util.find_spec("tpuseg.weights.hdf5_process").origin).read_text()
