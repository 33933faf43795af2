"""Pre- and post-processing of Mask R-CNN in an exported graph, equivalent to `inputs`, `prediction` and `masks.paste` on the host.

Shapes: B images, D detections (the maximum per image), N the largest number of detections in the batch, S the side of a box mask.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from tpuseg.maskrcnn import prediction as predictions
from tpuseg.ops import boxes as box_ops
from tpuseg.ops import masks as run_lengths

# Outputs with one value per object and pixel.
LARGE_OUTPUTS = ("pasted",)
# A pixel belongs to the object if its probability is at least this.
_THRESHOLD = 0.5


def finish(outputs: dict[str, tf.Tensor], sizes: tf.Tensor) -> dict[str, tf.Tensor]:
    """Computes the outputs of a signature from the outputs of the network.

    Args:
      outputs: the outputs of `Task.validation_step`.
      sizes: [B, 2] int32 height and width of the images.

    Returns:
      `boxes` [B, N, 4] float32 yxyx boxes in pixels of the images, `scores` [B, N] (0 for padding), `classes` [B, N] int32 (-1 for
      padding), `num_detections` [B] int32, `masks` [B, N, S, S] float32 box masks, `pasted` [B, N, height, width] uint8 masks at
      the size of the largest image, 1 on the object, and `sizes`.
    """
    # Detections are sorted by score, so the valid ones come first.
    num_detections = tf.reduce_sum(tf.cast(outputs["valid"], tf.int32), axis=1)
    most = tf.reduce_max(num_detections)
    boxes, scores, classes, masks = (outputs[name][:, :most] for name in ("boxes", "scores", "classes", "masks"))
    factors = tf.cast(sizes, tf.float32) / tf.cast(outputs["image_size"], tf.float32)
    boxes = box_ops.clip(boxes * tf.tile(factors, [1, 2])[:, None], sizes)
    return {
        "boxes": boxes,
        "scores": scores,
        "classes": classes,
        "num_detections": num_detections,
        "masks": masks,
        "pasted": paste(masks, boxes, tf.reduce_max(sizes, axis=0)),
        "sizes": sizes,
    }


@dataclasses.dataclass(frozen=True, repr=False)
class PastedObjects(predictions.Objects):
    """Objects whose masks were pasted in the graph.

    Attributes:
      pasted: [D, h, w] uint8, 1 on the object.
    """

    pasted: np.ndarray

    def runs(self) -> list[run_lengths.RunLengths]:
        """Returns the run lengths of `pasted`."""
        return [run_lengths.encode(mask) for mask in self.pasted]


def prediction(outputs: dict[str, np.ndarray]) -> PastedObjects:
    """Returns the prediction for one image in the form of `Predictions.finish`.

    Args:
      outputs: the outputs of a signature with `pasted`, for one image without the batch axis.
    """
    height, width = outputs["sizes"].tolist()
    names = ("boxes", "scores", "classes", "masks", "pasted")
    found = {name: outputs[name][: int(outputs["num_detections"])] for name in names}
    return PastedObjects(size=(height, width), **found)


def tflite_prediction(
    outputs: dict[str, np.ndarray], inputs: dict[str, tf.Tensor], size: tuple[int, int]
) -> predictions.Objects:
    """Returns the prediction for one image at its original size from the outputs of a TFLite model.

    Args:
      outputs: `boxes`, `scores`, `classes`, `masks` and `num_detections`, for a batch of one image.
      inputs: the inputs, of which `image_sizes` [2] is used, the size of the image on the canvas.
      size: height and width of the original image.
    """
    valid = np.arange(outputs["scores"].shape[1])[None] < outputs["num_detections"][:, None]
    return predictions.scale_to_image({**outputs, "valid": valid, "image_size": inputs["image_sizes"].numpy()[None]}, 0, size)


def paste(masks: tf.Tensor, boxes: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Pastes box masks into the image, as `tpuseg.ops.masks.paste` does on the host.

    Args:
      masks: [B, N, S, S] probabilities.
      boxes: [B, N, 4] yxyx boxes in pixels, clipped to the image; the mask of an empty box is 0.
      size: [2] int32 height and width of the image.

    Returns:
      [B, N, height, width] uint8.
    """
    side = masks.shape[-1]
    flat_masks, flat_boxes = tf.reshape(masks, [-1, side, side]), tf.reshape(boxes, [-1, 4])

    def one(pair: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        mask, box = pair
        # Only the pixels whose centres are in the box are computed: outside the interpolated mask is below one half.
        first = tf.clip_by_value(tf.cast(tf.math.ceil(box[:2] - 0.5), tf.int32), 0, size)
        stop = tf.clip_by_value(tf.cast(tf.floor(box[2:] - 0.5), tf.int32) + 1, first, size)
        rows, columns = (_sampling_matrix(first[axis], stop[axis], box[axis], box[axis + 2], side) for axis in (0, 1))
        drawn = tf.cast(tf.matmul(rows @ mask, columns, transpose_b=True) >= _THRESHOLD, tf.uint8)
        return tf.pad(drawn, [(first[axis], size[axis] - stop[axis]) for axis in (0, 1)])

    # An empty box is appended, because `map_fn` cannot stack zero results of unknown size.
    rows = (tf.pad(flat_masks, [(0, 1), (0, 0), (0, 0)]), tf.pad(flat_boxes, [(0, 1), (0, 0)]))
    drawn = tf.map_fn(one, rows, fn_output_signature=tf.TensorSpec([None, None], tf.uint8))[:-1]
    return tf.reshape(drawn, tf.concat([tf.shape(boxes)[:2], size], 0))


def _sampling_matrix(first: tf.Tensor, stop: tf.Tensor, low: tf.Tensor, high: tf.Tensor, side: int) -> tf.Tensor:
    """Returns the interpolation of a zero-padded mask at the pixels of one axis of a box, [stop - first, side] float32."""
    centres = tf.range(tf.cast(first, tf.float32), tf.cast(stop, tf.float32)) + 0.5
    places = tf.math.divide_no_nan(centres - low, high - low) * side - 0.5
    distances = tf.abs(places[:, None] - tf.range(side, dtype=tf.float32))
    return tf.maximum(1.0 - distances, 0.0)
