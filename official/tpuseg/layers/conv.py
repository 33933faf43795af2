"""Convolutions with norm and activation, for backbones and heads."""

from typing import Any

import tensorflow as tf
import tf_keras

from tpuseg.configs import schema
from tpuseg.layers.norm import batch_norm
from tpuseg.layers.strided import conv_of_stride_2
from tpuseg.utils import device

# A convolution with fewer input channels than this is applied to the image.
_FEW_CHANNELS = 8


def _he_normal(mode: str) -> tf_keras.initializers.Initializer:
    """Returns a new He initializer (arXiv:1502.01852); the same instance would repeat its values."""
    return tf_keras.initializers.VarianceScaling(2.0, mode=mode, distribution="untruncated_normal")


class Conv2D(tf_keras.layers.Conv2D):
    """A convolution that can also pad symmetrically.

    `same` pads as TensorFlow does: with stride 2 and an even size, more rows at the bottom than at the top. `symmetric` pads both
    sides by rate * (kernel - 1) / 2, as PyTorch and Caffe2 do. The results differ for strided convolutions of an even size.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int,
        strides: int = 1,
        rate: int = 1,
        padding: str = "same",
        use_bias: bool = False,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        self._border = rate * (kernel_size - 1) // 2 if padding == "symmetric" else 0
        kwargs.setdefault("kernel_initializer", _he_normal("fan_out"))
        super().__init__(
            filters,
            kernel_size,
            strides=strides,
            dilation_rate=rate,
            padding="valid" if padding == "symmetric" else padding,
            use_bias=use_bias,
            name=name,
            **kwargs,
        )

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Convolves [B, H, W, C] features."""
        if device.is_tpu() and self._sees_image(inputs):
            return self._call_on_image(inputs)
        if self._border:
            border = (self._border, self._border)
            inputs = tf.pad(inputs, [(0, 0), border, border, (0, 0)])
        return super().call(inputs)

    def _sees_image(self, inputs: tf.Tensor) -> bool:
        strided = tuple(self.strides) == (2, 2) and self.kernel_size[0] > 1 and max(self.dilation_rate) == 1
        return strided and inputs.shape[-1] < _FEW_CHANNELS

    def _call_on_image(self, pixels: tf.Tensor) -> tf.Tensor:
        sizes = [_strided_size(size, self.kernel_size[0], self._border) for size in pixels.shape[1:3]]
        (above, height), (left, width) = sizes
        outputs = conv_of_stride_2(pixels, self.kernel, (above, left), (height, width))
        return self.activation(tf.nn.bias_add(outputs, self.bias) if self.use_bias else outputs)

    def convolution_op(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        """Overrides Keras, which splits the image into small ones for rates above 1; a TPU needs no splitting."""
        if device.is_tpu() and max(self.dilation_rate) > 1:
            return tf.nn.conv2d(inputs, kernel, self.strides, self.padding.upper(), dilations=self.dilation_rate)
        return super().convolution_op(inputs, kernel)


def _strided_size(size: int, kernel_size: int, border: int) -> tuple[int, int]:
    """Returns the padding before the image and the output size at stride 2; TensorFlow's `same` padding if `border` is 0."""
    if border:
        return border, (size + 2 * border - kernel_size) // 2 + 1
    size_out = -(-size // 2)
    return max(2 * (size_out - 1) + kernel_size - size, 0) // 2, size_out


class DepthwiseConv2D(tf_keras.layers.DepthwiseConv2D):
    """Keras' depthwise convolution, with a direct implementation of atrous rates on a TPU."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Convolves [B, H, W, C] features."""
        if not device.is_tpu() or max(self.dilation_rate) == 1:
            return super().call(inputs)
        # `tf.nn.depthwise_conv2d` would split the image into small ones, because CPUs have no gradient of this operation.
        return tf.raw_ops.DepthwiseConv2dNative(
            input=inputs,
            filter=self.depthwise_kernel,
            strides=[1, *self.strides, 1],
            padding=self.padding.upper(),
            dilations=[1, *self.dilation_rate, 1],
        )


class ConvNorm(tf_keras.layers.Layer):
    """Convolution without bias, batch norm, activation; `relu` stands for `norm.activation` of the experiment."""

    def __init__(
        self,
        filters: int,
        kernel_size: int,
        norm: schema.NormConfig,
        name: str,
        *,
        norm_name: str | None = None,
        strides: int = 1,
        rate: int = 1,
        padding: str = "same",
        activation: str | None = "relu",
    ) -> None:
        super().__init__(name=name + "_block")
        self.conv = Conv2D(filters, kernel_size, strides, rate, padding, name=name)
        self.norm = batch_norm(norm, norm_name or name + "_bn")
        self._activation = tf_keras.activations.get(activation)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns [B, H / stride, W / stride, filters]."""
        return self._activation(self.norm(self.conv(inputs), training=training))


class DepthwiseNorm(tf_keras.layers.Layer):
    """Depthwise 3x3 convolution, batch norm, activation (see `ConvNorm`)."""

    def __init__(
        self,
        norm: schema.NormConfig,
        name: str,
        *,
        norm_name: str | None = None,
        strides: int = 1,
        rate: int = 1,
        activation: str | None = "relu",
    ) -> None:
        super().__init__(name=name + "_block")
        self.conv = DepthwiseConv2D(
            3,
            strides=strides,
            dilation_rate=rate,
            padding="same",
            use_bias=False,
            depthwise_initializer=_he_normal("fan_in"),
            name=name,
        )
        self.norm = batch_norm(norm, norm_name or name + "_bn")
        self._activation = tf_keras.activations.get(activation)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns [B, H / stride, W / stride, C]."""
        return self._activation(self.norm(self.conv(inputs), training=training))


class SeparableConvNorm(tf_keras.layers.Layer):
    """Atrous separable convolution (arXiv:1802.02611, section 3.1): depthwise, then pointwise, with a batch norm after each."""

    def __init__(
        self,
        filters: int,
        norm: schema.NormConfig,
        name: str,
        *,
        strides: int = 1,
        rate: int = 1,
        inner_activation: str | None = "relu",
        activation: str | None = "relu",
    ) -> None:
        super().__init__(name=name + "_block")
        self.depthwise = DepthwiseNorm(
            norm, name + "_depthwise", strides=strides, rate=rate, activation=inner_activation
        )
        self.pointwise = ConvNorm(filters, 1, norm, name + "_pointwise", activation=activation)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns [B, H / stride, W / stride, filters]."""
        return self.pointwise(self.depthwise(inputs, training=training), training=training)


def conv_norm_3x3(
    filters: int, norm: schema.NormConfig, name: str, *, separable: bool, rate: int = 1, activation: str = "relu"
) -> tf_keras.layers.Layer:
    """Returns a 3x3 convolution block, separable or plain."""
    if separable:
        return SeparableConvNorm(filters, norm, name, rate=rate, inner_activation=activation, activation=activation)
    return ConvNorm(filters, 3, norm, name, rate=rate, activation=activation)
