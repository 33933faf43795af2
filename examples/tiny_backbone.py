"""A backbone of another package: five strided convolutions.

python official/train.py --experiment=deeplab_shapes --import_module=examples.tiny_backbone \
  --params_override=task.model.backbone.type=tiny,task.model.backbone.tiny.num_filters=16
"""

import dataclasses

import tensorflow as tf
import tf_keras
from official.modeling.hyperparams import base_config

from tpuseg import registry
from tpuseg.backbones.atrous import StrideBudget
from tpuseg.backbones.backbone import Backbone
from tpuseg.configs import ranges, schema
from tpuseg.layers.conv import ConvNorm


@dataclasses.dataclass
class TinyConfig(base_config.Config):
    """Settings of the backbone.

    Attributes:
      num_filters: Filters of the first convolution; every later one has twice as many as the one before.
    """

    num_filters: int = 16


@registry.backbones.register("tiny")
class Tiny(Backbone):
    """One 3x3 convolution for every stride from 2 to 32."""

    config_class = TinyConfig
    config_ranges = {"num_filters": ranges.between(1, 256)}

    def __init__(self, config: TinyConfig, output_stride: int, norm: schema.NormConfig, activation: str = "relu") -> None:
        """Creates the layers; arguments as in `Backbone`."""
        super().__init__(config, output_stride, norm, activation, "tiny")
        budget = StrideBudget(output_stride, stride=1)
        self.convs = []
        for level in range(1, 6):
            stride, rate = budget.spend(2)  # Beyond the output stride, the rate grows instead of the stride.
            filters = config.num_filters * 2 ** (level - 1)
            self.convs.append(ConvNorm(filters, 3, norm, f"conv{level}", strides=stride, rate=rate, activation=activation))

    def layers_by_stage(self) -> list[list[tf_keras.layers.Layer]]:
        """See `Backbone`."""
        return [[conv] for conv in self.convs]

    def call(self, pixels: tf.Tensor, training: bool = False) -> dict[str, tf.Tensor]:
        """Returns the features of every level."""
        features, levels = pixels, {}
        for level, conv in enumerate(self.convs, start=1):
            features = conv(features, training=training)
            if level > 1:
                levels[str(level)] = features
        return {**levels, "low_level": levels["2"]}
