"""Objects of an image while it is augmented: their boxes and masks change together.

A dictionary of `boxes` [N, 4] float32 yxyx pixels, `classes` [N] int32, `is_crowd` [N] bool and `masks` [N, S, S] uint8 in the
boxes' frames.
"""

import tensorflow as tf

from tpuseg.ops import box_masks
from tpuseg.ops import boxes as box_ops

Objects = dict[str, tf.Tensor]

# What is left of an object at a border has at least this height and width, in pixels.
_SMALLEST_SIDE = 1.0


def objects_within(objects: Objects, size: tf.Tensor) -> Objects:
    """Returns the objects of which an image shows something.

    The box of an object that the image's border cuts off is drawn anew around what is left of its mask.

    Args:
      objects: their boxes may reach out of the image.
      size: [2] float32 height and width of the image.
    """
    boxes, is_crowd = objects["boxes"], objects["is_crowd"]
    clipped = box_ops.clip(boxes, size)
    masks = box_masks.crop(objects["masks"], boxes, clipped)
    is_cut = tf.reduce_any(boxes != clipped, axis=1) & ~is_crowd
    return fit_to_image({**objects, "boxes": clipped, "masks": masks}, is_cut, size)


def fit_to_image(objects: Objects, changed: tf.Tensor, size: tf.Tensor) -> Objects:
    """Draws boxes anew around masks of which something was taken away, and drops what is gone.

    Args:
      objects: within the image.
      changed: [N] bool, of which objects.
      size: [2] float32 height and width of the image.
    """
    boxes = objects["boxes"]
    # Clipped, as a new corner can be rounded to just beyond the border.
    around = tf.where(changed[:, None], box_ops.clip(box_masks.extents(objects["masks"], boxes), size), boxes)
    masks = box_masks.crop(objects["masks"], boxes, around)
    sides = around[:, 2:] - around[:, :2]
    # A whole object may be smaller than a pixel: then the image is, too.
    kept = tf.reduce_all(sides > 0, axis=1) & (~changed | tf.reduce_all(sides >= _SMALLEST_SIDE, axis=1))
    return {name: tf.boolean_mask(value, kept) for name, value in {**objects, "boxes": around, "masks": masks}.items()}
