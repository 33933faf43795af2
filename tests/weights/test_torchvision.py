"""torchvision's networks compute here what they compute there; golden files that torchvision wrote say what that is."""

import json
import pathlib

import numpy as np
import pytest
import seeded
import tensorflow as tf
from partial_models import Backbone

from tpuseg.deeplab import config as deeplab_config
from tpuseg.maskrcnn import config, model
from tpuseg.weights import assign, torchvision
from tpuseg.weights.external import Tensors

GOLDEN = pathlib.Path(__file__).parent.parent / "golden"
SIDE = 64


def tensors_of(golden, path):
    return Tensors(str(path), seeded.state_dict(json.loads(str(golden["shapes"]))))


@pytest.fixture
def empty_file(tmp_path):
    """What stands for the file whose tensors are functions of their names."""
    path = tmp_path / "model.pth"
    path.write_bytes(b"")
    return path


def mask_rcnn_settings(version):
    settings = config.ModelConfig(num_classes=5, input_size=[SIDE, SIDE])
    settings.rpn.anchors.rounded = True
    settings.roi_align.aligned = False
    settings.detection.num_candidates = 5000
    if version.endswith("v2"):
        settings.rpn.num_convs, settings.box_head.num_convs, settings.box_head.num_dense = 2, 4, 1
    return settings


@pytest.mark.parametrize(
    "version", ["maskrcnn_resnet50_fpn", pytest.param("maskrcnn_resnet50_fpn_v2", marks=pytest.mark.slow)]
)
def test_mask_rcnn(version, empty_file):
    golden, settings = np.load(GOLDEN / f"{version}.npz"), mask_rcnn_settings(version)
    ours = model.build(settings)
    report = assign.assign(ours, torchvision.translate(tensors_of(golden, empty_file)), settings)
    assert report.skipped == [] and report.unused == [] and report.notes == []

    images, sizes = tf.constant(seeded.image(SIDE, SIDE)), tf.constant([[SIDE, SIDE]])
    pyramid = ours.features(images, tf.cast(sizes, tf.float32))
    for level in range(2, 7):
        step, expected = max(1, 8 >> (level - 2)), golden[f"p{level}"]
        actual = pyramid[level - 2][:, ::step, ::step, :8]
        assert np.abs(actual - expected).max() < 1e-4 * np.abs(expected).max()
    found = {name: value[0].numpy() for name, value in ours(images, sizes).items()}
    assert found["valid"].sum() == len(golden["scores"]) > 10
    for index in np.flatnonzero(golden["scores"] > golden["scores"].min() + 1e-3):
        close = np.abs(found["boxes"] - golden["boxes"][index][[1, 0, 3, 2]]).max(-1) < 0.1
        close &= np.abs(found["scores"] - golden["scores"][index]) < 1e-3
        same = np.flatnonzero(close & (found["classes"] == golden["labels"][index] - 1))
        assert len(same) == 1
        if index < len(golden["masks"]):
            assert np.mean(np.abs(found["masks"][same[0]] - golden["masks"][index]) < 1e-3) > 0.99


def test_the_backbone_of_deeplab_v3(empty_file):
    golden = np.load(GOLDEN / "deeplabv3_resnet50.npz")
    settings = deeplab_config.ModelConfig(num_classes=3, input_size=[65, 65], output_stride=8)
    settings.norm.epsilon = 1e-3  # Not torchvision's: it goes into the variances.
    ours = Backbone(settings)
    report = assign.assign(ours, torchvision.translate(tensors_of(golden, empty_file)), settings)
    assert report.skipped == [] and report.notes == []
    assert report.unused[:2] == ["classifier.0.convs.0.0.weight", "classifier.0.convs.0.1.bias"]
    features = ours.features(tf.constant(seeded.image(65, 65)))["5"][..., :8]
    assert np.abs(features - golden["features"]).max() < 1e-4 * np.abs(golden["features"]).max()


def test_a_resnet_without_a_prefix_is_the_same(empty_file):
    shapes = json.loads(str(np.load(GOLDEN / "deeplabv3_resnet50.npz")["shapes"]))
    values = seeded.state_dict({name: shape for name, shape in shapes.items() if name.startswith("backbone.")})
    segmentation = torchvision.translate(Tensors(str(empty_file), values))
    alone = torchvision.translate(Tensors(str(empty_file), {name.removeprefix("backbone."): v for name, v in values.items()}))
    assert set(alone.values) == set(segmentation.values) and len(alone.norms) == 53
    for name, value in alone.values.items():
        np.testing.assert_array_equal(value, segmentation.values[name])


def _resnet(blocks, bottleneck=True, width=64, groups=1):
    names = {"conv1.weight": (64, 3, 7, 7)}
    for stage, count in enumerate(blocks, start=1):
        for block in range(count):
            names[f"layer{stage}.{block}.conv2.weight"] = (width, width // groups, 3, 3)
            if bottleneck:
                names[f"layer{stage}.{block}.conv3.weight"] = (256, width, 1, 1)
    return {name: np.zeros(shape, np.float32) for name, shape in names.items()}


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (_resnet((2, 2, 2, 2), bottleneck=False), "a ResNet of basic blocks"),
        (_resnet((3, 8, 36, 3)), "ResNet-152"),
        (_resnet((3, 4, 6, 3), width=128, groups=32), "a ResNeXt"),
        (_resnet((3, 4, 6, 3), width=128), "a wide ResNet"),
        ({"features.0.weight": np.zeros(3)}, "is not a ResNet, Mask R-CNN or DeepLab of torchvision; it has features.0.weight"),
    ],
)
def test_other_networks_are_refused_by_name(network, said, empty_file):
    with pytest.raises(ValueError, match=said):
        torchvision.translate(Tensors(str(empty_file), network))
