"""Geometry of boxes: overlap, clipping and the encoding that networks predict.

Boxes are [..., 4] float32, (y0, x0, y1, x1) in pixels. Pixels are areas: the box of the first pixel is (0, 0, 1, 1), so the
width is x1 - x0. Coordinates are never rounded.
"""

import math

import tensorflow as tf

# Limit of the predicted log ratio of the sides of box and anchor: exp of an extreme prediction would overflow.
MAX_LOG_SCALE = math.log(1000 / 16)


def areas(boxes: tf.Tensor) -> tf.Tensor:
    """Returns the areas in square pixels, [...]; 0 for a box whose corners are in the wrong order."""
    sides = tf.maximum(boxes[..., 2:] - boxes[..., :2], 0.0)
    return sides[..., 0] * sides[..., 1]


def intersections(boxes: tf.Tensor, others: tf.Tensor) -> tf.Tensor:
    """Returns the area of the intersection of every pair.

    Args:
      boxes: [..., N, 4].
      others: [..., M, 4].

    Returns:
      [..., N, M] square pixels.
    """
    y0, x0, y1, x1 = tf.unstack(boxes[..., :, None, :], axis=-1)
    other_y0, other_x0, other_y1, other_x1 = tf.unstack(others[..., None, :, :], axis=-1)
    height = tf.maximum(tf.minimum(y1, other_y1) - tf.maximum(y0, other_y0), 0.0)
    width = tf.maximum(tf.minimum(x1, other_x1) - tf.maximum(x0, other_x0), 0.0)
    return height * width


def iou(boxes: tf.Tensor, others: tf.Tensor) -> tf.Tensor:
    """Returns the intersection over union of every pair.

    Args:
      boxes: [..., N, 4].
      others: [..., M, 4].

    Returns:
      [..., N, M] in 0..1; 0 where both boxes are empty.
    """
    shared = intersections(boxes, others)
    return tf.math.divide_no_nan(shared, areas(boxes)[..., :, None] + areas(others)[..., None, :] - shared)


def coverage(boxes: tf.Tensor, regions: tf.Tensor) -> tf.Tensor:
    """Returns the fraction of each box that a region covers, which is COCO's overlap with an ignored region.

    Args:
      boxes: [..., N, 4].
      regions: [..., M, 4].

    Returns:
      [..., N, M] in 0..1; 0 for an empty box.
    """
    return tf.math.divide_no_nan(intersections(boxes, regions), areas(boxes)[..., :, None])


def clip(boxes: tf.Tensor, sizes: tf.Tensor) -> tf.Tensor:
    """Clips boxes to the image.

    Args:
      boxes: [..., N, 4].
      sizes: [..., 2] height and width of the image in pixels.

    Returns:
      [..., N, 4] with y in 0..height and x in 0..width.
    """
    limits = tf.tile(tf.cast(sizes, boxes.dtype)[..., None, :], [1] * (sizes.shape.rank - 1) + [1, 2])
    return tf.clip_by_value(boxes, 0.0, limits)


def mirror(boxes: tf.Tensor, width: tf.Tensor | float) -> tf.Tensor:
    """Mirrors boxes left to right, like their image.

    Args:
      boxes: [..., N, 4].
      width: width of the image in pixels.

    Returns:
      [..., N, 4]. Padding rows are changed too.
    """
    y0, x0, y1, x1 = tf.unstack(boxes, axis=-1)
    width = tf.cast(width, boxes.dtype)
    return tf.stack([y0, width - x1, y1, width - x0], axis=-1)


def _centres_and_sides(boxes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    sides = boxes[..., 2:] - boxes[..., :2]
    return boxes[..., :2] + 0.5 * sides, sides


def encode(boxes: tf.Tensor, anchors: tf.Tensor, weights: tuple[float, ...] | list[float]) -> tf.Tensor:
    """Expresses boxes relative to anchors (R-CNN, arXiv:1311.2524, appendix C).

    (dy, dx) is the distance between the centres, divided by the height and width of the anchor, and (dh, dw) is the logarithm of
    the ratio of the sides; each is multiplied by its weight. PyTorch's implementations use the order (dx, dy, dw, dh).

    Args:
      boxes: [..., 4].
      anchors: [..., 4], broadcast against the boxes.
      weights: the four weights of dy, dx, dh, dw.

    Returns:
      [..., 4] (dy, dx, dh, dw). The values for empty boxes or anchors are finite but meaningless.
    """
    centres, sides = _centres_and_sides(boxes)
    anchor_centres, anchor_sides = _centres_and_sides(anchors)
    # Padding rows are empty. Without this limit their logarithm would be NaN, and a gradient with NaN stays NaN even if it is
    # multiplied by a mask of zeros.
    sides, anchor_sides = tf.maximum(sides, 1e-3), tf.maximum(anchor_sides, 1e-3)
    deltas = tf.concat([(centres - anchor_centres) / anchor_sides, tf.math.log(sides / anchor_sides)], axis=-1)
    return deltas * tf.constant(list(weights), tf.float32)


def decode(deltas: tf.Tensor, anchors: tf.Tensor, weights: tuple[float, ...] | list[float]) -> tf.Tensor:
    """Computes the boxes that `encode` has encoded; (dh, dw) are limited to `MAX_LOG_SCALE`.

    Args:
      deltas: [..., 4] (dy, dx, dh, dw).
      anchors: [..., 4], broadcast against the deltas.
      weights: the four weights of dy, dx, dh, dw.

    Returns:
      [..., 4] boxes, not clipped.
    """
    deltas = tf.cast(deltas, tf.float32) / tf.constant(list(weights), tf.float32)
    anchor_centres, anchor_sides = _centres_and_sides(anchors)
    centres = deltas[..., :2] * anchor_sides + anchor_centres
    half = 0.5 * tf.exp(tf.minimum(deltas[..., 2:], MAX_LOG_SCALE)) * anchor_sides
    return tf.concat([centres - half, centres + half], axis=-1)
