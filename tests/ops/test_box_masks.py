"""Masks in their boxes' frames, in a graph."""

import numpy as np
import tensorflow as tf

from tpuseg.ops import box_masks, masks


def test_packing():
    given = np.random.default_rng(0).integers(0, 256, (3, 56, 56)).astype(np.uint8)
    np.testing.assert_array_equal(box_masks.unpack(tf.constant(masks.pack_frames(list(given)))), given)
    assert box_masks.unpack(tf.constant(masks.pack_frames([]))).shape == (0, 56, 56)


def test_crop():
    ramp = np.tile(np.arange(56, dtype=np.uint8) * 4, (56, 1))
    given = tf.constant(np.stack([ramp, ramp, ramp.T]))
    boxes = tf.constant([[0, 0, 56, 56]] * 3, tf.float32)
    windows = tf.constant([[0, 0, 56, 56], [0, 28, 56, 56], [14, 0, 42, 56]], tf.float32)
    cut = box_masks.crop(given, boxes, windows).numpy()
    np.testing.assert_array_equal(cut[0], ramp)
    # The right half: cells of half a pixel, whose centres lie a quarter beside the old ones; the last has no neighbour.
    assert cut[1, 3, :4].tolist() == [111, 113, 115, 117] and cut[1, 3, -1] == 220
    assert cut[2, :4, 3].tolist() == [55, 57, 59, 61]
