"""PyTorch's files and safetensors are read without either library; golden files that these wrote say what is in them."""

import io
import os
import pathlib
import pickle
import zipfile

import numpy as np
import pytest

from tpuseg.weights import pytorch, safe_pickle, safetensors

GOLDEN = pathlib.Path(__file__).parent.parent / "golden"
BASE = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
EXPECTED = {
    "plain": BASE,
    "transposed": BASE.transpose(2, 0, 1),
    "part": BASE[1, 1:],
    "half": BASE,
    "bfloat16": BASE,
    "counter": np.array(7),
    "parameter": BASE * 2,
}


@pytest.mark.parametrize("name", ["tensors.pth", "tensors_legacy.pth", "tensors.safetensors"])
def test_all_forms_hold_the_same(name):
    found = pytorch.read_file(str(GOLDEN / name))
    assert set(found) == set(EXPECTED)
    for key, value in EXPECTED.items():
        np.testing.assert_array_equal(found[key].astype(np.float32), value)


def test_what_is_no_tensor_is_refused_by_name():
    with pytest.raises(ValueError, match=r"with_arguments.pth is not read: it holds a `argparse.Namespace`"):
        pytorch.read_file(str(GOLDEN / "with_arguments.pth"))


class _Command:
    def __reduce__(self):
        return os.system, ("exit 3",)


@pytest.mark.parametrize("value", [_Command(), {"model": {"weight": _Command()}}, np.array([_Command()], dtype=object)])
def test_a_pickle_runs_nothing(value, tmp_path):
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps(value))
    with pytest.raises(ValueError, match="it holds a `posix.system`"):
        safe_pickle.load(str(tmp_path / "evil.pkl"))


def test_builtins_are_refused(tmp_path):
    (tmp_path / "evil.pkl").write_bytes(b"cbuiltins\neval\n(S'1'\ntR.")
    with pytest.raises(ValueError, match="it holds a `builtins.eval`"):
        safe_pickle.load(str(tmp_path / "evil.pkl"))


def test_numpy_pickles_of_every_protocol(tmp_path):
    for protocol in range(2, 6):
        path = tmp_path / f"{protocol}.pkl"
        path.write_bytes(pickle.dumps({"model": {"a": BASE}, "__author__": "x", "n": np.float32(2)}, protocol))
        found = safe_pickle.load(str(path))
        np.testing.assert_array_equal(found["model"]["a"], BASE)
        assert found["n"] == 2


@pytest.mark.parametrize("name", ["tensors.pth", "tensors_legacy.pth", "tensors.safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_cut_file_is_named(name, share, tmp_path):
    content = (GOLDEN / name).read_bytes()
    path = tmp_path / name
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ValueError, match=f"{name} (is|holds)"):
        pytorch.read_file(str(path))


def _with_view(shape, strides, offset):
    """A .pth whose tensor reads what is not its own."""
    pickled = io.BytesIO()

    class Storage:
        pass

    class Pickler(pickle._Pickler):
        def persistent_id(self, value):
            return ("storage", _Name("torch", "FloatStorage"), "0", "cpu", 4) if isinstance(value, Storage) else None

        def save_global(self, value, name=None):
            self.write(f"c{value.module}\n{value.name}\n".encode())

        dispatch = dict(pickle._Pickler.dispatch)

        def save(self, value, save_persistent_id=True):
            if isinstance(value, _Name):
                return self.save_global(value)
            return super().save(value, save_persistent_id)

    class _Tensor:
        def __reduce__(self):
            return _Name("torch._utils", "_rebuild_tensor_v2"), (Storage(), offset, shape, strides, False, None)

    Pickler(pickled, 2).dump({"weight": _Tensor()})
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a/data.pkl", pickled.getvalue())
        file.writestr("a/data/0", np.arange(4, dtype=np.float32).tobytes())
    return archive.getvalue()


class _Name:
    def __init__(self, module, name):
        self.module, self.name = module, name

    def __call__(self):  # A pickle's callable must look like one.
        raise NotImplementedError


@pytest.mark.parametrize(
    ("shape", "strides", "offset", "is_whole"),
    [
        ((2, 2), (2, 1), 0, True),
        ((4, 4), (4, 1), 0, False),
        ((2,), (1,), 3, False),
        ((2,), (-1,), 1, False),
        ((2,), (1,), -1, False),
    ],
)
def test_tensors_stay_in_their_storage(shape, strides, offset, is_whole, tmp_path):
    path = tmp_path / "view.pth"
    path.write_bytes(_with_view(shape, strides, offset))
    if is_whole:
        np.testing.assert_array_equal(pytorch.read_file(str(path))["weight"], [[0, 1], [2, 3]])
        return
    with pytest.raises(ValueError, match="view.pth is broken or no file of weights: a tensor"):
        pytorch.read_file(str(path))


def test_safetensors_with_a_lie_in_the_header(tmp_path):
    header = b'{"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 8]}}'
    (tmp_path / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    with pytest.raises(ValueError, match=r"a.safetensors is no whole safetensors file: a tensor of shape \[9\] has 8 bytes"):
        safetensors.load(str(tmp_path / "a.safetensors"))
