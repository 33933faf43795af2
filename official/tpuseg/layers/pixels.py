"""Scaling of uint8 pixels to the values that a network was trained with, on the device."""

from collections.abc import Sequence

import tensorflow as tf
import tf_keras

from tpuseg.configs import schema

# Mean and standard deviation of ImageNet's training images, RGB in 0..1, as in torchvision and most published weights.
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_DEVIATION = (0.229, 0.224, 0.225)
# The mean that Caffe's networks use, defined in 0..255; pixels are not divided by a standard deviation.
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
    """Returns whether weights with this scaling expect BGR; channels are only reversed if there are three."""
    return scaling in _BGR


class PixelScaling(tf_keras.layers.Layer):
    """Scales uint8 pixels on the device, because a uint8 batch has a quarter of the bytes to transfer."""

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
          scaling: `imagenet` subtracts ImageNet's mean and divides by its standard deviation; `caffe` subtracts the mean in
            0..255 and converts RGB to BGR (Keras Applications' ResNets); `detectron2` does the same with its own mean;
            `research_deeplab` subtracts the mean of its ResNets and keeps RGB; `minus_one_to_one` maps 0..255 to -1..1
            (MobileNet, Xception).
          num_channels: number of channels. If it is not 3, the order of the channels is kept, and only `minus_one_to_one` defines a
            mean and a standard deviation.
          mean: mean of each channel, 0 to 255, which replaces that of the scaling; empty to use that of the scaling.
          stddev: standard deviation of each channel, in the same form.
          name: name of the layer.
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
    def of(cls, settings: schema.InputConfig) -> "PixelScaling":
        """Creates the layer from a model's configuration (`schema.InputConfig`)."""
        return cls(settings.pixel_scaling, settings.num_channels, settings.pixel_mean, settings.pixel_stddev)

    def call(self, images: tf.Tensor) -> tf.Tensor:
        """Returns [B, H, W, C] in the compute type from uint8 (or float 0..255) pixels."""
        pixels = tf.cast(tf.cast(images, tf.float32) * self._factor + self._offset, self.compute_dtype)
        return tf.reverse(pixels, [-1]) if self._is_bgr else pixels
