"""DeepLab v3+ (arXiv:1802.02611).

Shapes: B images, H x W the input size, h x w the input size divided by 4 and rounded up, K classes.
"""

from collections.abc import Mapping
from typing import ClassVar

import tensorflow as tf
import tf_keras

from tpuseg import backbones
from tpuseg.deeplab.aspp import Aspp
from tpuseg.deeplab.config import ModelConfig
from tpuseg.deeplab.decoder import Decoder
from tpuseg.layers.class_layers import ClassLayer
from tpuseg.layers.pixels import PixelScaling


class DeepLabV3Plus(tf_keras.Model):
    """Backbone, atrous spatial pyramid pooling, decoder and classifier."""

    class_layers: ClassVar[Mapping[str, ClassLayer]] = {"classifier": ClassLayer()}

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(name="deeplab_v3plus")
        self.pixels = PixelScaling.of(config)
        self.backbone = backbones.build(config, config.output_stride)
        self.aspp = Aspp(config.aspp, config.output_stride, config.norm, config.activation)
        self.decoder = Decoder(config.decoder, config.norm, config.activation) if config.decoder.type != "none" else None
        self.classifier = tf_keras.layers.Conv2D(
            config.num_classes,
            1,
            kernel_initializer=tf_keras.initializers.TruncatedNormal(stddev=0.01),
            name="classifier",
        )

    def call(self, images: tf.Tensor, training: bool = False) -> dict[str, tf.Tensor]:
        """Predicts classes at stride 4, or without a decoder at the output stride.

        The logits are not upsampled here, because loss and evaluation need different sizes.

        Args:
          images: [B, H, W, C] uint8, RGB if there are three channels.
          training: whether batch statistics and dropout are used.

        Returns:
          `logits`: [B, h, w, K] float32, before the softmax.
        """
        levels = self.backbone(self.pixels(images), training=training)
        pyramid = self.aspp(levels["5"], training=training)
        features = pyramid
        if self.decoder is not None:
            features = self.decoder(pyramid, levels["low_level"], training=training)
        return {"logits": tf.cast(self.classifier(features), tf.float32)}


def build(config: ModelConfig) -> DeepLabV3Plus:
    """Builds the model and creates its variables, for images of `config.input_size`."""
    model = DeepLabV3Plus(config)
    # Tracing with an abstract input creates the variables without any computation.
    images = tf.TensorSpec([1, *config.input_size, config.num_channels], tf.uint8)
    tf.function(lambda images: model(images, training=False)).get_concrete_function(images)
    return model
