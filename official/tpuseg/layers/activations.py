"""Activations with gradients that are efficient on a TPU."""

from collections.abc import Callable

import tensorflow as tf

from tpuseg.utils import device


def relu(inputs: tf.Tensor) -> tf.Tensor:
    """Returns max(inputs, 0), for layers whose outputs are kept for the backward pass anyway.

    On a TPU the gradient is multiplied by the sign of the outputs. TensorFlow's gradient is a comparison, whose results the TPU
    compiler packs into bits and stores: an additional pass over the features that saves no memory if the outputs are kept too.
    """
    return _relu_by_sign(inputs) if device.is_tpu() else tf.nn.relu(inputs)


@tf.custom_gradient
def _relu_by_sign(inputs: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    outputs = tf.nn.relu(inputs)
    return outputs, lambda upstream: upstream * tf.sign(outputs)
