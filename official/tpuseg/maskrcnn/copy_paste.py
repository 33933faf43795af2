"""Copy-paste augmentation: pasting objects of one image into another (arXiv:2012.07177, section 3).

Shapes: h x w an image, N its objects, S the side of a box mask.
"""

from typing import NamedTuple

import tensorflow as tf

from tpuseg.maskrcnn.objects import ObjectTensors, clip_objects, fit_to_image


class Scene(NamedTuple):
    """An image and its objects.

    Attributes:
      image: [h, w, C] uint8.
      objects: the objects, in pixels of the image.
      num_degenerate: scalar int32, number of boxes without area that were dropped.
    """

    image: tf.Tensor
    objects: ObjectTensors
    num_degenerate: tf.Tensor


def paste(scene: Scene, other: Scene, seed: tf.Tensor, min_visible: float = 0.0) -> Scene:
    """Pastes a random half of the objects of another image into an image, at the same positions.

    The pixels that they cover are removed from the masks of the objects below, and the boxes of these are computed again; objects
    that are completely covered are dropped.

    Args:
      scene: the image into which objects are pasted.
      other: the image whose objects are pasted, aligned at the top-left corner.
      seed: [2] int32.
      min_visible: a pasted object with a smaller part of its mask in the image becomes an ignored region.
    """
    size = tf.shape(scene.image)[:2]
    limits = tf.cast(tf.minimum(size, tf.shape(other.image)[:2]), tf.float32)
    drawn = tf.random.stateless_uniform(tf.shape(other.objects["classes"]), seed) < 0.5
    chosen = {name: tf.boolean_mask(value, drawn & ~other.objects["is_crowd"]) for name, value in other.objects.items()}
    chosen = clip_objects(chosen, limits, min_visible)
    covered = _rasterize(chosen, size)
    below = tf.minimum(size, tf.shape(other.image)[:2])
    room = size - below
    pixels = tf.pad(other.image[: below[0], : below[1]], [[0, room[0]], [0, room[1]], [0, 0]])
    image = tf.where(covered[..., None], pixels, scene.image)
    objects = _remove_covered(scene.objects, covered, tf.cast(size, tf.float32))
    together = {name: tf.concat([chosen[name], objects[name]], 0) for name in objects}
    return Scene(image, together, scene.num_degenerate + other.num_degenerate)


def _rasterize(objects: ObjectTensors, size: tf.Tensor) -> tf.Tensor:
    """Returns [h, w] bool: whether the value of any mask at the centre of a pixel is at least one half."""
    rows, columns = ((tf.range(tf.cast(size[axis], tf.float32)) + 0.5) for axis in (0, 1))

    def weights(box: tf.Tensor, axis: int, places: tf.Tensor, cells: int) -> tf.Tensor:
        side = tf.maximum(box[axis + 2] - box[axis], 1e-3)
        position = (places - box[axis]) / side
        # Between the centre of an outermost cell and the border of the box, the value is that of the cell; outside it is 0.
        inside = tf.clip_by_value(position * cells - 0.5, 0.0, cells - 1.0)
        matrix = tf.maximum(1.0 - tf.abs(inside[:, None] - tf.range(cells, dtype=tf.float32)), 0.0)
        return matrix * tf.cast((position >= 0) & (position <= 1), tf.float32)[:, None]

    def add(covered: tf.Tensor, thing: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        box, mask = thing
        cells = mask.shape[-1]
        y, x = weights(box, 0, rows, cells), weights(box, 1, columns, cells)
        # A mask of integers can be exactly one half; rounding errors of the product must not decide.
        return covered | (y @ tf.cast(mask, tf.float32) @ tf.transpose(x) >= 127.5 - 0.01)

    # The masks are added one by one, because all masks together at the image's size would take gigabytes.
    return tf.foldl(add, (objects["boxes"], objects["masks"]), initializer=tf.zeros(size, tf.bool))


def _remove_covered(objects: ObjectTensors, covered: tf.Tensor, size: tf.Tensor) -> ObjectTensors:
    """Removes the covered pixels from the masks of the objects; ignored regions are unchanged."""
    boxes, masks = objects["boxes"], objects["masks"]
    cells = masks.shape[-1]
    sides = boxes[:, 2:] - boxes[:, :2]
    # `crop_and_resize` samples evenly from corner to corner; these corners place the samples at the centres of the cells.
    first, last = boxes[:, :2] + 0.5 * sides / cells - 0.5, boxes[:, 2:] - 0.5 * sides / cells - 0.5
    places = tf.concat([first, last], 1) / tf.tile(tf.maximum(size - 1, 1.0), [2])
    hiding = tf.cast(covered, tf.float32)[None, ..., None]
    taken = tf.image.crop_and_resize(hiding, places, tf.zeros(tf.shape(boxes)[:1], tf.int32), [cells, cells])[..., 0]
    taken = tf.where(objects["is_crowd"][:, None, None], 0.0, taken)
    left = tf.cast(tf.round(tf.cast(masks, tf.float32) * (1 - taken)), masks.dtype)
    changed = tf.reduce_any(left != masks, axis=[1, 2])
    return fit_to_image({**objects, "masks": left}, changed, size)
