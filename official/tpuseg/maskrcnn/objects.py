"""The objects of an image during augmentation, and operations that change their boxes and masks together.

`ObjectTensors` is a dictionary of `boxes` [N, 4] float32 yxyx in pixels, `classes` [N] int32, `is_crowd` [N] bool, and `masks`
[N, S, S] uint8 box masks.
"""

import tensorflow as tf

from tpuseg.ops import box_masks
from tpuseg.ops import boxes as box_ops

ObjectTensors = dict[str, tf.Tensor]

# An object that was clipped or covered is kept if the rest has at least this height and width, in pixels.
_SMALLEST_SIDE = 1.0


def clip_objects(objects: ObjectTensors, size: tf.Tensor, min_visible: float = 0.0) -> ObjectTensors:
    """Clips objects to the image, and drops those that are outside.

    The box of an object that was clipped is computed again from the visible part of its mask.

    Args:
      objects: objects whose boxes may reach beyond the image.
      size: [2] float32 height and width of the image.
      min_visible: an object with a smaller part of its mask in the image becomes an ignored region.
    """
    boxes, is_crowd = objects["boxes"], objects["is_crowd"]
    clipped = box_ops.clip(boxes, size)
    masks = box_masks.crop(objects["masks"], boxes, clipped)
    is_cut = tf.reduce_any(boxes != clipped, axis=1) & ~is_crowd
    result = {**objects, "boxes": clipped, "masks": masks}
    if min_visible > 0:
        before, after = _mask_areas(objects["masks"], boxes), _mask_areas(masks, clipped)
        result["is_crowd"] = is_crowd | (is_cut & (after < min_visible * before))
    return fit_to_image(result, is_cut, size)


def _mask_areas(masks: tf.Tensor, boxes: tf.Tensor) -> tf.Tensor:
    """Returns the areas that box masks cover, [N] float32 square pixels."""
    return tf.reduce_mean(tf.cast(masks, tf.float32), [1, 2]) / 255 * box_ops.areas(boxes)


def fit_to_image(objects: ObjectTensors, changed: tf.Tensor, size: tf.Tensor) -> ObjectTensors:
    """Computes the boxes of changed masks again, and drops objects with an empty mask.

    Args:
      objects: objects whose boxes are within the image.
      changed: [N] bool, whose mask was changed.
      size: [2] float32 height and width of the image.
    """
    boxes = objects["boxes"]
    # The boxes are clipped because a new corner can be rounded to a position just outside of the image.
    around = tf.where(changed[:, None], box_ops.clip(box_masks.extents(objects["masks"], boxes), size), boxes)
    masks = box_masks.crop(objects["masks"], boxes, around)
    sides = around[:, 2:] - around[:, :2]
    # An unchanged object is kept even if it is smaller than a pixel.
    kept = tf.reduce_all(sides > 0, axis=1) & (~changed | tf.reduce_all(sides >= _SMALLEST_SIDE, axis=1))
    return {name: tf.boolean_mask(value, kept) for name, value in {**objects, "boxes": around, "masks": masks}.items()}
