"""Weights of Keras Applications give the features of Keras Applications."""

import os

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from partial_models import Backbone

from tpuseg import weights
from tpuseg.deeplab.config import ModelConfig

# Odd, so that every strided convolution pads the same way in both implementations.
SIZE = 65


def _randomize(model, seed=0):
    random = np.random.default_rng(seed)
    for variable in model.variables:
        name = variable.name.rpartition("/")[2]
        low, high = (0.5, 1.5) if name.startswith(("gamma", "moving_variance")) else (-0.1, 0.1)
        variable.assign(random.uniform(low, high, variable.shape))


def _settings(kind, scaling, epsilon=1e-3, **options):
    backbone = {"type": kind, kind: options} if options else {"type": kind}
    values = {"pixel_scaling": scaling, "backbone": backbone, "norm": {"epsilon": epsilon}}
    return ModelConfig({**values, "input_size": [SIZE, SIZE], "output_stride": 32})


def _compare(reference, output_layer, settings, level, tmp_path):
    _randomize(reference)
    path = str(tmp_path / "weights.h5")
    reference.save_weights(path)
    model = Backbone(settings)
    report = weights.load_initial(model, path, settings)
    ours = model.backbone
    pixels = tf.constant(np.random.default_rng(1).uniform(-1, 1, (2, SIZE, SIZE, 3)), tf.float32)
    expected = tf_keras.Model(reference.input, reference.get_layer(output_layer).output)(pixels, training=False)
    actual = ours(pixels, training=False)[level]
    # Exact apart from rounding, relative to the size of the features.
    assert np.abs(actual - expected).max() <= 1e-4 * np.abs(expected).max()
    return report


def test_mobilenet_v2_features_are_equal(tmp_path):
    reference = tf_keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(SIZE, SIZE, 3))
    report = _compare(reference, "block_16_project_BN", _settings("mobilenet_v2", "minus_one_to_one"), "5", tmp_path)
    assert len(report.restored) == 102  # 51 convolutions and their norms.
    assert report.skipped == []
    assert report.unused == ["Conv_1", "Conv_1_bn"]


def test_mobilenet_v2_at_three_quarters_width(tmp_path):
    reference = tf_keras.applications.MobileNetV2(
        include_top=False, weights=None, input_shape=(SIZE, SIZE, 3), alpha=0.75
    )
    settings = _settings("mobilenet_v2", "minus_one_to_one", width_multiplier=0.75)
    _compare(reference, "block_16_project_BN", settings, "5", tmp_path)


def test_resnet50_features_are_equal_although_keras_has_biases(tmp_path):
    reference = tf_keras.applications.ResNet50(include_top=False, weights=None, input_shape=(SIZE, SIZE, 3))
    # Keras Applications carries the stride on the 1x1 and pads the stem symmetrically, which at odd sizes is `same`. Its epsilon is
    # 1.001e-5: another one goes into the variances.
    report = _compare(reference, "conv5_block3_out", _settings("resnet", "caffe", stride_on="1x1"), "5", tmp_path)
    assert report.skipped == [] and report.unused == [] and report.notes == []


def test_shape_mismatch_is_told_with_both_shapes(tmp_path):
    reference = tf_keras.applications.MobileNetV2(
        include_top=False, weights=None, input_shape=(SIZE, SIZE, 3), alpha=0.35
    )
    path = str(tmp_path / "weights.h5")
    reference.save_weights(path)
    settings = _settings("mobilenet_v2", "minus_one_to_one")
    said = r"backbone/stem/conv \(kernel is \(3, 3, 3, 16\) in the file, \(3, 3, 3, 32\) in the model\)"
    with pytest.raises(ValueError, match=said):
        weights.load_initial(Backbone(settings), path, settings)


def test_nothing_matched_is_an_error(tmp_path):
    other = tf_keras.Sequential([tf_keras.layers.Dense(3, name="head", input_shape=(2,))])
    path = str(tmp_path / "other.h5")
    other.save_weights(path)
    settings = _settings("mobilenet_v2", "minus_one_to_one")
    with pytest.raises(ValueError, match="nothing in .*other.h5 matches the model: it has head"):
        weights.load_initial(Backbone(settings), path, settings)


def test_a_missing_file_is_named():
    with pytest.raises(ValueError, match="there is no checkpoint or file no/such.h5"):
        weights.load_initial(tf_keras.Model(), "no/such.h5", None)


@pytest.mark.skipif("TPUSEG_WEIGHTS" not in os.environ, reason="TPUSEG_WEIGHTS names no folder with real weights")
def test_real_weights_load_completely():
    settings = _settings("mobilenet_v2", "minus_one_to_one")
    path = os.path.join(os.environ["TPUSEG_WEIGHTS"], "mobilenet_v2_imagenet_notop.h5")
    assert weights.load_initial(Backbone(settings), path, settings).skipped == []


def test_imagenet_is_downloaded_by_its_name(monkeypatch):
    asked = []

    def random_instead(include_top, weights, input_shape, alpha):
        asked.append((include_top, weights, alpha))
        return tf_keras.applications.mobilenet_v2.MobileNetV2(include_top=False, weights=None, input_shape=input_shape, alpha=alpha)

    monkeypatch.setattr(tf_keras.applications, "MobileNetV2", random_instead)
    settings = _settings("mobilenet_v2", "minus_one_to_one", width_multiplier=0.35)
    weights.require_known("imagenet")
    report = weights.load_initial(Backbone(settings), "imagenet", settings)
    assert asked == [(False, "imagenet", 0.35)]
    assert len(report.restored) == 102 and report.skipped == []


def test_imagenet_without_a_network(monkeypatch):
    def fail(**_):
        raise Exception("URL fetch failure on https://somewhere")  # As Keras does.

    monkeypatch.setattr(tf_keras.applications, "ResNet50", fail)
    said = r"weights of ResNet50 could not be downloaded \(URL fetch failure on https://somewhere\); without a network.*=FILE"
    with pytest.raises(ValueError, match=said):
        weights.load_initial(tf_keras.Model(), "imagenet", _settings("resnet", "caffe"))
    with pytest.raises(ValueError, match="no ImageNet weights of Keras Applications for xception65; .*init_checkpoint=FILE"):
        weights.load_initial(tf_keras.Model(), "imagenet", _settings("xception65", "caffe"))


@pytest.mark.parametrize(("layer", "said"), [("block14_sepconv2", "Xception, another network"), ("post_bn", "a ResNet V2")])
def test_other_networks_are_refused_by_name(layer, said, tmp_path):
    path = str(tmp_path / "other.h5")
    tf_keras.Sequential([tf_keras.layers.Dense(3, name=layer, input_shape=(2,))]).save_weights(path)
    settings = _settings("resnet", "caffe")
    with pytest.raises(ValueError, match=f"other.h5 holds {said}"):
        weights.load_initial(tf_keras.Model(), path, settings)


def test_pixels_scaled_in_another_way_are_refused(tmp_path):
    reference = tf_keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(SIZE, SIZE, 3), alpha=0.35)
    path = str(tmp_path / "weights.h5")
    reference.save_weights(path)
    settings = _settings("mobilenet_v2", "imagenet", width_multiplier=0.35)
    said = r"need task.model.pixel_scaling=minus_one_to_one \(it is imagenet\); add --params_override=task.model.pixel_scaling=m"
    with pytest.raises(ValueError, match=said):
        weights.load_initial(tf_keras.Model(), path, settings)
