"""The Model Garden's own models, saved by its own code, compute here what they compute there."""

import numpy as np
import pytest
import seeded
import tensorflow as tf
import tf_keras
from partial_models import Backbone

from tpuseg import weights
from tpuseg.deeplab import config as deeplab_config
from tpuseg.deeplab import model as deeplab_model
from tpuseg.maskrcnn import cells, config, model
from tpuseg.maskrcnn.roi_align.pooling import roi_align
from tpuseg.weights import model_garden

SIDE = 128


def _randomize(model):
    rng = np.random.default_rng(0)
    for variable in model.variables:
        last = variable.name.rpartition("/")[2]
        if last.startswith(("gamma", "moving_variance")):
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
        elif last.startswith(("beta", "moving_mean", "bias")):
            variable.assign(rng.uniform(-0.1, 0.1, variable.shape))
        else:
            variable.assign(rng.normal(0, 1.2 / np.prod(variable.shape[:-1]) ** 0.5, variable.shape))


def _close(actual, expected, tolerance=1e-4):
    expected = np.asarray(expected)
    assert np.abs(np.asarray(actual) - expected).max() < tolerance * np.abs(expected).max()


def _save(model, folder):
    return tf.train.Checkpoint(model=model, **model.checkpoint_items).write(str(folder / "ckpt-1"))


@pytest.fixture(scope="module")
def segmentation():
    """`seg_deeplabv3plus_pascal` with ResNet-50."""
    from official.vision.configs import semantic_segmentation
    from official.vision.modeling import factory

    settings = semantic_segmentation.seg_deeplabv3plus_pascal().task.model
    settings.backbone.dilated_resnet.model_id = 50
    theirs = factory.build_segmentation_model(tf_keras.layers.InputSpec(shape=[None, SIDE, SIDE, 3]), settings)
    theirs(tf.zeros([1, SIDE, SIDE, 3]))
    _randomize(theirs)
    return theirs


def _deeplab_settings():
    values = {"input_size": [SIDE, SIDE], "activation": "swish", "aspp": {"separable": False}}
    resnet = {"type": "resnet", "resnet": {"stem": "beta", "multi_grid": [2, 2, 4]}}
    return deeplab_config.ModelConfig({**values, "decoder": {"separable": False}, "backbone": resnet})


@pytest.mark.parity
def test_deeplab(segmentation, tmp_path):
    settings = _deeplab_settings()
    ours = deeplab_model.build(settings)
    report = weights.load_initial(ours, _save(segmentation, tmp_path), settings, "model_garden")
    assert report.skipped == [] and report.unused == [] and report.notes == []
    images = tf.constant(seeded.image(SIDE, SIDE))
    pixels = ours.pixels(images)
    theirs, features = segmentation.backbone(pixels, training=False), ours.backbone(pixels, training=False)
    _close(features["2"], theirs["2"])
    _close(features["5"], theirs["4"])
    expected = segmentation(pixels, training=False)["logits"]
    logits = ours(images, training=False)["logits"]
    _close(logits, expected, 1e-5)
    assert np.abs(tf.nn.softmax(logits) - tf.nn.softmax(expected)).max() < 1e-3


@pytest.mark.parity
def test_its_activation_and_epsilon_are_read_beside_the_checkpoint(segmentation, tmp_path):
    prefix = _save(segmentation, tmp_path)
    assert model_garden.read(prefix).norms["backbone/stem/0/norm"].epsilon == 1e-3
    (tmp_path / "params.yaml").write_text("task: {model: {norm_activation: {activation: relu, norm_epsilon: 0.01}}}")
    found = model_garden.read(prefix)
    assert found.norms["backbone/stem/0/norm"].epsilon == 0.01 and found.required["activation"] == "relu"
    settings = _deeplab_settings()
    with pytest.raises(ValueError, match=r"need task.model.activation=relu \(it is swish\)"):
        weights.load_initial(tf_keras.Model(), prefix, settings)


@pytest.mark.parity
def test_mask_rcnn_but_for_its_rpn(tmp_path):
    from official.vision.configs import maskrcnn
    from official.vision.modeling import factory

    their_settings = maskrcnn.maskrcnn_resnetfpn_coco().task.model
    their_settings.num_classes = 6
    theirs = factory.build_maskrcnn(tf_keras.layers.InputSpec(shape=[None, SIDE, SIDE, 3]), their_settings)
    theirs(tf.zeros([1, SIDE, SIDE, 3]), tf.constant([[SIDE, SIDE]], tf.float32), training=False)
    _randomize(theirs)
    settings = config.ModelConfig(num_classes=5, input_size=[SIDE, SIDE])
    settings.backbone.resnet.padding = "same"
    settings.box_head.num_convs, settings.box_head.num_dense = 4, 1
    settings.roi_align.aligned, settings.roi_align.sampling_ratio = False, 1
    ours = model.build(settings)
    report = weights.load_initial(ours, _save(theirs, tmp_path), settings, "model_garden")
    assert {name for name, _ in report.skipped} == {"rpn/conv", "rpn/objectness", "rpn/deltas"} and report.notes == []
    assert "its RPN has a batch norm for each level" in report.skipped[0][1]

    pixels = ours.pixels(tf.constant(seeded.image(SIDE, SIDE)))
    expected = theirs.decoder(theirs.backbone(pixels, training=False), training=False)
    pyramid = ours.fpn(ours.backbone(pixels))[:4]
    for level, features in enumerate(pyramid, start=2):
        _close(features, expected[str(level)])
    boxes = tf.constant([[[3.3, 4.4, 60.1, 90.9], [20, 9, 40, 30], [25, 10, 110, 127]]])
    pooled = theirs.roi_aligner({str(level): expected[str(level)] for level in range(2, 6)}, boxes)
    _close(roi_align(cells.build_table(pyramid), boxes, 7, settings.roi_align), pooled)
    pooled /= tf.reduce_max(tf.abs(pooled))
    their_logits, their_deltas = theirs.detection_head[0](pooled, training=False)
    logits, deltas = ours.box_head(pooled)
    _close(logits, np.roll(their_logits, -1, axis=-1))
    _close(deltas, tf.reshape(their_deltas, [1, 3, 6, 4])[:, :, 1:])
    pooled = tf.constant(np.random.default_rng(1).normal(size=[1, 3, 14, 14, 256]), tf.float32)
    classes = tf.constant([[0, 2, 4]])
    masks = theirs.mask_head((pooled, classes + 1), training=False)
    _close(ours.mask_head(pooled, classes), tf.reshape(masks, [1, 3, 28, 28]))


def test_the_backbone_of_a_classifier(tmp_path):
    from official.vision.modeling.backbones import resnet

    theirs = resnet.ResNet(50, tf_keras.layers.InputSpec(shape=[None, 64, 64, 3]), norm_epsilon=1e-5)
    _randomize(theirs)
    prefix = tf.train.Checkpoint(backbone=theirs).write(str(tmp_path / "ckpt-1"))
    settings = config.ModelConfig(input_size=[64, 64])
    settings.backbone.resnet.padding = "same"
    ours = Backbone(settings)
    report = weights.load_initial(ours, prefix, settings)
    assert all(name.startswith("fpn/") for name, _ in report.skipped)
    assert len(report.restored) == 106 and report.notes == []
    pixels = ours.pixels(tf.constant(seeded.image(64, 64)))
    for level in ("2", "3", "4", "5"):
        _close(ours.backbone(pixels)[level], theirs(pixels)[level])
