"""Box masks in a graph: unpacking them from records, and transforming them with their boxes in augmentation.

A box mask is a grid of cells in the frame of its box: it does not change when the image is resized or shifted, and mirroring
reverses its last axis.

Shapes: N objects of an image, S cells along a side of a mask.
"""

import tensorflow as tf

from tpuseg.ops import masks


def unpack(packed: tf.Tensor) -> tf.Tensor:
    """Unpacks the box masks that `masks.pack_frames` has packed.

    Args:
      packed: scalar string, the value in a record.

    Returns:
      [N, masks.FRAME_SIZE, masks.FRAME_SIZE] uint8, 255 where the object covers the whole cell.
    """
    raw = tf.io.decode_compressed(packed, compression_type="ZLIB")
    return tf.reshape(tf.io.decode_raw(raw, tf.uint8), [-1, masks.FRAME_SIZE, masks.FRAME_SIZE])


def crop(frames: tf.Tensor, boxes: tf.Tensor, windows: tf.Tensor) -> tf.Tensor:
    """Crops box masks to parts of their boxes, for boxes that a crop of the image has clipped.

    Args:
      frames: [N, S, S] box masks of any numeric type; those whose window is the whole box are returned unchanged.
      boxes: [N, 4] float32 yxyx boxes in pixels.
      windows: [N, 4] float32 yxyx clipped boxes in the same coordinates, each within its box.

    Returns:
      [N, S, S] box masks of the same type in the frames of the windows, interpolated bilinearly.
    """
    size = frames.shape[-1]
    changed = tf.where(tf.reduce_any(boxes != windows, axis=1))

    def weights(axis: int, boxes: tf.Tensor, windows: tf.Tensor) -> tf.Tensor:
        start, stop = windows[:, axis, None], windows[:, axis + 2, None]
        places = start + (stop - start) * (tf.range(size, dtype=tf.float32) + 0.5) / size
        side = tf.maximum(boxes[:, axis + 2] - boxes[:, axis], 1e-3)[:, None]
        # Between the centre of an outermost cell and the box's border, the value of that cell is used.
        inside = tf.clip_by_value((places - boxes[:, axis, None]) / side * size - 0.5, 0.0, size - 1.0)
        return tf.maximum(1.0 - tf.abs(inside[..., None] - tf.range(size, dtype=tf.float32)), 0.0)

    old, new = tf.gather_nd(boxes, changed), tf.gather_nd(windows, changed)
    values = tf.cast(tf.gather_nd(frames, changed), tf.float32)
    cut = weights(0, old, new) @ values @ tf.transpose(weights(1, old, new), [0, 2, 1])
    if frames.dtype.is_integer:
        cut = tf.round(cut)
    return tf.tensor_scatter_nd_update(frames, changed, tf.cast(cut, frames.dtype))


def extents(frames: tf.Tensor, boxes: tf.Tensor) -> tf.Tensor:
    """Returns the bounding boxes of the masks, up to the size of a cell.

    Args:
      frames: [N, S, S] uint8 box masks; a cell belongs to the object if at least half of it is covered.
      boxes: [N, 4] float32 yxyx boxes of the masks in pixels.

    Returns:
      [N, 4] float32 yxyx boxes in pixels; a box without area for an empty mask.
    """
    size = frames.shape[-1]
    covered = frames >= 128
    cells = tf.range(size)

    def ends(axis: int) -> tuple[tf.Tensor, tf.Tensor]:
        used = tf.reduce_any(covered, axis=2 - axis)
        first = tf.reduce_min(tf.where(used, cells, size), axis=1)
        last = tf.reduce_max(tf.where(used, cells + 1, 0), axis=1)
        side = boxes[:, axis + 2] - boxes[:, axis]

        def place(cell: tf.Tensor) -> tf.Tensor:
            return boxes[:, axis] + side * tf.cast(cell, tf.float32) / size

        return place(tf.minimum(first, last)), place(last)

    (y0, y1), (x0, x1) = ends(0), ends(1)
    return tf.stack([y0, x0, y1, x1], axis=1)
