"""The modified aligned Xception-65 of DeepLab v3+ (arXiv:1802.02611, section 3.2, figure 4)."""

import tensorflow as tf
import tf_keras

from tpuseg.backbones.atrous import StrideBudget
from tpuseg.backbones.backbone import Backbone
from tpuseg.configs import schema
from tpuseg.layers.conv import ConvNorm, SeparableConvNorm


class XceptionModule(tf_keras.layers.Layer):
    """Three separable convolutions, the last one strided, with a shortcut."""

    def __init__(
        self,
        filters: tuple[int, int, int],
        norm: schema.NormConfig,
        name: str,
        *,
        stride: int,
        rate: int,
        unit_rates: tuple[int, ...] = (1, 1, 1),
        shortcut: str,
        inner_activation: bool = False,
    ) -> None:
        """Builds the layers.

        Args:
          filters: numbers of filters of the three convolutions.
          norm: configuration of all norms.
          name: prefix of the layers' names.
          stride: stride of the last convolution.
          rate: atrous rate of all three convolutions.
          unit_rates: a factor of `rate` for each convolution.
          shortcut: `conv` projects the input, `sum` adds it unchanged, `none` omits it.
          inner_activation: apply ReLU after every depthwise and pointwise convolution, instead of before the separable one.
        """
        super().__init__(name=name)
        activation = "relu" if inner_activation else None
        self._activates_first = not inner_activation
        self._shortcut_kind = shortcut
        self.shortcut = (
            ConvNorm(filters[-1], 1, norm, f"{name}_shortcut", strides=stride, activation=None)
            if shortcut == "conv"
            else None
        )
        self.convs = [
            SeparableConvNorm(
                width,
                norm,
                f"{name}_separable_conv{number}",
                strides=stride if number == 3 else 1,
                rate=rate * unit_rate,
                inner_activation=activation,
                activation=activation,
            )
            for number, (width, unit_rate) in enumerate(zip(filters, unit_rates, strict=True), start=1)
        ]

    def call(self, inputs: tf.Tensor, training: bool = False) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the module's output and the features of its second convolution."""
        features = second = inputs
        for number, conv in enumerate(self.convs, start=1):
            features = conv(tf.nn.relu(features) if self._activates_first else features, training=training)
            if number == 2:
                second = features
        if self.shortcut is not None:
            features += self.shortcut(inputs, training=training)
        elif self._shortcut_kind == "sum":
            features += inputs
        return features, second


class Xception65(Backbone):
    """The network without its classifier; for output strides 8 and 16, the last strides become atrous rates."""

    config_class = schema.Xception65Config

    def __init__(
        self, config: schema.Xception65Config, output_stride: int, norm: schema.NormConfig, activation: str = "relu"
    ) -> None:
        """Builds the layers, whose activation is ReLU as in the paper; arguments as in `Backbone`."""
        super().__init__(config, output_stride, norm, activation, "xception_65")
        self.stem = [
            ConvNorm(32, 3, norm, "entry_flow_conv1_1", strides=2),
            ConvNorm(64, 3, norm, "entry_flow_conv1_2"),
        ]
        budget = StrideBudget(output_stride, stride=2)

        def module(name: str, filters: tuple[int, int, int], stride: int, shortcut: str, **options: object) -> XceptionModule:
            stride, rate = budget.spend(stride)
            return XceptionModule(filters, norm, name, stride=stride, rate=rate, shortcut=shortcut, **options)  # type: ignore[arg-type]

        self.entry = [
            module(f"entry_flow_block{number}", (width, width, width), 2, "conv")
            for number, width in enumerate((128, 256, 728), start=1)
        ]
        self.middle = [module(f"middle_flow_unit{number}", (728, 728, 728), 1, "sum") for number in range(1, 17)]
        self.exit = [
            module("exit_flow_block1", (728, 1024, 1024), 2, "conv"),
            module(
                "exit_flow_block2",
                (1536, 1536, 2048),
                1,
                "none",
                unit_rates=tuple(config.multi_grid),
                inner_activation=True,
            ),
        ]

    def call(self, pixels: tf.Tensor, training: bool = False) -> dict[str, tf.Tensor]:
        """Returns the features of each level; see `Backbone`."""
        features = pixels
        for conv in self.stem:
            features = conv(features, training=training)
        levels: dict[str, tf.Tensor] = {}
        for level, entry in enumerate(self.entry, start=2):
            features, second = entry(features, training=training)
            levels[str(level)] = features
            if level == 3:
                levels["low_level"] = second  # entry_flow/block2, before its stride: still stride 4.
        for middle in self.middle:
            features, _ = middle(features, training=training)
        levels["4"] = features
        for last in self.exit:
            features, _ = last(features, training=training)
        levels["5"] = features
        return levels
