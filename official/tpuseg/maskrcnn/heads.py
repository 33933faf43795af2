"""The heads of Mask R-CNN on pooled rois (arXiv:1703.06870, figure 4, right; box head of arXiv:1612.03144).

Shapes: B images, R rois, S bins along a side, C filters, K classes without the background.
"""

import tensorflow as tf
import tf_keras

from tpuseg.layers.activations import relu
from tpuseg.layers.conv import Conv2D
from tpuseg.maskrcnn.config import BoxHeadConfig, MaskHeadConfig
from tpuseg.ops.tracing import length


def _he_fan_out() -> tf_keras.initializers.Initializer:
    return tf_keras.initializers.VarianceScaling(2.0, mode="fan_out", distribution="untruncated_normal")


def _normal(deviation: float) -> tf_keras.initializers.Initializer:
    return tf_keras.initializers.RandomNormal(stddev=deviation)


def _convolve(features: tf.Tensor, convs: list[Conv2D]) -> tf.Tensor:
    """Applies convolutions to [B, R, S, S, C] rois."""
    if not convs:
        return features
    batch, _, size, _, filters = features.shape
    flat = tf.reshape(features, [-1, size, size, filters])
    for conv in convs:
        flat = conv(flat)
    return tf.reshape(flat, [-1 if batch is None else batch, length(features), size, size, flat.shape[-1]])


def _convs(num_convs: int, filters: int) -> list[Conv2D]:
    return [
        Conv2D(filters, 3, use_bias=True, activation=relu, name=f"conv{number}", kernel_initializer=_he_fan_out())
        for number in range(1, num_convs + 1)
    ]


class BoxHead(tf_keras.layers.Layer):
    """Classifies rois and predicts a refined box for each class."""

    def __init__(self, config: BoxHeadConfig, num_classes: int) -> None:
        super().__init__(name="box_head")
        self._num_classes = num_classes
        self.convs = _convs(config.num_convs, config.conv_filters)
        self.dense = [
            tf_keras.layers.Dense(
                config.dense_units,
                activation="relu",
                # Caffe2's "Xavier" initializer, as in detectron2's linear layers.
                kernel_initializer=tf_keras.initializers.VarianceScaling(1.0, mode="fan_in", distribution="uniform"),
                name=f"dense{number}",
            )
            for number in range(1, config.num_dense + 1)
        ]
        self.classes = tf_keras.layers.Dense(num_classes + 1, kernel_initializer=_normal(0.01), name="classes")
        self.deltas = tf_keras.layers.Dense(4 * num_classes, kernel_initializer=_normal(0.001), name="deltas")

    def call(self, rois: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Predicts classes and boxes.

        The background is the last class, as in detectron2. (In torchvision it is the first one: row 0 there is row K here, and the
        first four box outputs, those of the background, do not exist here.) Rois are flattened in the order row, column, filter.

        Args:
          rois: [B, R, S, S, C] pooled features.

        Returns:
          Class logits [B, R, K + 1] and encoded boxes [B, R, K, 4], float32.
        """
        features = _convolve(rois, self.convs)
        num_rois = length(rois)
        size = features.shape[2] * features.shape[3] * features.shape[4]
        hidden = tf.reshape(features, [-1, num_rois, size])
        for dense in self.dense:
            hidden = dense(hidden)
        deltas = tf.reshape(self.deltas(hidden), [-1, num_rois, self._num_classes, 4])
        return tf.cast(self.classes(hidden), tf.float32), tf.cast(deltas, tf.float32)


class MaskHead(tf_keras.layers.Layer):
    """Predicts the mask of one given class for every roi.

    The last layer has an output for each class, but only one of them is needed. Its weights are therefore gathered first, and one
    mask instead of K is computed. The 2x2 deconvolution with stride 2 has no overlaps, so it is a 1x1 convolution with four outputs
    per cell. They are only rearranged in the final mask, which has one channel.
    """

    def __init__(self, config: MaskHeadConfig, num_classes: int) -> None:
        super().__init__(name="mask_head")
        self._filters = config.num_filters
        self._num_classes = num_classes
        self.convs = _convs(config.num_convs, config.num_filters)
        self.upsampling = _Weights("upsampling", (2, 2), self._filters, _he_fan_out())
        self.classes = _Weights("classes", (), num_classes, _normal(0.001))

    def call(self, rois: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
        """Predicts masks.

        Args:
          rois: [B, R, S, S, C] pooled features.
          classes: [B, R] int32; for values outside of 0..K-1 the mask is meaningless.

        Returns:
          [B, R, 2 S, 2 S] float32 logits.
        """
        features = _convolve(rois, self.convs)
        size = features.shape[2]
        kernel, bias = self.upsampling(features)
        corners = relu(tf.einsum("brhwc,yxcd->brhwyxd", features, kernel) + bias)
        kernel, bias = self.classes(corners)
        classes = tf.clip_by_value(classes, 0, self._num_classes - 1)
        kernels, biases = tf.gather(tf.transpose(kernel), classes), tf.gather(bias, classes)
        logits = tf.einsum("brhwyxd,brd->brhwyx", corners, kernels)
        logits = tf.cast(logits, tf.float32) + tf.cast(biases, tf.float32)[:, :, None, None, None, None]
        return tf.reshape(tf.transpose(logits, [0, 1, 2, 4, 3, 5]), [-1, length(rois), 2 * size, 2 * size])


class _Weights(tf_keras.layers.Layer):
    """The kernel [*window, C, filters] and bias [filters] of a layer whose product is computed by the caller."""

    def __init__(
        self, name: str, window: tuple[int, ...], filters: int, initializer: tf_keras.initializers.Initializer
    ) -> None:
        super().__init__(name=name)
        self._window = window
        self._filters = filters
        self._initializer = initializer

    def build(self, input_shape: tf.TensorShape) -> None:
        shape = (*self._window, input_shape[-1], self._filters)
        self.kernel = self.add_weight("kernel", shape, initializer=self._initializer)
        self.bias = self.add_weight("bias", (self._filters,), initializer="zeros")
        super().build(input_shape)

    def call(self, inputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns kernel and bias in the dtype of the inputs, which are only used for their number of channels and dtype."""
        return tf.cast(self.kernel, inputs.dtype), tf.cast(self.bias, inputs.dtype)
