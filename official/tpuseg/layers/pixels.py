"""From the bytes of an image to what a network was trained on, on the device."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tf_keras

# Of ImageNet's training images, RGB in 0..1: what torchvision and most published backbones use.
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_DEVIATION = (0.229, 0.224, 0.225)
# The same means as Caffe's networks have them, in 0..255, without a deviation.
_CAFFE_MEAN, _CAFFE_DEVIATION = (123.68 / 255, 116.779 / 255, 103.939 / 255), (1 / 255,) * 3
_DETECTRON2_MEAN = (123.675 / 255, 116.28 / 255, 103.53 / 255)
_RESEARCH_DEEPLAB_MEAN = (123.15 / 255, 115.9 / 255, 103.06 / 255)
_SCALINGS = {
    "imagenet": (_IMAGENET_MEAN, _IMAGENET_DEVIATION),
    "caffe": (_CAFFE_MEAN, _CAFFE_DEVIATION),
    "detectron2": (_DETECTRON2_MEAN, _CAFFE_DEVIATION),
    "research_deeplab": (_RESEARCH_DEEPLAB_MEAN, _CAFFE_DEVIATION),
    "minus_one_to_one": ((0.5,) * 3, (0.5,) * 3),
}
_BGR = ("caffe", "detectron2")


def is_bgr(scaling: str) -> bool:
    """Returns whether the weights of a scaling see blue first; with another number of channels than 3, no model turns them."""
    return scaling in _BGR


class PixelScaling(tf_keras.layers.Layer):
    """Scales uint8 pixels; in uint8 a batch is a quarter of the bytes to send to the device."""

    def __init__(
        self,
        scaling: str,
        num_channels: int = 3,
        mean: Sequence[float] = (),
        stddev: Sequence[float] = (),
        name: str = "pixels",
    ) -> None:
        """Prepares the constants.

        Args:
          scaling: `imagenet` subtracts ImageNet's mean and divides by its deviation; `caffe` subtracts the mean from 0..255 and
            turns RGB into BGR (Keras Applications' ResNets); `detectron2` does so with the means of its model zoo;
            `research_deeplab` subtracts those of its ResNets and leaves RGB; `minus_one_to_one` maps 0..255 to -1..1
            (MobileNet, Xception).
          num_channels: of the pixels. With another number than 3 they stay in their order, and only `minus_one_to_one` has a mean
            and deviation for them.
          mean: of each channel, 0 to 255, instead of the scaling's; empty for those.
          stddev: the same for the deviation.
          name: of the layer.
        """
        super().__init__(name=name, trainable=False)
        means: tuple[float, ...]
        deviation: tuple[float, ...]
        means, deviation = _SCALINGS[scaling]
        if scaling == "minus_one_to_one":
            means, deviation = means[:1] * num_channels, deviation[:1] * num_channels
        if mean:
            means, deviation = tuple(value / 255 for value in mean), tuple(value / 255 for value in stddev)
        self._is_bgr = is_bgr(scaling) and num_channels == 3
        self._factor = tf.constant([1 / (255 * value) for value in deviation], tf.float32)
        self._offset = tf.constant([-m / d for m, d in zip(means, deviation, strict=True)], tf.float32)

    @classmethod
    def of(cls, settings: Any) -> "PixelScaling":
        """Returns the layer that a model's configuration (`schema.InputConfig`) asks for."""
        return cls(settings.pixel_scaling, settings.num_channels, settings.pixel_mean, settings.pixel_stddev)

    def call(self, images: tf.Tensor) -> tf.Tensor:
        """Returns [B, H, W, C] in the compute type from uint8 (or float 0..255) pixels."""
        pixels = tf.cast(tf.cast(images, tf.float32) * self._factor + self._offset, self.compute_dtype)
        return tf.reverse(pixels, [-1]) if self._is_bgr else pixels
