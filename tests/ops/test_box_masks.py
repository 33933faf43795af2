"""Masks in their boxes' frames, in a graph."""

import numpy as np
import pytest
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


# 4 x 4 cells with the value 40 y + 10 x, in a box of 8 x 4 pixels: a cell is 2 pixels high and 1 pixel wide.
CELLS = 40.0 * np.arange(4)[:, None] + 10.0 * np.arange(4)
BOX = [10, 20, 18, 24]


@pytest.mark.parametrize(
    ("box", "window", "places"),
    [
        # The middle: new cells are half as large, and their centres are at these places in the old ones, along both axes.
        (BOX, [12, 21, 16, 23], [0.75, 1.25, 1.75, 2.25]),
        # The upper left quarter: the first centre lies before that of the first old cell, whose value is used.
        (BOX, [10, 20, 14, 22], [0.0, 0.25, 0.75, 1.25]),
        # The same of a box that is smaller than a pixel.
        ([10, 20, 10.5, 20.25], [10, 20, 10.25, 20.125], [0.0, 0.25, 0.75, 1.25]),
    ],
)
def test_crop_by_hand(box, window, places):
    cut = box_masks.crop(*(tf.constant([values], tf.float32) for values in (CELLS, box, window)))
    np.testing.assert_allclose(cut[0], 40 * np.array(places)[:, None] + 10 * np.array(places), atol=1e-3)


def test_extents():
    part = np.full((4, 4), 127, np.uint8)
    empty = part.copy()
    part[1, 2], part[2, 3] = 128, 255
    full = np.full((4, 4), 255, np.uint8)
    found = box_masks.extents(tf.constant(np.stack([part, empty, full])), tf.constant([BOX] * 3, tf.float32))
    # Rows 1 and 2 of 2 pixels, columns 2 and 3 of 1 pixel; nothing; the box.
    assert found.numpy().tolist() == [[12, 22, 16, 24], [10, 20, 10, 20], BOX]
