"""Resizing, dropout, pixel scaling and padding against hand-worked numbers and TensorFlow's own operations."""

import numpy as np
import pytest
import tensorflow as tf

from tpuseg.configs import schema
from tpuseg.layers import resize
from tpuseg.layers.conv import Conv2D, ConvNorm
from tpuseg.layers.dropout import StepDropout
from tpuseg.layers.pixels import PixelScaling
from tpuseg.layers.scope import with_name_scope


def test_resize_matrix_with_aligned_corners():
    # 3 from 5 pixels in between: every input pixel is an output pixel, those between are means.
    expected = [[1, 0, 0], [0.5, 0.5, 0], [0, 1, 0], [0, 0.5, 0.5], [0, 0, 1]]
    np.testing.assert_array_equal(resize.resize_matrix(3, 5), expected)


def test_resize_matrix_with_half_pixel_centres():
    # Output centres at -0.25, 0.25, 0.75, 1.25 of the input; outside it is clamped.
    np.testing.assert_allclose(resize.resize_matrix(2, 4), [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]])


def test_sampling_one_pixel():
    np.testing.assert_array_equal(resize.sampling_matrix(np.array([-1.0, 0.0, 3.0]), 1), [[1], [1], [1]])


@pytest.mark.parametrize(("small", "large", "aligned"), [((9, 5), (33, 17), True), ((8, 6), (32, 18), False)])
def test_bilinear_resize_and_its_gradient_are_tensorflows(small, large, aligned):
    features = tf.constant(np.random.default_rng(0).normal(size=(2, *small, 3)), tf.float32)
    weights = tf.constant(np.random.default_rng(1).normal(size=(2, *large, 3)), tf.float32)

    def plain(features):
        return tf.raw_ops.ResizeBilinear(
            images=features, size=large, align_corners=aligned, half_pixel_centers=not aligned
        )

    results = []
    for function in (plain, lambda features: resize.bilinear_resize(features, large)):
        with tf.GradientTape() as tape:
            tape.watch(features)
            resized = function(features)
            loss = tf.reduce_sum(resized * weights)
        results.append((resized, tape.gradient(loss, features)))
    np.testing.assert_allclose(results[1][0], results[0][0], atol=1e-5)
    np.testing.assert_allclose(results[1][1], results[0][1], atol=1e-4)


def test_pixel_scaling():
    white = tf.constant(np.full((1, 1, 1, 3), 255, np.uint8))
    np.testing.assert_allclose(PixelScaling("minus_one_to_one")(white)[0, 0, 0], [1, 1, 1], atol=1e-6)
    expected = [(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225]
    np.testing.assert_allclose(PixelScaling("imagenet")(white)[0, 0, 0], expected, atol=1e-5)
    red = tf.constant([[[[200, 0, 0]]]], tf.uint8)
    np.testing.assert_allclose(PixelScaling("caffe")(red)[0, 0, 0], [-103.939, -116.779, 200 - 123.68], atol=1e-4)


def test_pixel_scaling_of_other_numbers_of_channels():
    pixels = tf.constant([[[[0, 51, 102, 255, 255]]]], tf.uint8)
    np.testing.assert_allclose(PixelScaling("minus_one_to_one", 5)(pixels)[0, 0, 0], [-1, -0.6, -0.2, 1, 1], atol=1e-6)
    # By hand: (51 - 41) / 5 = 2. Blue does not come first where channels have no colours.
    means, deviations = [0, 41, 100, 0, 55], [1, 5, 2, 255, 100]
    for scaling in ("imagenet", "caffe"):
        scaled = PixelScaling(scaling, 5, means, deviations)(pixels)
        np.testing.assert_allclose(scaled[0, 0, 0], [0, 2, 1, 1, 2], atol=1e-5)
    red = tf.constant([[[[200, 0, 0]]]], tf.uint8)
    np.testing.assert_allclose(PixelScaling("caffe", 3, [100, 1, 2], [50, 1, 2])(red)[0, 0, 0], [-1, -1, 2], atol=1e-5)


def test_symmetric_padding_differs_from_same_at_even_sizes():
    image = tf.reshape(tf.range(16.0), [1, 4, 4, 1])
    same, symmetric = (
        Conv2D(1, 3, strides=2, padding=padding, kernel_initializer="ones")(image) for padding in ("same", "symmetric")
    )
    # `same` pads below and right only: the first window is rows and columns 0..2, of sum 45.
    assert float(same[0, 0, 0, 0]) == 45
    # Symmetric padding pads one above and left too: the first window is rows and columns -1..1, of sum 0+1+4+5.
    assert float(symmetric[0, 0, 0, 0]) == 10


def test_dropout_repeats_with_its_counter():
    layer, ones = StepDropout(0.5), tf.ones([1, 8, 8, 4])
    np.testing.assert_array_equal(layer(ones, training=False), ones)
    first, second = layer(ones, training=True), layer(ones, training=True)
    assert not np.array_equal(first, second)
    assert set(np.unique(first)) == {0.0, 2.0}
    layer.step.assign(0)
    np.testing.assert_array_equal(layer(ones, training=True), first)


def test_dropout_keeps_its_share_anywhere():
    dropped = StepDropout(0.1)(tf.ones([4, 30, 20, 25]), training=True).numpy() == 0
    assert abs(dropped.mean() - 0.1) < 0.01
    # 600 positions, 100 channels and images: a deviation of 0.012 at most.
    assert np.abs(dropped.mean(axis=(0, 3)) - 0.1).max() < 0.13 and np.abs(dropped.mean(axis=(1, 2)) - 0.1).max() < 0.06


@pytest.mark.parametrize(("mode", "trainable", "moves"), [("trainable", 3, True), ("frozen", 1, False)])
def test_norm_modes(mode, trainable, moves):
    layer = ConvNorm(4, 1, schema.NormConfig({"mode": mode}), "conv")
    layer(tf.random.normal([8, 5, 5, 3]), training=True)
    assert len(layer.trainable_variables) == trainable
    assert (np.abs(layer.norm.moving_mean).max() > 0) == moves


def test_a_functions_operations_have_its_name():
    @with_name_scope
    def _halves(values):
        return values / 2.0

    graph = tf.function(_halves).get_concrete_function(tf.TensorSpec([3])).graph
    assert graph.outputs[0].op.inputs[0].op.name == "halves/truediv"
