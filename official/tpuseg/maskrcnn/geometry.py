"""Geometric augmentation of images with their objects: mirroring, flipping and rotation.

Positive angles are counterclockwise in the displayed image. Boxes are yxyx in pixels, masks are box masks.

Shapes: h x w an image, N its objects, S the side of a box mask.
"""

import math

import tensorflow as tf

from tpuseg.maskrcnn.objects import ObjectTensors, fit_to_image
from tpuseg.ops import boxes as box_ops
from tpuseg.ops import images


def mirror(image: tf.Tensor, objects: ObjectTensors) -> tuple[tf.Tensor, ObjectTensors]:
    """Mirrors an image and its objects left to right."""
    boxes = box_ops.mirror(objects["boxes"], tf.shape(image)[1])
    return tf.reverse(image, [1]), {**objects, "boxes": boxes, "masks": tf.reverse(objects["masks"], [2])}


def flip(image: tf.Tensor, objects: ObjectTensors) -> tuple[tf.Tensor, ObjectTensors]:
    """Mirrors an image and its objects top to bottom."""
    height = tf.cast(tf.shape(image)[0], tf.float32)
    y0, x0, y1, x1 = tf.unstack(objects["boxes"], axis=-1)
    boxes = tf.stack([height - y1, x0, height - y0, x1], axis=-1)
    return tf.reverse(image, [0]), {**objects, "boxes": boxes, "masks": tf.reverse(objects["masks"], [1])}


def rotate_size(size: tf.Tensor, turns: tf.Tensor) -> tf.Tensor:
    """Returns the height and width of an image after a rotation by right angles, [2] int32.

    Args:
      size: [2] int32 height and width before the rotation.
      turns: scalar int32, number of counterclockwise rotations by 90 degrees, 0 to 3.
    """
    return tf.where(turns % 2 == 1, size[::-1], size)


def rotate_boxes(boxes: tf.Tensor, size: tf.Tensor, turns: tf.Tensor) -> tf.Tensor:
    """Rotates boxes with their image by right angles.

         one turn:   +-----w-----+        +--h--+      (y, x) becomes (w - x, y)
                     | a         |        |     |
                     h           |   ->   w     |
                     |           |        | a   |
                     +-----------+        +-----+

    Args:
      boxes: [..., 4] boxes of any numeric type.
      size: [2] int32 height and width of the image before the rotation.
      turns: scalar int32, number of counterclockwise rotations by 90 degrees, 0 to 3.

    Returns:
      [..., 4] boxes of the same type.
    """
    height, width = tf.unstack(tf.cast(size, boxes.dtype))
    y0, x0, y1, x1 = tf.unstack(boxes, axis=-1)
    forms = [
        (y0, x0, y1, x1),
        (width - x1, y0, width - x0, y1),
        (height - y1, width - x1, height - y0, width - x0),
        (x0, height - y1, x1, height - y0),
    ]
    return tf.gather(tf.stack([tf.stack(form, axis=-1) for form in forms]), turns)


def rotate_window_back(window: dict[str, tf.Tensor], size: tf.Tensor, turns: tf.Tensor) -> dict[str, tf.Tensor]:
    """Converts a window of a rotated image to the window of the original image that has the same pixels.

    Args:
      window: a window from `images.draw_window` in the rotated image.
      size: [2] int32 height and width of the original image.
      turns: scalar int32, number of counterclockwise rotations by 90 degrees, 0 to 3.

    Returns:
      `offset` and `extent` in the original image, [2] int32.
    """
    corners = tf.concat([window["offset"], window["offset"] + window["extent"]], 0)
    back = rotate_boxes(corners, rotate_size(size, turns), (4 - turns) % 4)
    return {"offset": back[:2], "extent": back[2:] - back[:2]}


def rotate_masks(masks: tf.Tensor, turns: tf.Tensor) -> tf.Tensor:
    """Rotates box masks, [N, S, S], by right angles."""
    return tf.ensure_shape(tf.image.rot90(masks[..., tf.newaxis], turns)[..., 0], masks.shape)


def rotate(image: tf.Tensor, objects: ObjectTensors, degrees: tf.Tensor) -> tuple[tf.Tensor, ObjectTensors]:
    """Rotates an image and its objects around the centre; the size is unchanged, and empty corners become mid-grey.

    Boxes are computed again from the rotated masks, up to the size of a cell. Boxes of ignored regions are the bounding boxes of
    their rotated corners.

    Args:
      image: [h, w, C] uint8.
      objects: objects within the image.
      degrees: scalar float32 angle, counterclockwise.
    """
    angle = degrees * (math.pi / 180)
    cos, sin = tf.cos(angle), tf.sin(angle)
    size = tf.cast(tf.shape(image)[:2], tf.float32)
    center_y, center_x = tf.unstack(size / 2)

    def back(x: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the position in the original image for a position in the rotated image."""
        x, y = x - center_x, y - center_y
        return center_x + cos * x - sin * y, center_y + sin * x + cos * y

    # Pixels have their centres at half coordinates.
    x, y = back(tf.constant(0.5), tf.constant(0.5))
    matrix = tf.stack([cos, -sin, x - 0.5, sin, cos, y - 0.5, 0.0, 0.0])[tf.newaxis]
    rotated = _transform(tf.cast(image, tf.float32)[tf.newaxis], matrix, tf.shape(image)[:2], images.PAD_VALUE)[0]

    before = objects["boxes"]
    after = box_ops.clip(_around_corners(before, center_x, center_y, cos, sin), size)
    side = objects["masks"].shape[-1]
    old, new = (tf.maximum(box[:, 2:] - box[:, :2], 1e-3) for box in (before, after))
    # The transformation from cells of the new box mask to cells of the old one.
    x, y = back(after[:, 1] + 0.5 * new[:, 1] / side, after[:, 0] + 0.5 * new[:, 0] / side)
    matrices = tf.stack(
        [
            cos * new[:, 1] / old[:, 1],
            -sin * new[:, 0] / old[:, 1],
            (x - before[:, 1]) * side / old[:, 1] - 0.5,
            sin * new[:, 1] / old[:, 0],
            cos * new[:, 0] / old[:, 0],
            (y - before[:, 0]) * side / old[:, 0] - 0.5,
            tf.zeros_like(x),
            tf.zeros_like(x),
        ],
        axis=1,
    )
    masks = _transform(tf.cast(objects["masks"], tf.float32)[..., tf.newaxis], matrices, tf.constant([side, side]), 0)[..., 0]
    rotated_objects = {**objects, "boxes": after, "masks": tf.ensure_shape(masks, objects["masks"].shape)}
    return tf.ensure_shape(rotated, image.shape), fit_to_image(rotated_objects, ~objects["is_crowd"], size)


def _around_corners(boxes: tf.Tensor, center_x: tf.Tensor, center_y: tf.Tensor, cos: tf.Tensor, sin: tf.Tensor) -> tf.Tensor:
    """Returns the bounding boxes of the rotated corners of boxes, [N, 4]."""
    x = tf.gather(boxes, [1, 3, 1, 3], axis=1) - center_x
    y = tf.gather(boxes, [0, 0, 2, 2], axis=1) - center_y
    new_x, new_y = center_x + cos * x + sin * y, center_y - sin * x + cos * y
    corners = [tf.reduce_min(new_y, 1), tf.reduce_min(new_x, 1), tf.reduce_max(new_y, 1), tf.reduce_max(new_x, 1)]
    return tf.stack(corners, axis=1)


def _transform(pixels: tf.Tensor, matrices: tf.Tensor, size: tf.Tensor, fill: float) -> tf.Tensor:
    """Transforms images by matrices with bilinear interpolation, [N, h, w, C] uint8; see `ImageProjectiveTransformV3`."""
    values = tf.raw_ops.ImageProjectiveTransformV3(
        images=pixels,
        transforms=matrices,
        output_shape=size,
        fill_value=float(fill),
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )
    return tf.saturate_cast(tf.round(values), tf.uint8)
