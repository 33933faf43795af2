"""The network (arXiv:1901.02446, figure 3): a feature pyramid whose levels are upsampled to stride 4 and added.

Shapes: B images, H W the input size, F filters, K classes.
"""

from collections.abc import Mapping
from typing import ClassVar

import tensorflow as tf
import tf_keras

from tpuseg import backbones
from tpuseg.layers.class_layers import ClassLayer
from tpuseg.layers.conv import Conv2D, ConvNorm
from tpuseg.layers.pixels import PixelScaling
from tpuseg.layers.resize import bilinear_resize

from .config import ModelConfig

_LEVELS = ("2", "3", "4", "5")


class SemanticFpnModel(tf_keras.Model):
    """Backbone, pyramid, and one classifier on the merged features."""

    # Weights of other classes are matched by the names of the classes.
    class_layers: ClassVar[Mapping[str, ClassLayer]] = {"classifier": ClassLayer()}

    def __init__(self, config: ModelConfig) -> None:
        """Creates the layers."""
        super().__init__(name="semantic_fpn")
        self.pixels = PixelScaling.of(config)
        self.backbone = backbones.build(config, output_stride=32)
        self.lateral = [Conv2D(config.pyramid_filters, 1, use_bias=True, name=f"lateral{level}") for level in _LEVELS]
        # A level of stride 2 ** n is upsampled n - 2 times; that of stride 4 has one convolution and stays as it is.
        self.upsampling = [
            [ConvNorm(config.head_filters, 3, config.norm, f"head{level}_{step}") for step in range(max(1, int(level) - 2))]
            for level in _LEVELS
        ]
        self.classifier = Conv2D(config.num_classes, 1, use_bias=True, name="classifier")

    def call(self, images: tf.Tensor, training: bool = False) -> dict[str, tf.Tensor]:
        """Predicts classes at stride 4.

        Args:
          images: [B, H, W, C] uint8.
          training: Whether batch statistics are used.

        Returns:
          `logits` [B, H / 4, W / 4, K] float32.
        """
        levels = self.backbone(self.pixels(images), training=training)
        pyramid: list[tf.Tensor] = []
        for name, lateral in reversed(list(zip(_LEVELS, self.lateral, strict=True))):
            features = lateral(levels[name])
            if pyramid:
                features += bilinear_resize(pyramid[-1], (features.shape[1], features.shape[2]))
            pyramid.append(features)
        height = levels["2"].shape[1]
        merged = [
            self._upsample(features, convs, height, training)
            for features, convs in zip(reversed(pyramid), self.upsampling, strict=True)
        ]
        return {"logits": tf.cast(self.classifier(tf.add_n(merged)), tf.float32)}

    @staticmethod
    def _upsample(features: tf.Tensor, convs: list[ConvNorm], height: int, training: bool) -> tf.Tensor:
        for conv in convs:
            features = conv(features, training=training)
            if features.shape[1] < height:
                features = bilinear_resize(features, (2 * features.shape[1], 2 * features.shape[2]))
        return features


def build(config: ModelConfig) -> SemanticFpnModel:
    """Returns the model with its variables created."""
    model = SemanticFpnModel(config)
    images = tf.TensorSpec([1, *config.input_size, config.num_channels], tf.uint8)
    tf.function(lambda images: model(images, training=False)).get_concrete_function(images)
    return model
