"""Detections from the outputs of the heads (arXiv:1703.06870, section 3.1, "Inference").

Shapes: B images, R rois, K classes, N candidates, D detections.
"""

from typing import NamedTuple

import tensorflow as tf

from tpuseg.layers.scope import with_name_scope
from tpuseg.maskrcnn import caps
from tpuseg.maskrcnn.config import DetectionConfig
from tpuseg.maskrcnn.suppression import suppress
from tpuseg.ops import boxes as box_ops


class Detections(NamedTuple):
    """Detections in the order of decreasing scores.

    Attributes:
      boxes: [B, D, 4] boxes in pixels of the canvas, clipped to the image; padding rows are 0.
      scores: [B, D] float32 probabilities, 0 for padding.
      classes: [B, D] int32 in 0..K-1, -1 for padding.
      valid: [B, D] bool.
    """

    boxes: tf.Tensor
    scores: tf.Tensor
    classes: tf.Tensor
    valid: tf.Tensor


@with_name_scope
def detect(
    rois: tf.Tensor,
    valid: tf.Tensor,
    logits: tf.Tensor,
    deltas: tf.Tensor,
    image_sizes: tf.Tensor,
    config: DetectionConfig,
    box_weights: list[float],
) -> Detections:
    """Selects detections.

    The operations are those of detectron2: the pairs of roi and class above the score threshold are decoded and clipped to the
    image, suppressed within each class (all classes in one call), and the best of all classes are kept. Only the `num_candidates`
    pairs with the highest scores are decoded.

    Args:
      rois: [B, R, 4] boxes in pixels of the canvas.
      valid: [B, R] bool, false for padding rows.
      logits: [B, R, K + 1] class logits; the background is the last class.
      deltas: [B, R, K, 4] encoded boxes for each class.
      image_sizes: [B, 2] height and width of the images on the canvas.
      config: thresholds and counts.
      box_weights: weights of the box encoding.
    """
    num_classes = deltas.shape[2]
    probabilities = tf.nn.softmax(tf.cast(logits, tf.float32))[..., :num_classes]
    probabilities = tf.where(valid[..., None], probabilities, 0.0)
    flat = tf.reshape(probabilities, [-1, rois.shape[1] * num_classes])
    scores, pairs = tf.math.top_k(flat, min(config.num_candidates, flat.shape[1]))
    classes = pairs % num_classes
    anchors = tf.gather(rois, pairs // num_classes, batch_dims=1)
    codes = tf.gather(tf.reshape(deltas, [-1, flat.shape[1], 4]), pairs, batch_dims=1)
    boxes = box_ops.clip(box_ops.decode(codes, anchors, box_weights), image_sizes)
    candidates = (scores > config.score_threshold) & (box_ops.areas(boxes) > 0)
    keep = suppress(boxes, candidates, config.nms_iou, groups=classes)

    num_detections = min(caps.detections(config), keep.shape[1])
    scores, rows = tf.math.top_k(tf.where(keep, scores, 0.0), num_detections)
    found = scores > 0
    return Detections(
        boxes=tf.where(found[..., None], tf.gather(boxes, rows, batch_dims=1), 0.0),
        scores=scores,
        classes=tf.where(found, tf.gather(classes, rows, batch_dims=1), -1),
        valid=found,
    )
