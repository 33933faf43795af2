"""research/deeplab's checkpoints, written here under its variables' names."""

import re

import numpy as np
import pytest
import tensorflow as tf

from tpuseg import weights
from tpuseg.deeplab import config, model
from tpuseg.weights import deeplab_tf1, own

# From our names of layers to its names; the order of the rules counts.
_RULES = (
    (r"^backbone/stem/(\d)$", lambda m: f"xception_65/entry_flow/conv1_{int(m[1]) + 1}"),
    (r"^backbone/stem$", lambda m: "MobilenetV2/Conv"),
    (r"^backbone/blocks/0/(\w+)$", lambda m: f"MobilenetV2/expanded_conv/{m[1]}"),
    (r"^backbone/blocks/(\d+)/(\w+)$", lambda m: f"MobilenetV2/expanded_conv_{m[1]}/{m[2]}"),
    (r"^backbone/middle/(\d+)/(.*)$", lambda m: f"xception_65/middle_flow/block1/unit_{int(m[1]) + 1}/xception_module/{m[2]}"),
    (r"^backbone/(entry|exit)/(\d)/(.*)$", lambda m: f"xception_65/{m[1]}_flow/block{int(m[2]) + 1}/unit_1/xception_module/{m[3]}"),
    (r"^aspp/pointwise$", lambda m: "aspp0"),
    (r"^aspp/pooling$", lambda m: "image_pooling"),
    (r"^aspp/projection$", lambda m: "concat_projection"),
    (r"^aspp/atrous/(\d)/(\w+)$", lambda m: f"aspp{int(m[1]) + 1}_{m[2]}"),
    (r"^decoder/low_level$", lambda m: "decoder/feature_projection0"),
    (r"^decoder/refinement/(\d)/(\w+)$", lambda m: f"decoder/decoder_conv{m[1]}_{m[2]}"),
)
_LAST = {"conv/kernel": "weights", "conv/depthwise_kernel": "depthwise_weights"}


def _their_name(ours):
    if ours.startswith("classifier"):
        return {"classifier/kernel": "logits/semantic/weights", "classifier/bias": "logits/semantic/biases"}[ours]
    layer, kind, last = ours.rsplit("/", 2)
    layer = next(rule(match) for pattern, rule in _RULES if (match := re.match(pattern, layer)))
    layer = re.sub(r"convs/(\d)/(\w+)$", lambda m: f"separable_conv{int(m[1]) + 1}_{m[2]}", layer)
    return f"{layer}/BatchNorm/{last}" if kind == "norm" else f"{layer}/{_LAST[f'{kind}/{last}']}"


def _write(model, prefix):
    """Writes a model under research/deeplab's names, with an optimizer's slots."""
    tensors = {"global_step": np.int64(7)}
    for name, variable in own.variables_by_name(model).items():
        if variable.dtype.is_floating:
            value = variable.numpy()
            if name == "aspp/projection/conv/kernel":
                value = np.concatenate([value[:, :, -256:], value[:, :, :-256]], axis=2)
            tensors[_their_name(name)] = value
            tensors[_their_name(name) + "/Momentum"] = np.zeros_like(value)
    names = sorted(tensors)
    tf.raw_ops.SaveV2(
        prefix=prefix, tensor_names=names, shape_and_slices=[""] * len(names), tensors=[tensors[name] for name in names]
    )


def _settings(backbone, epsilon, num_classes=21):
    values = {"num_classes": num_classes, "input_size": [65, 65], "pixel_scaling": "minus_one_to_one"}
    return config.ModelConfig({**values, "backbone": {"type": backbone}, "norm": {"epsilon": epsilon}})


def _randomize(model):
    rng = np.random.default_rng(0)
    for variable in model.variables:
        if variable.dtype.is_floating:
            variable.assign(rng.uniform(0.5, 1.5, variable.shape) * (0.05 if variable.shape.rank == 4 else 1))


@pytest.mark.parametrize("backbone", ["mobilenet_v2", pytest.param("xception65", marks=pytest.mark.slow)])
def test_every_variable_comes_back(backbone, tmp_path):
    settings = _settings(backbone, 1e-3)
    theirs = model.build(settings)
    _randomize(theirs)
    prefix = str(tmp_path / "model.ckpt-30000")
    _write(theirs, prefix)
    ours = model.build(settings)
    report = weights.load_initial(ours, prefix, settings, "deeplab_tf1")
    assert report.skipped == [] and report.unused == [] and report.notes == []
    assert report.class_names[15] == "person"
    for name, variable in own.variables_by_name(theirs).items():
        value, found = variable.numpy(), own.variables_by_name(ours)[name].numpy()
        if name.endswith("moving_variance") and not name.startswith("backbone"):
            value = value + np.float32(1e-5 - 1e-3)  # The heads' norms have another epsilon.
        np.testing.assert_allclose(found, value, rtol=1e-6, err_msg=name)


def test_names_as_published(tmp_path):
    """A few of the names in the published deeplabv3_pascal_trainval checkpoint, spelt out."""
    spelt = {
        "backbone/entry/1/convs/1/depthwise/conv/depthwise_kernel": "xception_65/entry_flow/block2/unit_1/xception_module/"
        "separable_conv2_depthwise/depthwise_weights",
        "backbone/middle/15/convs/2/pointwise/norm/gamma": "xception_65/middle_flow/block1/unit_16/xception_module/"
        "separable_conv3_pointwise/BatchNorm/gamma",
        "backbone/exit/0/shortcut/conv/kernel": "xception_65/exit_flow/block1/unit_1/xception_module/shortcut/weights",
        "aspp/atrous/0/depthwise/norm/beta": "aspp1_depthwise/BatchNorm/beta",
        "decoder/refinement/1/pointwise/conv/kernel": "decoder/decoder_conv1_pointwise/weights",
        "backbone/blocks/16/project/norm/moving_mean": "MobilenetV2/expanded_conv_16/project/BatchNorm/moving_mean",
    }
    assert {name: _their_name(name) for name in spelt} == spelt


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("resnet_v1_101/conv1_1/weights", "a ResNet whose stages have their stride in the last block"),
        ("xception_71/entry_flow/conv1_1/weights", "Xception-71"),
        ("other/weights", "is no checkpoint of research/deeplab; it has other/weights"),
    ],
)
def test_other_networks_are_refused_by_name(name, said, tmp_path):
    prefix = str(tmp_path / "model.ckpt")
    tf.raw_ops.SaveV2(prefix=prefix, tensor_names=[name], shape_and_slices=[""], tensors=[np.zeros(3, np.float32)])
    assert deeplab_tf1.is_one(prefix)
    with pytest.raises(ValueError, match=said):
        deeplab_tf1.read(prefix)
