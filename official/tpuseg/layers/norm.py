"""Batch normalization in the mode that an experiment sets."""

from typing import Any

import tensorflow as tf
import tf_keras

from tpuseg.configs import schema


def batch_norm(config: schema.NormConfig, name: str) -> tf_keras.layers.BatchNormalization:
    """Returns a batch norm layer (arXiv:1502.03167).

    Args:
      config: momentum, epsilon and mode: `trainable` computes statistics in each replica, `synchronized` over all replicas;
        `frozen` always uses the moving statistics and does not train scale and offset.
      name: name of the layer.
    """
    synchronized = config.mode == "synchronized"
    kind = SynchronizedBatchNorm if synchronized else tf_keras.layers.BatchNormalization
    layer = kind(momentum=config.momentum, epsilon=config.epsilon, synchronized=synchronized, name=name)
    # Keras runs a batch norm that is not trainable in inference mode, even if `training` is True.
    layer.trainable = config.mode != "frozen"
    return layer


class SynchronizedBatchNorm(tf_keras.layers.BatchNormalization):
    """Batch norm over all replicas that subtracts the moving mean before it computes the variance.

    Keras computes E(x^2) - E(x)^2, which loses precision if the mean is much larger than the standard deviation. x - c has the same
    variance for any c that is equal on all replicas. With the moving mean as c, both terms are small once the moving mean is close
    to the mean. This costs one subtraction in the loop that computes the sums, and no additional all-reduce. In the first steps of
    a network with random weights, while the moving mean is still far from the mean, the precision is that of Keras.
    """

    # This overrides a private method of Keras, because no public method computes only the moments.
    def _sync_calculate_mean_and_var(self, x: tf.Tensor, reduction_axes: Any, keep_dims: bool, mask: Any = None) -> Any:
        replica = tf.distribute.get_replica_context()
        if replica is None or mask is not None or keep_dims:
            return super()._sync_calculate_mean_and_var(x, reduction_axes, keep_dims, mask=mask)
        values = tf.cast(x, tf.float32)
        shift = tf.stop_gradient(tf.cast(tf.convert_to_tensor(self.moving_mean), tf.float32))
        distances = values - shift
        count = tf.cast(tf.size(values) / tf.size(shift), tf.float32)
        sums = [tf.reduce_sum(distances, reduction_axes), tf.reduce_sum(tf.square(distances), reduction_axes), count]
        total, total_of_squares, total_count = replica.all_reduce(tf.distribute.ReduceOp.SUM, sums)
        mean = total / total_count
        variance = tf.maximum(total_of_squares / total_count - tf.square(mean), 0.0)
        return tf.cast(mean + shift, x.dtype), tf.cast(variance, x.dtype)
