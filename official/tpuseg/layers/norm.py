"""Batch normalisation, as an experiment asks for it."""

from typing import Any

import tensorflow as tf
import tf_keras

from tpuseg.configs import schema


def batch_norm(config: schema.NormConfig, name: str) -> tf_keras.layers.BatchNormalization:
    """Returns a batch norm layer (arXiv:1502.03167).

    Args:
      config: `trainable` computes statistics in each replica, `synchronized` over all replicas; `frozen` always uses the
        moving statistics, and its scale and offset are not trained.
      name: of the layer.
    """
    synchronized = config.mode == "synchronized"
    kind = SynchronizedBatchNorm if synchronized else tf_keras.layers.BatchNormalization
    layer = kind(momentum=config.momentum, epsilon=config.epsilon, synchronized=synchronized, name=name)
    # Keras runs a batch norm that is not trainable in inference mode, whatever `training` says.
    layer.trainable = config.mode != "frozen"
    return layer


class SynchronizedBatchNorm(tf_keras.layers.BatchNormalization):
    """Batch norm over all replicas whose variance is that of the distances to the moving mean.

    Keras computes E(x^2) - E(x)^2, which has few correct digits where the mean is large beside the deviation. The variance is the
    same of x - c for any c that all replicas share; with the moving mean for c, both terms are small once that has come near the
    mean. It is one subtraction more, in the loop that adds up the sums, and still one all-reduce. While the moving mean is far
    away, in the first steps of a network without trained weights, the digits are those of Keras.
    """

    # A private method of Keras, as the public `call` has no place where the moments are computed.
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
