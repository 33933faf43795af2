"""research/deeplab's checkpoints, written here under its variables' names."""

import re

import numpy as np
import pytest
import tensorflow as tf
from partial_models import Backbone

from tpuseg import weights
from tpuseg.deeplab import config, model
from tpuseg.maskrcnn.model import MaskRcnn
from tpuseg.training import import_weights
from tpuseg.weights import deeplab_tf1, own
from tpuseg.weights.report import Report

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


@pytest.mark.parametrize("width", [1.0, 0.5])
def test_published_mobilenets_without_branches_and_decoder(width, tmp_path):
    settings = _settings("mobilenet_v2", 1e-3)
    settings.aspp.atrous_rates, settings.decoder.type = [], "none"
    if width != 1:
        settings.backbone.mobilenet_v2.override({"width_multiplier": width, "divisor": 1})
    theirs = model.build(settings)
    _randomize(theirs)
    prefix = str(tmp_path / "model.ckpt-30000")
    _write(theirs, prefix)
    filters = {block.project.conv.filters for block in theirs.backbone.blocks}
    assert filters == {int(width * count) for count in (16, 24, 32, 64, 96, 160, 320)}
    assert theirs(tf.zeros([1, 65, 65, 3], tf.uint8))["logits"].shape == (1, 5, 5, 21)
    report = weights.load_initial(model.build(settings), prefix, settings, "deeplab_tf1")
    assert report.skipped == [] and report.unused == [] and report.notes == []
    assert "or directly" in import_weights.use(report, "out")
    other = _settings("mobilenet_v2", 1e-3)
    if width != 1:
        with pytest.raises(ValueError, match=r"need task.model.backbone.mobilenet_v2.width_multiplier=0.5 .*divisor=1"):
            weights.load_initial(theirs, prefix, other)
        return
    report = weights.load_initial(model.build(other), prefix, other)
    assert [note.partition(":")[0] for note in report.notes] == [
        "task.model.aspp.atrous_rates is [6, 12, 18], but [] where the weights are from",
        "task.model.decoder.type is v3plus, but none where the weights are from",
    ]
    assert import_weights.use(report, "out").endswith("it is not a trained model: aspp, decoder have random weights")


@pytest.mark.parametrize(
    ("skipped", "said"),
    [
        ([], ", or directly with --model_dir=out"),
        (["classifier"], "; its classifier has random weights and must be trained, the rest is complete"),
        (["box_head/classes", "box_head/deltas", "mask_head/classes"], "the rest is complete"),
        (["classifier", "decoder/low_level/conv"], "; it is not a trained model: decoder has random weights"),
        (["rpn/conv", "box_head/dense/0"], "; it is not a trained model: box_head, rpn have random weights"),
    ],
)
def test_only_complete_models_are_called_usable(skipped, said):
    class_layers = frozenset({"classifier", *MaskRcnn.class_layers})
    report = Report("file", skipped=[(layer, "not in the file") for layer in skipped], class_layers=class_layers)
    assert import_weights.use(report, "out").endswith(said)


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
        ("resnet_v1_101/conv1/weights", "a ResNet-101 with a 7x7 stem"),
        ("xception_71/entry_flow/conv1_1/weights", "Xception-71"),
        ("other/weights", "is not a checkpoint of research/deeplab; it has other/weights"),
    ],
)
def test_other_networks_are_refused_by_name(name, said, tmp_path):
    prefix = str(tmp_path / "model.ckpt")
    tf.raw_ops.SaveV2(prefix=prefix, tensor_names=[name], shape_and_slices=[""], tensors=[np.zeros(3, np.float32)])
    assert deeplab_tf1.is_one(prefix)
    with pytest.raises(ValueError, match=said):
        deeplab_tf1.read(prefix)


class _SlimResNet:
    """What slim's ResNet v1 computes behind research/deeplab's stem, with random variables under their names."""

    def __init__(self):
        self.tensors = {}
        self._rng = np.random.default_rng(0)

    def _conv(self, features, scope, filters, size, stride=1, rate=1):
        shape = (size, size, features.shape[-1], filters)
        kernel = self._rng.normal(0, 1.2 / np.prod(shape[:-1]) ** 0.5, shape).astype(np.float32)
        names = ("gamma", "beta", "moving_mean", "moving_variance")
        norm = {name: self._rng.uniform(0.5, 1.0, filters).astype(np.float32) for name in names}
        self.tensors |= {f"{scope}/weights": kernel} | {f"{scope}/BatchNorm/{name}": value for name, value in norm.items()}
        if stride > 1:  # Symmetrically, whatever the size.
            border = [(size - 1) // 2] * 2
            features = tf.pad(features, [[0, 0], border, border, [0, 0]])
        features = tf.nn.conv2d(features, kernel, stride, "SAME" if stride == 1 else "VALID", dilations=rate)
        mean, variance = norm["moving_mean"], norm["moving_variance"]
        return tf.nn.batch_normalization(features, mean, variance, norm["beta"], norm["gamma"], 1e-5)

    def _unit(self, features, scope, filters, stride, rate):
        if features.shape[-1] == 4 * filters:
            shortcut = tf.nn.max_pool2d(features, 1, stride, "VALID")
        else:
            shortcut = self._conv(features, f"{scope}/shortcut", 4 * filters, 1, stride)
        hidden = tf.nn.relu(self._conv(features, f"{scope}/conv1", filters, 1))
        hidden = tf.nn.relu(self._conv(hidden, f"{scope}/conv2", filters, 3, stride, rate))
        residual = self._conv(hidden, f"{scope}/conv3", 4 * filters, 1)
        return tf.nn.relu(shortcut + residual), residual

    def __call__(self, pixels, output_stride):
        features, low_level = tf.constant(pixels), None
        for number, (filters, stride) in enumerate([(64, 2), (64, 1), (128, 1)], start=1):
            features = tf.nn.relu(self._conv(features, f"resnet_v1_50/conv1_{number}", filters, 3, stride))
        features = tf.nn.max_pool2d(features, 3, 2, "SAME")
        stride_so_far, rate = 4, 1
        for block, (count, block_stride) in enumerate(((3, 2), (4, 2), (6, 2), (3, 1)), start=1):
            for unit in range(1, count + 1):
                scope = f"resnet_v1_50/block{block}/unit_{unit}/bottleneck_v1"
                wanted = block_stride if unit == count else 1
                stride = wanted if stride_so_far < output_stride else 1
                features, residual = self._unit(features, scope, 32 * 2**block, stride, rate)
                stride_so_far *= stride
                rate *= wanted // stride
                if (block, unit) == (1, 2):
                    low_level = residual
        return {"5": features, "low_level": low_level}


@pytest.mark.parametrize("output_stride", [8, pytest.param(16, marks=pytest.mark.slow)])
def test_resnet_beta_has_its_strides_where_slim_has_them(output_stride, tmp_path):
    pixels = np.random.default_rng(1).normal(0, 50, (1, 33, 33, 3)).astype(np.float32)
    slim, prefix = _SlimResNet(), str(tmp_path / "model.ckpt")
    expected = slim(pixels, output_stride)
    names = sorted(slim.tensors)
    values = [slim.tensors[name] for name in names]
    tf.raw_ops.SaveV2(prefix=prefix, tensor_names=names, shape_and_slices=[""] * len(names), tensors=values)
    values = {"input_size": [33, 33], "pixel_scaling": "research_deeplab", "output_stride": output_stride}
    resnet = {"type": "resnet", "resnet": {"stem": "beta", "stride_at": "last"}}
    settings = config.ModelConfig({**values, "backbone": resnet})
    ours = Backbone(settings)
    report = weights.load_initial(ours, prefix, settings, "deeplab_tf1")
    assert report.skipped == [] and report.unused == [] and report.notes == []
    levels = ours.backbone(tf.constant(pixels), training=False)
    for name, value in expected.items():
        assert levels[name].shape == value.shape
        assert np.abs(levels[name] - value).max() < 1e-4 * np.abs(value).max()
