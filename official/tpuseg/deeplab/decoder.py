"""DeepLab v3+'s decoder (arXiv:1802.02611, section 3.1)."""

import tensorflow as tf
import tf_keras

from tpuseg.configs import schema
from tpuseg.deeplab.config import DecoderConfig
from tpuseg.layers.conv import ConvNorm, conv_norm_3x3
from tpuseg.layers.resize import bilinear_resize


class Decoder(tf_keras.layers.Layer):
    """Refines the outputs of ASPP with low-level features of stride 4."""

    def __init__(self, config: DecoderConfig, norm: schema.NormConfig, activation: str = "relu") -> None:
        super().__init__(name="decoder")
        self.low_level = ConvNorm(config.low_level_filters, 1, norm, "decoder_low_level", activation=activation)
        self.refinement = [
            conv_norm_3x3(config.num_filters, norm, f"decoder_conv{number}", separable=config.separable, activation=activation)
            for number in (1, 2)
        ]

    def call(self, pyramid: tf.Tensor, low_level: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns the refined features, [B, H / 4, W / 4, num_filters].

        Args:
          pyramid: [B, h, w, C] outputs of ASPP at the output stride.
          low_level: [B, H / 4, W / 4, C] low-level features of the backbone.
          training: whether batch statistics are used.
        """
        detail = self.low_level(low_level, training=training)
        upsampled = bilinear_resize(pyramid, (detail.shape[1], detail.shape[2]))
        features = tf.concat([upsampled, detail], axis=-1)
        for conv in self.refinement:
            features = conv(features, training=training)
        return features
