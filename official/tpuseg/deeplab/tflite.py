"""Export of DeepLab to TFLite: from an image of fixed size to the class of every pixel."""

from typing import Any

import tensorflow as tf
import tf_keras

from tpuseg.deeplab.class_scores import class_scores
from tpuseg.deeplab.config import DeepLabConfig, ExperimentConfig, evaluation_canvas


def check(config: ExperimentConfig) -> None:
    """Raises ValueError if TFLite does not support the experiment's evaluation."""
    evaluation = config.task.evaluation
    if list(evaluation.scales) != [1.0] or evaluation.flip:
        raise ValueError(
            "the run averages several scales or mirrored images (task.evaluation.scales, .flip), which TFLite does not support;"
            " use --format=saved_model"
        )


def function(model: tf_keras.Model, config: DeepLabConfig, kind: str) -> Any:
    """Returns the concrete function from `images` [1, H, W, C] to `classes` [1, H, W] uint8.

    Args:
      model: The trained network.
      config: Contains the size of the canvas.
      kind: For `int8` the images are float32, because the converter can only quantize inputs of floats; otherwise uint8.
    """
    height, width = evaluation_canvas(config)
    dtype = tf.float32 if kind == "int8" else tf.uint8
    spec = tf.TensorSpec([1, height, width, config.model.num_channels], dtype, name="images")

    def classes(images: tf.Tensor) -> dict[str, tf.Tensor]:
        logits = class_scores(model, images, config.evaluation)
        return {"classes": tf.cast(tf.argmax(_enlarge(logits, height, width), axis=-1, output_type=tf.int32), tf.uint8)}

    return tf.function(classes, input_signature=[spec]).get_concrete_function()


def _enlarge(logits: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """Resizes [1, h, w, K] to [1, H, W, K] like `layers.resize.bilinear_resize`, with an operation that TFLite supports."""
    (rows, columns), pairs = logits.shape[1:3], []
    for size_in, size_out in ((rows, height), (columns, width)):
        pairs.append(size_in > 1 and size_out % 2 == 1 and (size_out - 1) % (size_in - 1) == 0)
    if pairs[0] != pairs[1]:
        raise ValueError(
            f"TFLite cannot resize the logits to the network's input {height}x{width}: the sides need the same alignment; choose"
            " task.evaluation.input_size with both sides even, or both a multiple of 4 plus 1"
        )
    return tf.raw_ops.ResizeBilinear(
        images=logits, size=tf.constant([height, width]), align_corners=pairs[0], half_pixel_centers=not pairs[0]
    )


def signature(config: DeepLabConfig) -> tuple[dict[str, Any], dict[str, str]]:
    """Returns the inputs other than `images` (none), and a description of every output."""
    height, width = evaluation_canvas(config)
    return {}, {"classes": f"[1, {height}, {width}] uint8 class id of each pixel"}
