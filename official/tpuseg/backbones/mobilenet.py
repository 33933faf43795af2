"""MobileNetV2 (arXiv:1801.04381) with atrous stages; layers are named as in Keras Applications."""

import tensorflow as tf
import tf_keras

from tpuseg.backbones.atrous import StrideBudget
from tpuseg.backbones.backbone import Backbone
from tpuseg.configs import schema
from tpuseg.layers.conv import ConvNorm, DepthwiseNorm

# Table 2 of the paper: expansion, filters, number of blocks, stride of the first block.
_STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


def round_filters(filters: float, divisor: int = 8) -> int:
    """Returns the multiple of `divisor` that is nearest, but not more than 10 % below."""
    rounded = max(divisor, int(filters + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * filters else rounded


class InvertedResidual(tf_keras.layers.Layer):
    """Expansion 1x1, depthwise 3x3, linear projection 1x1 (section 3.3)."""

    def __init__(
        self, inputs: int, expansion: int, filters: int, norm: schema.NormConfig, name: str, *, stride: int, rate: int
    ) -> None:
        super().__init__(name=name)
        self.expand = (
            ConvNorm(
                round_filters(inputs * expansion), 1, norm, f"{name}_expand", norm_name=f"{name}_expand_BN", activation="relu6"
            )
            if expansion > 1
            else None
        )
        self.depthwise = DepthwiseNorm(
            norm,
            f"{name}_depthwise",
            norm_name=f"{name}_depthwise_BN",
            strides=stride,
            rate=rate,
            activation="relu6",
        )
        self.project = ConvNorm(filters, 1, norm, f"{name}_project", norm_name=f"{name}_project_BN", activation=None)
        self.keeps_shape = stride == 1 and inputs == filters

    def call(self, inputs: tf.Tensor, training: bool = False) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the block's output and its depthwise features."""
        expanded = inputs if self.expand is None else self.expand(inputs, training=training)
        depthwise = self.depthwise(expanded, training=training)
        projected = self.project(depthwise, training=training)
        return (inputs + projected if self.keeps_shape else projected), depthwise


class MobileNetV2(Backbone):
    """The network up to its last inverted residual (320 filters), as DeepLab and FPN use it."""

    config_class = schema.MobileNetV2Config

    def __init__(
        self, config: schema.MobileNetV2Config, output_stride: int, norm: schema.NormConfig, activation: str = "relu"
    ) -> None:
        """Builds the layers, whose activation is ReLU6 as in the paper; arguments as in `Backbone`."""
        super().__init__(config, output_stride, norm, activation, "mobilenet_v2")
        width = config.width_multiplier
        channels = round_filters(32 * width, config.divisor)
        self.stem = ConvNorm(channels, 3, norm, "Conv1", norm_name="bn_Conv1", strides=2, activation="relu6")
        budget = StrideBudget(output_stride, stride=2)
        self.blocks: list[InvertedResidual] = []
        # The last block of each level: the last one with its stride in the network without atrous rates.
        self._last_block = {2: 2, 3: 5, 4: 12, 5: 16}
        for expansion, stage_filters, repeats, stage_stride in _STAGES:
            filters = round_filters(stage_filters * width, config.divisor)
            for repeat in range(repeats):
                stride, rate = budget.spend(stage_stride if repeat == 0 else 1)
                name = f"block_{len(self.blocks)}" if self.blocks else "expanded_conv"
                self.blocks.append(
                    InvertedResidual(channels, expansion, filters, norm, name, stride=stride, rate=rate)
                )
                channels = filters

    def layers_by_stage(self) -> list[list[tf_keras.layers.Layer]]:
        """Returns the stem, and the blocks of every level with the one that reaches its stride first."""
        ends = [0, *(last + 1 for last in self._last_block.values())]
        return [[self.stem], *(self.blocks[start:end] for start, end in zip(ends, ends[1:], strict=False))]

    def call(self, pixels: tf.Tensor, training: bool = False) -> dict[str, tf.Tensor]:
        """Returns the features of each level; see `Backbone`."""
        features = self.stem(pixels, training=training)
        levels: dict[str, tf.Tensor] = {}
        for number, block in enumerate(self.blocks):
            features, depthwise = block(features, training=training)
            for level, last in self._last_block.items():
                if number == last:
                    levels[str(level)] = features
            if number == self._last_block[2]:
                # As in research/deeplab: the 144 depthwise features contain more detail than the 24 projected ones.
                levels["low_level"] = depthwise
        return levels
