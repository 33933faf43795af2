"""The forms that a TPU gets, and their gradients, beside the plain ones."""

import numpy as np
import pytest
import tensorflow as tf
from tf_keras.layers import Activation

from tpuseg.backbones.resnet import Bottleneck
from tpuseg.configs import schema
from tpuseg.layers import strided
from tpuseg.layers.activations import relu
from tpuseg.layers.conv import Conv2D, ConvNorm, DepthwiseConv2D
from tpuseg.maskrcnn.config import MaskHeadConfig
from tpuseg.maskrcnn.heads import MaskHead
from tpuseg.utils import device


def values_and_gradients(function, inputs, variables):
    """Returns a function's result and the gradients of a weighted sum of it; compiled, as no CPU has all of them otherwise."""

    @tf.function(jit_compile=True)
    def run(inputs):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            result = function(inputs)
            weights = tf.reshape(tf.range(tf.size(result, out_type=tf.int32)) % 7, tf.shape(result))
            total = tf.reduce_sum(result * tf.cast(weights, tf.float32))
        return [result, *map(tf.convert_to_tensor, tape.gradient(total, [inputs, *variables]))]

    return [value.numpy() for value in run(inputs)]


def both_forms(layer, inputs):
    layer(inputs)
    with device.building_for_tpu(False):
        plain = values_and_gradients(layer, inputs, layer.trainable_variables)
    with device.building_for_tpu():
        fast = values_and_gradients(layer, inputs, layer.trainable_variables)
    return plain, fast


def check(plain, fast):
    assert len(plain) == len(fast)
    for expected, found in zip(plain, fast, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


def numbers(*shape):
    return tf.constant(np.random.default_rng(0).normal(size=shape), tf.float32)


def test_to_cells_stacks_the_pixels_of_each_2_x_2_cell():
    image = tf.reshape(tf.range(9.0), [1, 3, 3, 1])
    # The first cell is rows 0 and 1 of columns 0 and 1; behind the odd border are zeros.
    np.testing.assert_array_equal(strided.to_cells(image)[0], [[[0, 1, 3, 4], [2, 0, 5, 0]], [[6, 7, 0, 0], [8, 0, 0, 0]]])


@pytest.mark.parametrize("padding", ["same", "symmetric"])
@pytest.mark.parametrize("kernel_size", [3, 7])
@pytest.mark.parametrize("size", [(12, 16), (13, 17), (12, 13)])
def test_strided_convolution_of_an_image(size, kernel_size, padding):
    layer = Conv2D(4, kernel_size, strides=2, padding=padding, use_bias=True, bias_initializer="ones", activation="relu")
    check(*both_forms(layer, numbers(2, *size, 3)))


@pytest.mark.parametrize(("layer", "channels"), [(Conv2D(4, 3, rate=2), 5), (Conv2D(3, 3, rate=2, padding="symmetric"), 5)])
def test_atrous_convolution(layer, channels):
    check(*both_forms(layer, numbers(2, 9, 10, channels)))


def test_atrous_depthwise_convolution():
    layer = DepthwiseConv2D(3, dilation_rate=3, padding="same", use_bias=False)
    check(*both_forms(layer, numbers(2, 9, 10, 6)))


@pytest.mark.parametrize("stride_on", ["1x1", "3x3"])
def test_bottleneck_that_leaves_positions_out(stride_on):
    norm = schema.NormConfig(mode="frozen")
    block = Bottleneck(
        2, norm, "block", stride=2, rate=1, projects=True, stride_on=stride_on, padding="same", activation="relu"
    )
    features = numbers(1, 7, 8, 4)
    found = block(features)
    # The same with strided 1x1 convolutions, written out.
    scale = 1 / np.sqrt(1 + norm.epsilon)

    def conv(layer, inputs, stride):
        return tf.nn.conv2d(inputs, layer.conv.kernel, stride, "SAME") * scale

    strides = (2, 1) if stride_on == "1x1" else (1, 2)
    hidden = tf.nn.relu(conv(block.reduce, features, strides[0]))
    hidden = tf.nn.relu(conv(block.spatial, hidden, strides[1]))
    expected = tf.nn.relu(conv(block.expand, hidden, 1) + conv(block.shortcut, features, 2))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert found.shape == (1, 4, 4, 8)


def test_one_mask_of_gathered_weights_is_that_of_all_classes():
    head = MaskHead(MaskHeadConfig(num_convs=1, num_filters=6), num_classes=5)
    rois, classes = numbers(2, 3, 4, 4, 6), tf.constant([[0, 4, 2], [2, 2, 1]])
    head(rois, classes)
    for variable in head.trainable_variables:
        variable.assign(numbers(*variable.shape))

    def every_class(rois):
        features = head.convs[0](tf.reshape(rois, [6, 4, 4, 6]))
        kernel = tf.transpose(head.upsampling.kernel, [0, 1, 3, 2])
        corners = tf.nn.relu(tf.nn.conv2d_transpose(features, kernel, [6, 8, 8, 6], 2, "VALID") + head.upsampling.bias)
        logits = tf.einsum("nhwc,ck->nhwk", corners, head.classes.kernel) + head.classes.bias
        return tf.reshape(tf.gather(logits, tf.reshape(classes, [-1]), axis=3, batch_dims=1), [2, 3, 8, 8])

    expected = values_and_gradients(every_class, rois, head.trainable_variables)
    for for_tpu in (False, True):
        with device.building_for_tpu(for_tpu):
            check(expected, values_and_gradients(lambda rois: head(rois, classes), rois, head.trainable_variables))


def test_a_frozen_norm_is_a_scale_and_an_offset():
    layer = ConvNorm(4, 3, schema.NormConfig(mode="frozen", epsilon=1e-3), "conv")
    features = numbers(2, 6, 7, 5)
    layer(features)
    mean, variance, gamma, beta = numbers(4), tf.abs(numbers(4)) + 0.5, numbers(4) + 1.0, numbers(4)
    layer.norm.set_weights([gamma, beta, mean, variance])

    def folded(inputs):
        scale = gamma / tf.sqrt(variance + 1e-3)
        return tf.nn.relu(tf.nn.conv2d(inputs, layer.conv.kernel * scale, 1, "SAME") + beta - mean * scale)

    assert [variable.shape.rank for variable in layer.trainable_variables] == [4]
    expected = values_and_gradients(folded, features, layer.trainable_variables)
    # Training too: its statistics are not looked at.
    check(expected, values_and_gradients(lambda inputs: layer(inputs, training=True), features, layer.trainable_variables))


def test_the_plain_forms_are_what_a_cpu_gets():
    assert not device.is_tpu()
    with device.building_for_tpu():
        assert device.is_tpu()
        with device.building_for_tpu(False):
            assert not device.is_tpu()
        assert device.is_tpu()
    assert not device.is_tpu()


def test_relu_is_relu():
    inputs = tf.constant([-2.0, -0.0, 0.0, 1e-30, 3.0, float("inf")])
    plain, fast = both_forms(Activation(relu), inputs)
    np.testing.assert_array_equal(fast[0], plain[0])
    np.testing.assert_array_equal(fast[1], plain[1])
