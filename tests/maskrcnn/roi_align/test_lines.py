"""Items, groups and tiles of ROI align for a TPU, against cases worked by hand."""

import numpy as np
import tensorflow as tf

from tpuseg.maskrcnn import config
from tpuseg.maskrcnn.cells import build_table
from tpuseg.maskrcnn.roi_align import lines
from tpuseg.maskrcnn.roi_align.samples import Pooling


def test_the_examples_in_the_docstrings():
    found = lines.group(tf.constant([[2, 0, 2, 2, 0]]), num_lines=3, parts=1, size=2)
    np.testing.assert_array_equal(found.lines[0, :3], [0, 2, 2])
    np.testing.assert_array_equal(found.items[0, :5], [1, 4, 0, 2, 3])
    np.testing.assert_array_equal(found.keys, [[0, 0, 2, 2, 2, 2, 3, 3]])
    np.testing.assert_array_equal(found.places, [[2, 0, 3, 4, 1]])

    cells = build_table([tf.constant([[[[1.0], [2]], [[4], [8]]]])])
    rois, settings = tf.constant([[[0.0, 0, 8, 8]]]), config.RoiAlignConfig(sampling_ratio=1)
    reader = lines._Lines(cells, rois, [Pooling(1, 1)], settings)
    np.testing.assert_array_equal(reader._interpolation(tf.float32)[:, 0], [[0.25, 0.25]] * 2)
    (pooled,) = lines.roi_align_by_lines(cells, rois, [Pooling(1, 1)], settings)
    assert pooled.shape == (1, 1, 1, 1, 1) and float(tf.squeeze(pooled)) == 0.25 * (1 + 2 + 4 + 8)


def test_items_of_a_line_come_together():
    # Two lines of two parts, groups of two: items 0, 2 and 3 read line 0, items 1 and 4 line 1.
    found = lines.group(tf.constant([[0, 3, 1, 0, 2]]), num_lines=2, parts=2, size=2)
    np.testing.assert_array_equal(found.lines, [[0, 0, 1]])
    np.testing.assert_array_equal(found.keys, [[0, 0, 0, 1, 2, 3]])
    # Item 5 is a filler in the second group of the first line.
    np.testing.assert_array_equal(found.items, [[0, 3, 5, 2, 4, 1]])
    np.testing.assert_array_equal(found.places, [[0, 5, 3, 1, 4]])


def test_a_line_without_items_has_no_group_of_its_own():
    found = lines.group(tf.constant([[4, 4, 4, 4]]), num_lines=3, parts=2, size=2)
    # All items read the last line; the remaining group may read any line.
    np.testing.assert_array_equal(found.lines[0, :2], [2, 2])
    np.testing.assert_array_equal(found.places, [[0, 1, 2, 3]])
    assert found.lines.shape == (1, 3) and int(tf.reduce_max(found.lines)) < 3


def test_a_group_is_filled_with_items_of_its_own_line():
    # Groups of three: one item for the first line and four for the second, which get two fillers each.
    found = lines.group(tf.constant([[1, 0, 1, 1, 1]]), num_lines=2, parts=1, size=3)
    np.testing.assert_array_equal(found.lines, [[0, 1, 1]])
    np.testing.assert_array_equal(found.keys, [[0, 0, 0, 1, 1, 1, 1, 1, 1]])
    assert found.items.numpy()[0].tolist()[::3] == [1, 0, 4]
    np.testing.assert_array_equal(found.places, [[3, 0, 4, 5, 6]])


def share():
    """Two rois of nine bins with four taps a bin: 36 taps a roi, of two tiles each; 100 other items come first."""
    return lines._Share(num_rois=2, num_bins=9, bin_taps=4, first=100)


def test_items_are_numbered_by_roi_tap_and_tile():
    assert share().tiles == 2 and share().size == 2 * 36 * 2
    items = share().items(tf.constant([100, 101, 102, 171, 172, 243]))
    np.testing.assert_array_equal(items.roi, [0, 0, 0, 0, 1, 1])
    np.testing.assert_array_equal(items.tap, [0, 0, 1, 35, 0, 35])
    np.testing.assert_array_equal(items.first_bin, [0, 8, 0, 8, 0, 8])
    np.testing.assert_array_equal(items.num_bins, [9.0] * 6)


def test_the_taps_of_a_bin_belong_to_its_tiles():
    # Items of a bin: four taps of two tiles. The second bin's begin at item 108, the second roi's at item 172.
    tiles = share().tile_of(tf.constant([100, 101, 102, 107, 108, 109, 172]))
    np.testing.assert_array_equal(tiles, [0, 1, 0, 1, 2, 3, 18])


def test_values_are_taken_at_rows():
    found = lines._at(tf.constant([[5.0, 6, 7], [8, 9, 10]]), tf.constant([[2, 0], [1, 1]]))
    np.testing.assert_array_equal(found, [[7, 5], [9, 9]])


def test_an_item_has_eight_rows_of_a_product():
    found = lines._of_rows(tf.reshape(tf.range(64), [1, 64]))
    assert found.shape == (2, 256)
    np.testing.assert_array_equal(found[1, :17], [32] * 8 + [33] * 8 + [34])
