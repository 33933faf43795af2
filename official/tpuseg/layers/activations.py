"""Activations whose gradients suit a TPU."""

from collections.abc import Callable

import tensorflow as tf

from tpuseg.utils import device


def relu(inputs: tf.Tensor) -> tf.Tensor:
    """Returns max(inputs, 0), for layers whose outputs are kept for the backward pass anyway.

    On a TPU the gradient is multiplied with the output's sign. Of the comparison that TensorFlow's gradient is, the compiler keeps
    the answers, packed into bits: a pass over everything that saves nothing if the outputs stay too.
    """
    return _relu_by_sign(inputs) if device.is_tpu() else tf.nn.relu(inputs)


@tf.custom_gradient
def _relu_by_sign(inputs: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    outputs = tf.nn.relu(inputs)
    return outputs, lambda upstream: upstream * tf.sign(outputs)
