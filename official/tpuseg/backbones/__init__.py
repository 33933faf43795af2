"""Backbones: networks that compute feature maps of several strides from images.

Every backbone is called with scaled [B, H, W, C] pixels in the compute dtype and returns a dictionary: `"2"` to `"5"` are the
features of strides 4 to 32 (or of the output stride, if that is smaller: atrous convolutions then keep the resolution), and
`"low_level"` are the features of stride 4 for DeepLab's decoder.
"""

from collections.abc import Callable

import tf_keras

from tpuseg.backbones import mobilenet, resnet, xception
from tpuseg.configs import schema

_BUILDERS: dict[str, Callable[..., tf_keras.Model]] = {
    "mobilenet_v2": mobilenet.MobileNetV2,
    "xception65": xception.Xception65,
}


def build(
    config: schema.BackboneConfig, output_stride: int, norm: schema.NormConfig, padding: str = "same"
) -> tf_keras.Model:
    """Returns the backbone that the configuration names.

    Args:
      config: the type of the backbone and its settings.
      output_stride: 8, 16 or 32.
      norm: configuration of all norms.
      padding: padding of a ResNet, `same` or `symmetric` (see `layers.conv.Conv2D`). The other backbones always use `same`.
    """
    if config.type == "resnet":
        return resnet.ResNet(config.resnet, output_stride, norm, padding)
    return _BUILDERS[str(config.type)](config.get(), output_stride, norm)
