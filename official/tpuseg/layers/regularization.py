"""Weight decay, as a loss."""

from collections.abc import Sequence

import tensorflow as tf


def l2_loss(variables: Sequence[tf.Variable], weight_decay: float) -> tf.Tensor:
    """Returns half the sum of squares of all convolution and dense kernels, times the weight decay.

    Biases, norms and depthwise kernels are excluded, as in the implementation of the DeepLab paper: they have too few weights to
    overfit, and weight decay reduces their quality.
    """
    kernels = [variable for variable in variables if is_decayed(variable.name)]
    if not kernels or not weight_decay:
        return tf.constant(0.0)
    return weight_decay * tf.add_n([tf.nn.l2_loss(tf.cast(kernel, tf.float32)) for kernel in kernels])


def is_decayed(variable_name: str) -> bool:
    """Returns whether weight decay applies to a variable."""
    return variable_name.partition(":")[0].rpartition("/")[2] == "kernel"
