"""Atrous spatial pyramid pooling (arXiv:1706.05587, section 3.3; separable as in arXiv:1802.02611)."""

import tensorflow as tf
import tf_keras

from tpuseg.configs import schema
from tpuseg.deeplab.config import AsppConfig
from tpuseg.layers.conv import ConvNorm, conv_norm_3x3
from tpuseg.layers.dropout import StepDropout


class Aspp(tf_keras.layers.Layer):
    """Combines a 1x1 convolution, 3x3 convolutions with several atrous rates, and image-level pooling."""

    def __init__(self, config: AsppConfig, output_stride: int, norm: schema.NormConfig, activation: str = "relu") -> None:
        super().__init__(name="aspp")
        rates = [max(1, rate * 16 // output_stride) for rate in config.atrous_rates]
        self.pointwise = ConvNorm(config.num_filters, 1, norm, "aspp0", activation=activation)
        self.atrous = [
            conv_norm_3x3(config.num_filters, norm, f"aspp{number}", separable=config.separable, rate=rate, activation=activation)
            for number, rate in enumerate(rates, start=1)
        ]
        self.pooling = ConvNorm(config.num_filters, 1, norm, "aspp_pooling", activation=activation)
        self.projection = ConvNorm(config.num_filters, 1, norm, "aspp_projection", activation=activation)
        self.dropout = StepDropout(config.dropout_rate, name="aspp_dropout")

    def call(self, features: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns [B, h, w, num_filters] from [B, h, w, C]."""
        branches = [self.pointwise(features, training=training)]
        branches += [branch(features, training=training) for branch in self.atrous]
        # The mean over thousands of positions is computed in float32, because bfloat16 has only 8 bits of precision.
        mean = tf.reduce_mean(tf.cast(features, tf.float32), axis=[1, 2], keepdims=True)
        pooled = self.pooling(tf.cast(mean, features.dtype), training=training)
        branches.append(tf.broadcast_to(pooled, tf.shape(branches[0])))
        joined = self.projection(tf.concat(branches, axis=-1), training=training)
        return self.dropout(joined, training=training)
