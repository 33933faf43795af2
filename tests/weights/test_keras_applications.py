"""Weights of Keras Applications give the features of Keras Applications."""

import os

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tpuseg import backbones, schema, weights
from tpuseg.weights import keras_applications

# Odd, so that every strided convolution pads the same way in both implementations.
SIZE = 65


def _randomize(model, seed=0):
    random = np.random.default_rng(seed)
    for variable in model.variables:
        name = variable.name.rpartition("/")[2]
        low, high = (0.5, 1.5) if name.startswith(("gamma", "moving_variance")) else (-0.1, 0.1)
        variable.assign(random.uniform(low, high, variable.shape))


def _compare(reference, output_layer, kind, norm, level, tmp_path, **options):
    _randomize(reference)
    path = str(tmp_path / "weights.h5")
    reference.save_weights(path)
    config = schema.BackboneConfig({"type": kind, kind: options} if options else {"type": kind})
    ours = backbones.build(config, 32, norm)
    pixels = tf.constant(np.random.default_rng(1).uniform(-1, 1, (2, SIZE, SIZE, 3)), tf.float32)
    ours(pixels)
    report = keras_applications.load(ours, path)
    expected = tf_keras.Model(reference.input, reference.get_layer(output_layer).output)(pixels, training=False)
    actual = ours(pixels, training=False)[level]
    # Exact apart from rounding, relative to the size of the features.
    assert np.abs(actual - expected).max() <= 1e-4 * np.abs(expected).max()
    return report


def test_mobilenet_v2_features_are_equal(tmp_path):
    reference = tf_keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(SIZE, SIZE, 3))
    report = _compare(reference, "block_16_project_BN", "mobilenet_v2", schema.NormConfig(), "5", tmp_path)
    assert len(report.restored) == 102  # 51 convolutions and their norms.
    assert report.skipped == []
    assert report.unused == ["Conv_1", "Conv_1_bn"]


def test_mobilenet_v2_at_three_quarters_width(tmp_path):
    reference = tf_keras.applications.MobileNetV2(
        include_top=False, weights=None, input_shape=(SIZE, SIZE, 3), alpha=0.75
    )
    _compare(
        reference, "block_16_project_BN", "mobilenet_v2", schema.NormConfig(), "5", tmp_path, width_multiplier=0.75
    )


def test_resnet50_features_are_equal_although_keras_has_biases(tmp_path):
    reference = tf_keras.applications.ResNet50(include_top=False, weights=None, input_shape=(SIZE, SIZE, 3))
    norm = schema.NormConfig({"epsilon": 1.001e-5})
    # Keras Applications carries the stride on the 1x1 and pads the stem symmetrically, which at odd sizes is `same`.
    report = _compare(reference, "conv5_block3_out", "resnet", norm, "5", tmp_path, stride_on="1x1")
    assert report.skipped == [] and report.unused == []


def test_shape_mismatch_is_skipped_with_both_shapes(tmp_path):
    reference = tf_keras.applications.MobileNetV2(
        include_top=False, weights=None, input_shape=(SIZE, SIZE, 3), alpha=0.35
    )
    path = str(tmp_path / "weights.h5")
    reference.save_weights(path)
    ours = backbones.build(schema.BackboneConfig({"type": "mobilenet_v2"}), 32, schema.NormConfig())
    ours(tf.zeros([1, SIZE, SIZE, 3]))
    report = keras_applications.load(ours, path)
    assert dict(report.skipped)["Conv1"] == "kernel is (3, 3, 3, 16) in the file, (3, 3, 3, 32) in the model"


def test_nothing_matched_is_an_error(tmp_path):
    other = tf_keras.Sequential([tf_keras.layers.Dense(3, name="head", input_shape=(2,))])
    path = str(tmp_path / "other.h5")
    other.save_weights(path)
    model = tf_keras.Model()
    model.backbone = backbones.build(schema.BackboneConfig({"type": "mobilenet_v2"}), 32, schema.NormConfig())
    model.backbone(tf.zeros([1, SIZE, SIZE, 3]))
    with pytest.raises(ValueError, match="nothing in .*other.h5 matches the model: it has head"):
        weights.load_initial(model, path)


def test_a_missing_file_is_named():
    with pytest.raises(ValueError, match="there is no checkpoint or file no/such.h5"):
        weights.load_initial(tf_keras.Model(), "no/such.h5")


@pytest.mark.skipif("TPUSEG_WEIGHTS" not in os.environ, reason="TPUSEG_WEIGHTS names no folder with real weights")
def test_real_weights_load_completely():
    ours = backbones.build(schema.BackboneConfig({"type": "mobilenet_v2"}), 32, schema.NormConfig())
    ours(tf.zeros([1, SIZE, SIZE, 3]))
    path = os.path.join(os.environ["TPUSEG_WEIGHTS"], "mobilenet_v2_imagenet_notop.h5")
    assert keras_applications.load(ours, path).skipped == []
