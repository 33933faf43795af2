"""Where ROI align samples, against cases worked by hand."""

import numpy as np
import pytest
import tensorflow as tf

from tpuseg.maskrcnn import config
from tpuseg.maskrcnn.cells import build_table
from tpuseg.maskrcnn.roi_align import samples
from tpuseg.maskrcnn.roi_align.samples import Axis


def cells_of(num_levels=5):
    """A pyramid whose levels are 8, 16 ... cells high and 4, 8 ... wide; the finest is P2."""
    sizes = [2 ** (num_levels - level) for level in range(num_levels)]
    return build_table([tf.zeros([1, 4 * size, 2 * size, 1]) for size in sizes])


def settings(**values):
    return config.RoiAlignConfig(values)


@pytest.mark.parametrize(
    "side, level", [(1, 2), (111.9, 2), (112, 3), (223.9, 3), (224, 4), (447.9, 4), (448, 5), (900, 5), (5000, 5), (0, 2)]
)
def test_rois_are_assigned_to_levels_by_their_size(side, level):
    # arXiv:1612.03144, equation 1: 224 pixels go to level 4, each octave is one level.
    rois = tf.constant([[[0.0, 0, side, side], [10.0, 5, 10 + side / 2, 5 + 2 * side]]])
    np.testing.assert_array_equal(samples.assign_levels(rois, cells_of()), [[level, level]])


@pytest.mark.parametrize(("num_levels", "coarsest"), [(1, 2), (2, 3), (4, 5), (5, 5)])
def test_a_pyramid_with_fewer_levels_has_its_own_coarsest(num_levels, coarsest):
    assert samples.coarsest_level(cells_of(num_levels)) == coarsest
    np.testing.assert_array_equal(samples.assign_levels(tf.constant([[[0.0, 0, 900, 900]]]), cells_of(num_levels)), [[coarsest]])


def test_axes_are_in_cells_of_the_rois_level():
    # The finest level of two has 16 x 8 cells of 4 pixels, the next one 8 x 4 of 8 pixels.
    rois, level = tf.constant([[[8.0, 4, 24, 12], [8.0, 4, 24, 12]]]), tf.constant([[2, 3]])
    y, x = samples.axes(cells_of(2), rois, level, settings())
    # Aligned: the centre of the first cell, half a cell from the border, is place 0.
    np.testing.assert_allclose(y.start, [[1.5, 0.5]])
    np.testing.assert_allclose(y.side, [[4, 2]])
    np.testing.assert_array_equal(y.extent, [[16, 8]])
    np.testing.assert_allclose(x.start, [[0.5, 0]])
    np.testing.assert_allclose(x.side, [[2, 1]])
    np.testing.assert_array_equal(x.extent, [[8, 4]])


def test_axes_that_are_not_aligned_start_at_the_border_and_are_at_least_a_cell_long():
    rois, level = tf.constant([[[8.0, 4, 24, 6]]]), tf.constant([[2]])
    y, x = samples.axes(cells_of(2), rois, level, settings(aligned=False))
    assert (float(y.start), float(y.side), float(x.start), float(x.side)) == (2, 4, 1, 1)
    _, x = samples.axes(cells_of(2), rois, level, settings())
    assert float(x.side) == 0.5


def axis(start, side, extent):
    return Axis(tf.constant(start), tf.constant(side), tf.constant(extent))


def test_the_example_in_the_docstring():
    positions, shares = samples.sample_positions(axis(0.5, 4.0, 6), np.arange(2), 1, settings(sampling_ratio=2))
    assert positions.numpy().tolist() == [1.5, 3.5] and shares.numpy().tolist() == [0.5, 0.5]
    rows, weights = samples.compute_taps(axis(0.5, 4.0, 6), np.arange(4), 1, settings(sampling_ratio=2))
    assert rows.numpy().tolist() == [1, 2, 3, 4] and weights.numpy().tolist() == [0.25] * 4


def test_samples_are_evenly_spaced():
    # Two bins of two samples on a roi of 8 cells that starts at position 1: at 1/8, 3/8, 5/8 and 7/8 of it.
    positions, shares = samples.sample_positions(axis(1.0, 8.0, 20), np.arange(4), 2, settings(sampling_ratio=2))
    np.testing.assert_allclose(positions, [2, 4, 6, 8])
    np.testing.assert_allclose(shares, [0.5] * 4)


def test_samples_within_one_cell_of_the_border_have_its_value_and_others_are_0():
    # One sample per bin, at positions -2, -1, -0.5 ... of a feature map of 3 cells, whose centres are at 0, 1 and 2.
    starts = [-2.0, -1.0, -0.5, 0.0, 2.0, 2.5, 3.0, 3.5]
    several = Axis(tf.constant(starts), tf.zeros(8), tf.fill([8], 3))
    positions, shares = samples.sample_positions(several, np.zeros(8), 1, settings(sampling_ratio=1))
    np.testing.assert_allclose(positions, [0, 0, 0, 0, 2, 2, 2, 2])
    np.testing.assert_array_equal(shares, [0, 1, 1, 1, 1, 1, 1, 0])


def test_a_sample_reads_the_two_cells_around_it():
    # Two samples, at 1.25 and 3.75 of 5 cells: cells 1 and 2, 3 and 4; each counts one half in its bin.
    rows, weights = samples.compute_taps(axis(0.0, 5.0, 5), np.arange(4), 1, settings(sampling_ratio=2))
    np.testing.assert_array_equal(rows, [1, 2, 3, 4])
    np.testing.assert_allclose(weights, [0.375, 0.125, 0.125, 0.375])
    assert rows.dtype == tf.int32


def test_the_second_tap_after_the_last_cell_has_weight_0():
    # At position 2 of 3 cells, exactly on the centre of the last one.
    rows, weights = samples.compute_taps(axis(2.0, 0.0, 3), np.arange(2), 1, settings(sampling_ratio=1))
    np.testing.assert_array_equal(rows, [2, 2])
    np.testing.assert_allclose(weights, [1, 0])


def test_spread_adds_an_axis_for_each_of_the_other():
    values = tf.constant([[1, 2, 3]])
    assert samples.spread(values, np.zeros([5, 7])).shape == (1, 3, 1, 1)
    one = axis([[1.0]], [[2.0]], [[3]]).spread(np.zeros([5]))
    assert [part.numpy().tolist() for part in one] == [[[[1.0]]], [[[2.0]]], [[[3]]]]
