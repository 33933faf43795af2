"""Mask R-CNN as a TFLite file: an image of one size and its own size in, objects out."""

from typing import Any

import tensorflow as tf
import tf_keras

from tpuseg.maskrcnn.config import MaskRcnnConfig
from tpuseg.ops import static_graph

_INPUTS = {"image_sizes": {"shape": [1, 2], "type": "float32", "meaning": "height and width of the image in `images`"}}
_OUTPUTS = {
    "boxes": "[1, D, 4] float32 y0 x0 y1 x1 in pixels of `images`",
    "scores": "[1, D] float32, the best first",
    "classes": "[1, D] int32 class ids",
    "num_detections": "[1] int32, how many of the D are objects",
    "masks": "[1, D, S, S] float32 probabilities in the boxes' frames",
}


def check(kind: str) -> None:
    """Raises ValueError for a kind of file that would not find the objects."""
    if kind == "int8":
        raise ValueError(
            "there is no int8 export of maskrcnn: eight bits do not tell the coordinates of boxes apart; use --tflite_type=float16"
        )


def function(model: tf_keras.Model, config: MaskRcnnConfig) -> Any:
    """Returns the concrete function from `images` [1, H, W, C] uint8 and `image_sizes` [1, 2] float32 to the outputs."""
    height, width = config.model.input_size
    image = tf.TensorSpec([1, height, width, config.model.num_channels], tf.uint8, name="images")
    size = tf.TensorSpec([1, 2], tf.float32, name="image_sizes")

    def objects(images: tf.Tensor, sizes: tf.Tensor) -> dict[str, tf.Tensor]:
        found = model(images, sizes, training=False)
        num_detections = tf.reduce_sum(tf.cast(found.pop("valid"), tf.int32), axis=1)
        return {**found, "num_detections": num_detections}

    # As for XLA: with static shapes, and without sparse matrices, of which TFLite has none.
    traced = tf.function(objects, input_signature=[image, size], jit_compile=True)
    return static_graph.freeze(traced.get_concrete_function())


def signature() -> tuple[dict[str, Any], dict[str, str]]:
    """Returns further inputs than `images`, and what every output is."""
    return dict(_INPUTS), dict(_OUTPUTS)
