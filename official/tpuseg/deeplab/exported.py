"""Pre- and post-processing of DeepLab in an exported graph, equivalent to `inputs` and `evaluation.miou` on the host.

Shapes: B images, H x W the canvas, h x w the network's output, K classes; height and width are those of the largest image.
"""

import numpy as np
import tensorflow as tf

from tpuseg.deeplab.config import DeepLabConfig, evaluation_canvas
from tpuseg.layers.resize import to_input_positions
from tpuseg.ops import images

# Value in the padding of smaller images of a batch; never a class.
PADDING = 255
# Number of interpolated logits that are computed at once, so that an image of 12 megapixels does not need gigabytes.
_BLOCK = 8_000_000


def finish(outputs: dict[str, tf.Tensor], sizes: tf.Tensor, config: DeepLabConfig) -> dict[str, tf.Tensor]:
    """Computes the outputs of a signature from the outputs of the network.

    Args:
      outputs: the outputs of `Task.validation_step`.
      sizes: [B, 2] int32 height and width of the images.
      config: contains the size of the canvas.

    Returns:
      `classes` [B, height, width] uint8 at the size of the largest image, with `PADDING` next to smaller images, and `sizes`.
    """
    largest = tf.reduce_max(sizes, axis=0)

    def one(pair: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        classes = class_map(pair[0], evaluation_canvas(config), pair[1])
        missing = largest - tf.shape(classes)
        return tf.pad(classes, [(0, missing[0]), (0, missing[1])], constant_values=tf.constant(PADDING, tf.uint8))

    spec = tf.TensorSpec([None, None], tf.uint8)
    return {"classes": tf.map_fn(one, (outputs["logits"], sizes), fn_output_signature=spec, parallel_iterations=1), "sizes": sizes}


def tflite_prediction(outputs: dict[str, np.ndarray], size: tuple[int, int], config: DeepLabConfig) -> np.ndarray:
    """Resizes the classes from a TFLite model to the original size of the image, by nearest neighbour.

    Args:
      outputs: `classes` [1, H, W] uint8.
      size: height and width of the image.
      config: contains the size of the canvas.

    Returns:
      [height, width] uint8.
    """
    placed = images.placed_size(size, evaluation_canvas(config))
    rows, columns = (((np.arange(side) + 0.5) * (on / side)).astype(int) for side, on in zip(size, placed, strict=True))
    return outputs["classes"][0][rows[:, None], columns[None]]


def class_map(logits: tf.Tensor, canvas: tuple[int, int], size: tf.Tensor) -> tf.Tensor:
    """Returns the class of every pixel of an image at its original size, as `evaluation.miou.class_map` does.

    Args:
      logits: [h, w, K] float32.
      canvas: (H, W); the image is in its top-left corner, reduced if it does not fit.
      size: [2] int32 height and width of the image.

    Returns:
      [height, width] uint8.
    """
    height, width, num_classes = logits.shape
    placed = images.placed_size_of(size, canvas)
    rows = _sampling_matrix(size[0], placed[0], height, canvas[0])
    columns = _sampling_matrix(size[1], placed[1], width, canvas[1])
    flat = tf.reshape(logits, [height, width * num_classes])
    step = tf.clip_by_value(_BLOCK // (size[1] * num_classes), 1, size[0])
    num_blocks = -(-size[0] // step)
    blocks = tf.reshape(tf.pad(rows, [(0, num_blocks * step - size[0]), (0, 0)]), [num_blocks, step, height])

    def block(rows: tf.Tensor) -> tf.Tensor:
        values = tf.reshape(rows @ flat, [step, width, num_classes])
        # The matrix of the columns is the same for all rows.
        return tf.cast(tf.argmax(tf.matmul(columns, values), axis=-1, output_type=tf.int32), tf.uint8)

    spec = tf.TensorSpec([None, None], tf.uint8)
    classes = tf.map_fn(block, blocks, fn_output_signature=spec, parallel_iterations=1)
    return tf.reshape(classes, [num_blocks * step, size[1]])[: size[0]]


def _sampling_matrix(size: tf.Tensor, placed: tf.Tensor, size_in: int, size_out: int) -> tf.Tensor:
    """Returns [size, size_in] float32: `layers.resize.sampling_matrix` at the centres of an image's pixels."""
    scale = tf.cast(placed, tf.float64) / tf.cast(size, tf.float64)
    on_canvas = (tf.range(tf.cast(size, tf.float64), dtype=tf.float64) + 0.5) * scale - 0.5
    # The mapping is linear, so two positions define it.
    origin, unit = to_input_positions(np.array([0.0, 1.0]), size_in, size_out)
    positions = tf.clip_by_value(origin + (unit - origin) * on_canvas, 0.0, size_in - 1.0)
    distances = tf.abs(positions[:, None] - tf.range(size_in, dtype=tf.float64))
    return tf.cast(tf.maximum(1.0 - distances, 0.0), tf.float32)
