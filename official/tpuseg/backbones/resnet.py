"""ResNet-50 and -101 (arXiv:1512.03385) with atrous stages; layers are named as in Keras Applications."""

import tensorflow as tf
import tf_keras

from tpuseg.backbones.atrous import StrideBudget
from tpuseg.backbones.backbone import Backbone
from tpuseg.configs import schema
from tpuseg.layers.conv import ConvNorm

_BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}


class Bottleneck(tf_keras.layers.Layer):
    """1x1, 3x3 and 1x1 convolutions with a shortcut; the first block of a stage projects its shortcut."""

    def __init__(
        self,
        filters: int,
        norm: schema.NormConfig,
        name: str,
        *,
        stride: int,
        rate: int,
        projects: bool,
        stride_on: str,
        padding: str,
        activation: str,
    ) -> None:
        super().__init__(name=name)

        def conv(number: int, width: int, kernel: int, after: str | None, strides: int = 1, rate: int = 1) -> ConvNorm:
            return ConvNorm(
                width,
                kernel,
                norm,
                f"{name}_{number}_conv",
                norm_name=f"{name}_{number}_bn",
                strides=strides,
                rate=rate,
                padding=padding if kernel > 1 else "same",
                activation=after,
            )

        self._stride, self._stride_on = stride, stride_on
        self.shortcut = conv(0, 4 * filters, 1, None) if projects else None
        self.reduce = conv(1, filters, 1, activation)
        self.spatial = conv(2, filters, 3, activation, stride if stride_on == "3x3" else 1, rate)
        self.expand = conv(3, 4 * filters, 1, None)
        self._activation = tf_keras.activations.get(activation)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns [B, H / stride, W / stride, 4 * filters]."""
        return self.with_residual(inputs, training)[0]

    def with_residual(self, inputs: tf.Tensor, training: bool = False) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the output of the block, and the residual that was added to its shortcut."""
        # The positions that a 1x1 convolution with a stride skips are removed before it. Otherwise its gradient would be computed
        # for all positions, most of them zero, at four times the cost.
        kept = inputs[:, :: self._stride, :: self._stride] if self._stride > 1 else inputs
        shortcut = kept if self.shortcut is None else self.shortcut(kept, training=training)
        features = self.reduce(kept if self._stride_on == "1x1" else inputs, training=training)
        residual = self.expand(self.spatial(features, training=training), training=training)
        with tf.name_scope(self.name):
            return self._activation(residual + shortcut), residual


class ResNet(Backbone):
    """The network without its classifier."""

    config_class = schema.ResNetConfig
    settings_of_weights = ("depth", "stem", "stride_on", "stride_at")

    def __init__(self, config: schema.ResNetConfig, output_stride: int, norm: schema.NormConfig, activation: str = "relu") -> None:
        """Builds the layers; arguments as in `Backbone`."""
        super().__init__(config, output_stride, norm, activation, f"resnet{config.depth}")
        self._padding = config.padding
        self._strides_at_last = config.stride_at == "last"
        self.stem = _stem(config, norm, activation)
        budget = StrideBudget(output_stride, stride=4)
        self.stages = []
        for stage, num_blocks in enumerate(_BLOCKS[config.depth]):
            blocks = []
            for block in range(num_blocks):
                strided = stage > 0 and block == 0 if config.stride_at == "first" else stage < 3 and block == num_blocks - 1
                stride, rate = budget.spend(2 if strided else 1)
                grid = config.multi_grid[block] if stage == 3 else 1
                blocks.append(
                    Bottleneck(
                        64 * 2**stage,
                        norm,
                        f"conv{stage + 2}_block{block + 1}",
                        stride=stride,
                        rate=rate * grid,
                        projects=block == 0,
                        stride_on=config.stride_on,
                        padding=config.padding,
                        activation=activation,
                    )
                )
            self.stages.append(blocks)

    def layers_by_stage(self) -> list[list[tf_keras.layers.Layer]]:
        """See `Backbone`."""
        return [self.stem, *self.stages]

    def call(self, pixels: tf.Tensor, training: bool = False) -> dict[str, tf.Tensor]:
        """Returns the features of each level; see `Backbone`."""
        features = pixels
        for layer in self.stem:
            features = layer(features, training=training)
        features = _max_pool(features, self._padding)
        levels: dict[str, tf.Tensor] = {}
        for level, blocks in enumerate(self.stages, start=2):
            for number, block in enumerate(blocks):
                features, residual = block.with_residual(features, training=training)
                if level == 2 and number == len(blocks) - 2 and self._strides_at_last:
                    # As in research/deeplab: the last features of stride 4, before the shortcut is added.
                    levels["low_level"] = residual
            levels[str(level)] = features
        if not self._strides_at_last:
            levels["low_level"] = levels["2"]
        return levels


def _stem(config: schema.ResNetConfig, norm: schema.NormConfig, activation: str) -> list[ConvNorm]:
    def conv(width: int, kernel: int, name: str, stride: int) -> ConvNorm:
        return ConvNorm(
            width,
            kernel,
            norm,
            f"{name}_conv",
            norm_name=f"{name}_bn",
            strides=stride,
            padding=config.padding,
            activation=activation,
        )

    if config.stem == "plain":
        return [conv(64, 7, "conv1", 2)]
    # DeepLab's "ResNet beta": three 3x3 convolutions instead of one 7x7 convolution.
    return [conv(64, 3, "conv1_1", 2), conv(64, 3, "conv1_2", 1), conv(128, 3, "conv1_3", 1)]


def _max_pool(features: tf.Tensor, padding: str) -> tf.Tensor:
    if padding == "symmetric":
        # The smallest value of the dtype is never the maximum.
        features = tf.pad(features, [(0, 0), (1, 1), (1, 1), (0, 0)], constant_values=features.dtype.min)
    return tf.nn.max_pool2d(features, 3, 2, "VALID" if padding == "symmetric" else "SAME")
