"""Copy-paste augmentation: objects of one image pasted into another (arXiv:2012.07177, section 3).

Shapes: h w an image, N its objects, S side of a mask.
"""

from typing import NamedTuple

import tensorflow as tf

from tpuseg.maskrcnn.objects import Objects, fit_to_image, objects_within


class Scene(NamedTuple):
    """An image and what is in it.

    Attributes:
      image: [h, w, C] uint8.
      objects: in pixels of the image.
      num_degenerate: scalar int32, boxes without an area that were dropped.
    """

    image: tf.Tensor
    objects: Objects
    num_degenerate: tf.Tensor


def paste(scene: Scene, other: Scene, seed: tf.Tensor) -> Scene:
    """Pastes a random half of the other image's objects in, at the places that they have there.

    What they hide is taken from the masks of the objects below, whose boxes are drawn anew; what is hidden altogether goes.

    Args:
      scene: into which is pasted.
      other: from which, with the same corner.
      seed: [2] int32.
    """
    size = tf.shape(scene.image)[:2]
    limits = tf.cast(tf.minimum(size, tf.shape(other.image)[:2]), tf.float32)
    drawn = tf.random.stateless_uniform(tf.shape(other.objects["classes"]), seed) < 0.5
    chosen = {name: tf.boolean_mask(value, drawn & ~other.objects["is_crowd"]) for name, value in other.objects.items()}
    chosen = objects_within(chosen, limits)
    covered = _drawn(chosen, size)
    below = tf.minimum(size, tf.shape(other.image)[:2])
    room = size - below
    pixels = tf.pad(other.image[: below[0], : below[1]], [[0, room[0]], [0, room[1]], [0, 0]])
    image = tf.where(covered[..., None], pixels, scene.image)
    objects = _hidden(scene.objects, covered, tf.cast(size, tf.float32))
    together = {name: tf.concat([chosen[name], objects[name]], 0) for name in objects}
    return Scene(image, together, scene.num_degenerate + other.num_degenerate)


def _drawn(objects: Objects, size: tf.Tensor) -> tf.Tensor:
    """Returns [h, w] bool: which pixels' centres any of the masks covers by half."""
    rows, columns = ((tf.range(tf.cast(size[axis], tf.float32)) + 0.5) for axis in (0, 1))

    def weights(box: tf.Tensor, axis: int, places: tf.Tensor, cells: int) -> tf.Tensor:
        side = tf.maximum(box[axis + 2] - box[axis], 1e-3)
        position = (places - box[axis]) / side
        # The outermost cells reach to the border of the box, and nothing is beyond it.
        inside = tf.clip_by_value(position * cells - 0.5, 0.0, cells - 1.0)
        matrix = tf.maximum(1.0 - tf.abs(inside[:, None] - tf.range(cells, dtype=tf.float32)), 0.0)
        return matrix * tf.cast((position >= 0) & (position <= 1), tf.float32)[:, None]

    def add(covered: tf.Tensor, thing: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        box, mask = thing
        cells = mask.shape[-1]
        y, x = weights(box, 0, rows, cells), weights(box, 1, columns, cells)
        # A half is exact in an integer mask; the product's rounding must not decide.
        return covered | (y @ tf.cast(mask, tf.float32) @ tf.transpose(x) >= 127.5 - 0.01)

    # One after the other: all of them at once, at the image's size, would take gigabytes.
    return tf.foldl(add, (objects["boxes"], objects["masks"]), initializer=tf.zeros(size, tf.bool))


def _hidden(objects: Objects, covered: tf.Tensor, size: tf.Tensor) -> Objects:
    """Takes the covered pixels from the objects' masks; crowds stay."""
    boxes, masks = objects["boxes"], objects["masks"]
    cells = masks.shape[-1]
    sides = boxes[:, 2:] - boxes[:, :2]
    # From corner to corner, `crop_and_resize` samples evenly: here at the centres of the cells.
    first, last = boxes[:, :2] + 0.5 * sides / cells - 0.5, boxes[:, 2:] - 0.5 * sides / cells - 0.5
    places = tf.concat([first, last], 1) / tf.tile(tf.maximum(size - 1, 1.0), [2])
    hiding = tf.cast(covered, tf.float32)[None, ..., None]
    taken = tf.image.crop_and_resize(hiding, places, tf.zeros(tf.shape(boxes)[:1], tf.int32), [cells, cells])[..., 0]
    taken = tf.where(objects["is_crowd"][:, None, None], 0.0, taken)
    left = tf.cast(tf.round(tf.cast(masks, tf.float32) * (1 - taken)), masks.dtype)
    changed = tf.reduce_any(left != masks, axis=[1, 2])
    return fit_to_image({**objects, "masks": left}, changed, size)
