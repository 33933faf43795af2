"""Feature pyramid network (arXiv:1612.03144, section 3)."""

import tensorflow as tf
import tf_keras

from tpuseg.layers.conv import Conv2D
from tpuseg.maskrcnn.config import FpnConfig

_BACKBONE_LEVELS = (2, 3, 4, 5)


def _initializer() -> tf_keras.initializers.Initializer:
    # Caffe2's "Xavier": uniform in +-sqrt(3 / fan_in).
    return tf_keras.initializers.VarianceScaling(1.0, mode="fan_in", distribution="uniform")


class Fpn(tf_keras.layers.Layer):
    """Computes the levels P2 to P6 from the levels 2 to 5 of a backbone.

    Each level is projected by a 1x1 convolution, added to the next coarser one, which is upsampled by nearest neighbour, and
    smoothed by a 3x3 convolution. The convolutions have biases, but no norm or activation. P6, which only the RPN uses, is every
    second cell of P5.
    """

    def __init__(self, config: FpnConfig) -> None:
        super().__init__(name="fpn")

        def convs(kind: str, kernel: int) -> list[Conv2D]:
            names = [f"{kind}{level}" for level in _BACKBONE_LEVELS]
            return [
                Conv2D(config.num_filters, kernel, use_bias=True, name=name, kernel_initializer=_initializer())
                for name in names
            ]

        self.lateral = convs("lateral", 1)
        self.output_convs = convs("output", 3)

    def call(self, features: dict[str, tf.Tensor]) -> list[tf.Tensor]:
        """Computes P2 to P6.

        Args:
          features: [B, H / 2^l, W / 2^l, C] for the levels "2" to "5".

        Returns:
          P2 to P6: [B, H / 2^l, W / 2^l, filters], sizes rounded up.
        """
        laterals = [conv(features[str(level)]) for level, conv in zip(_BACKBONE_LEVELS, self.lateral, strict=True)]
        top_down = laterals[-1:]
        for lateral in reversed(laterals[:-1]):
            top_down.insert(0, lateral + _enlarge(top_down[0], lateral.shape[1], lateral.shape[2]))
        pyramid = [conv(level) for conv, level in zip(self.output_convs, top_down, strict=True)]
        return [*pyramid, pyramid[-1][:, ::2, ::2]]


def _enlarge(features: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """Upsamples features by 2 with nearest neighbour, and crops them to the size of the finer level, which can be odd."""
    _, rows, columns, channels = features.shape
    repeated = tf.broadcast_to(features[:, :, None, :, None], [tf.shape(features)[0], rows, 2, columns, 2, channels])
    return tf.reshape(repeated, [-1, 2 * rows, 2 * columns, channels])[:, :height, :width]
