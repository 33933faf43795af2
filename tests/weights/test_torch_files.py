"""PyTorch's files and safetensors are read without either library; golden files that these wrote say what is in them."""

import io
import json
import os
import pathlib
import pickle
import zipfile

import numpy as np
import pytest
import torch_files

from tpuseg import weights
from tpuseg.weights import pytorch, safe_pickle, safetensors, torchvision

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
    found = pytorch.read(str(GOLDEN / name))
    assert set(found.names()) == set(EXPECTED)
    for key, value in EXPECTED.items():
        np.testing.assert_array_equal(found.take(key), value)


def test_what_is_no_tensor_is_refused_by_name():
    with pytest.raises(ValueError, match=r"with_arguments.pth is not read: it holds a `argparse.Namespace`"):
        pytorch.read(str(GOLDEN / "with_arguments.pth"))


class _Command:
    def __reduce__(self):
        return os.system, ("exit 3",)


@pytest.mark.parametrize("value", [_Command(), {"model": {"weight": _Command()}}, np.array([_Command()], dtype=object)])
def test_a_pickle_runs_nothing(value, tmp_path):
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps(value))
    with pytest.raises(ValueError, match="it holds (a `posix.system`|an array of the type 'O8')"):
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
        pytorch.read(str(path))


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
        np.testing.assert_array_equal(pytorch.read(str(path)).take("weight"), [[0, 1], [2, 3]])
        return
    with pytest.raises(ValueError, match="view.pth is damaged or not a file of weights: a tensor"):
        pytorch.read(str(path))


def _safetensors(header, data):
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(header).to_bytes(8, "little") + header + data


def _entry(shape, begin, end, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    ("header", "size"),
    [
        pytest.param({"a": _entry([9], 0, 8)}, 8, id="a shape of more bytes"),
        pytest.param({"a": _entry([2], 0, 8), "b": _entry([2], 4, 12)}, 12, id="overlapping"),
        pytest.param({"a": _entry([1], 0, 4), "b": _entry([1], 8, 12)}, 12, id="a gap"),
        pytest.param({"a": _entry([2], 0, 8)}, 9, id="trailing bytes"),
        pytest.param({"a": _entry([-2], 0, 8)}, 8, id="a negative size"),
        pytest.param({"a": _entry([2**40, 2**40], 0, 8)}, 8, id="a huge shape"),
        pytest.param({"a": _entry([16], 0, 8, "F4")}, 8, id="an unknown type"),
        pytest.param(b"[" * 100_000, 0, id="deep nesting"),
        pytest.param(b"5", 0, id="no dictionary"),
    ],
)
def test_safetensors_with_a_lie_in_the_header(header, size, tmp_path):
    (tmp_path / "a.safetensors").write_bytes(_safetensors(header, bytes(size)))
    with pytest.raises(ValueError, match="a.safetensors is damaged, truncated, or not a safetensors file: "):
        safetensors.load(str(tmp_path / "a.safetensors"))


NETWORK = torch_files.network(torch_files.resnet50_shapes())
FEW = {"conv1.weight": BASE, "layer1.0.conv1.weight": BASE * 2}


def _under(prefix, tensors=FEW):
    return {f"{prefix}{name}": value for name, value in tensors.items()}


@pytest.mark.parametrize(
    "tree",
    [
        pytest.param({"model_state_dict": FEW, "epoch": 1}, id="PyTorch's tutorial"),
        pytest.param({"net": FEW, "acc": 0.5}, id="net"),
        pytest.param({"model_ema": {"n_averaged": np.ones(1, np.int64), **_under("module.")}}, id="an average alone"),
        pytest.param({"model": FEW, "model_ema": _under("", {name: -value for name, value in FEW.items()})}, id="both"),
        pytest.param(_under("_orig_mod."), id="torch.compile"),
        pytest.param(_under("module._orig_mod.model.encoder."), id="everything at once"),
        pytest.param({"state_dict": _under("model."), "epoch": 1, "hyper_parameters": {"lr": 0.1}}, id="Lightning"),
        pytest.param({**_under("encoder."), "decoder.blocks.0.conv1.0.weight": BASE}, id="segmentation_models.pytorch"),
        pytest.param({"state_dict": FEW, "best_iou": np.array(0.5, np.float32)}, id="a tensor beside the network"),
        pytest.param({"epoch": 1, "training": {"student": {"weights_of_mine": FEW}}}, id="an unknown key"),
        pytest.param({"optimizer": {"state": {0: FEW}}, "state_dict": FEW}, id="an optimizer"),
    ],
)
def test_where_training_scripts_put_the_network(tree, tmp_path):
    path = tmp_path / "network.pth"
    path.write_bytes(torch_files.zip_file(tree))
    found = pytorch.read(str(path))
    for name, value in FEW.items():
        np.testing.assert_array_equal(found.take(name), value)


def test_the_average_beside_a_network_is_said_to_be_unused(tmp_path):
    path = tmp_path / "network.pth"
    path.write_bytes(torch_files.zip_file({"model": FEW, "model_ema": FEW}))
    found = pytorch.read(str(path))
    assert [found.take(name).shape for name in FEW] == [BASE.shape] * 2 and found.unused() == ["model_ema (2 tensors)"]


@pytest.mark.parametrize(
    ("tree", "said"),
    [
        (
            {**_under("encoder_q."), **_under("encoder_k.")},
            "holds 2 networks, whose tensors begin with encoder_k., encoder_q.; save",
        ),
        ({**_under("model."), "conv1.weight": BASE}, "equal names with and without model. in front"),
        ({"epoch": 1, "history": {"loss": [0.1]}}, "contains no dictionary of tensors, only epoch, history; save one with"),
        ({}, "contains no dictionary of tensors, only an empty dictionary"),
        ([1], "contains no dictionary of tensors; save one with"),
    ],
)
def test_a_true_message_where_there_is_no_network(tree, said, tmp_path):
    path = tmp_path / "network.pth"
    path.write_bytes(torch_files.zip_file(tree))
    with pytest.raises(ValueError, match=f"network.pth (has tensors of )?{said}"):
        pytorch.read(str(path))


def test_a_compiled_network_is_translated_like_any_other(tmp_path):
    path = tmp_path / "network.pth"
    path.write_bytes(torch_files.legacy_file({"state_dict": _under("_orig_mod.", NETWORK)}))
    external = torchvision.translate(pytorch.read(str(path)))
    assert external.unused == [] and external.required["backbone.resnet.depth"] == 50
    np.testing.assert_array_equal(external.values["backbone/stem/0/conv/kernel"], NETWORK["conv1.weight"].transpose(2, 3, 1, 0))


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("conv1.weight", (2, 3)),
        ("layer1.0.conv2.weight", ()),
        ("layer2.1.bn2.running_var", (2, 1)),
        ("layer4.2.bn3.weight", (3,)),
        ("layer1.0.conv3.weight", (0,)),
    ],
)
def test_a_tensor_of_another_shape_is_one_error_that_names_the_file(name, shape, tmp_path):
    path = tmp_path / "network.pth"
    path.write_bytes(torch_files.zip_file({**NETWORK, name: np.ones(shape, np.float32)}))
    with pytest.raises(ValueError, match="network.pth (has tensors whose shapes do not match their names|holds a)"):
        weights.load_initial(None, str(path), None)
