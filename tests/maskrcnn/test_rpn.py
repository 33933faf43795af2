"""Proposals of the RPN, FPN's levels and ROI align, against cases worked by hand."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tpuseg.maskrcnn import config, fpn, rpn
from tpuseg.maskrcnn.cells import table_of
from tpuseg.maskrcnn.roi_align import pooling, samples


def propose(objectness, anchors, deltas=None, size=(100.0, 100.0), training=True, **settings):
    """One image; `objectness` and `anchors` have a list a level, and each cell has one anchor."""
    deltas = [np.zeros((len(level), 4)) for level in objectness] if deltas is None else deltas
    counts = {"num_candidates_train": 10, "num_candidates_test": 10, "num_proposals_train": 10, "num_proposals_test": 10}
    found = rpn.propose(
        [tf.constant([level], tf.float32) for level in objectness],
        [tf.constant([level], tf.float32) for level in deltas],
        [tf.constant(level, tf.float32) for level in anchors],
        tf.constant([size]),
        config.RpnConfig({**counts, "box_weights": [1.0, 1.0, 1.0, 1.0], **settings}),
        training,
    )
    valid = found.valid.numpy()[0]
    count = int(valid.sum())
    # Padding comes last and is 0.
    assert valid[:count].all() and not found.boxes[0, count:].numpy().any() and not found.scores[0, count:].numpy().any()
    return [(found.boxes[0, row].numpy().round(3).tolist(), float(found.scores[0, row])) for row in range(count)]


A, B, C = [0, 0, 10, 10], [0, 0, 10, 9], [50, 50, 60, 60]


def test_proposals_of_all_levels_are_sorted_by_score():
    assert propose([[1.0, -2.0], [0.5]], [[A, C], [[20, 20, 40, 40]]]) == [(A, 1.0), ([20, 20, 40, 40], 0.5), (C, -2.0)]


def test_suppression_is_within_a_level():
    # IoU of A and B is 0.9.
    assert propose([[1.0, 2.0, 0.0]], [[A, B, C]]) == [(B, 2.0), (C, 0.0)]
    assert propose([[1.0, 0.0], [2.0]], [[A, C], [B]]) == [(B, 2.0), (A, 1.0), (C, 0.0)]
    assert len(propose([[1.0, 2.0, 0.0]], [[A, B, C]], nms_iou=0.95)) == 3


def test_the_best_candidates_are_taken_of_each_level():
    found = propose([[3.0, 2.0, 1.0], [0.0]], [[A, B, C], [C]], num_candidates_train=2)
    # Of the first level A and B, of which B is suppressed.
    assert found == [(A, 3.0), (C, 0.0)]


def test_training_and_evaluation_have_their_own_counts():
    counts = {"num_candidates_train": 2, "num_proposals_train": 2, "num_candidates_test": 1, "num_proposals_test": 5}
    arguments = [[3.0, 1.0], [2.0]], [[A, C], [C]]
    assert [score for _, score in propose(*arguments, training=True, **counts)] == [3.0, 2.0]
    assert [score for _, score in propose(*arguments, training=False, **counts)] == [3.0, 2.0]
    counts["num_proposals_test"] = 1
    assert [score for _, score in propose(*arguments, training=False, **counts)] == [3.0]


def test_boxes_are_decoded_and_clipped_to_the_image():
    # One height down, twice as high and wide.
    deltas = [[[1.0, 0.0, math.log(2), math.log(2)]]]
    assert propose([[1.0]], [[A]], deltas) == [([5, 0, 25, 15], 1.0)]
    assert propose([[1.0]], [[A]], deltas, size=(20.0, 8.0)) == [([5, 0, 20, 8], 1.0)]


def test_boxes_outside_of_the_image_and_scores_that_are_not_finite_are_dropped():
    assert propose([[1.0, 2.0]], [[A, C]], size=(40.0, 40.0)) == [(A, 1.0)]
    assert propose([[float("nan"), 1.0]], [[A, C]]) == [(C, 1.0)]


def test_the_codes_of_a_cell_with_several_shapes_are_taken_apart():
    # Two cells of two shapes each; the third anchor (cell 1, shape 0) moves one height down.
    anchors = tf.constant([A, [0, 0, 10, 20], C, [50, 50, 60, 70]], tf.float32)
    deltas = tf.constant([[[0.0] * 8, [1.0, 0, 0, 0, 0, 0, 0, 0]]])
    scores, size = tf.constant([[0.0, 1.0, 3.0, 2.0]]), tf.constant([[100.0, 100.0]])
    found = rpn.propose([scores], [deltas], [anchors], size, config.RpnConfig(), True)
    np.testing.assert_allclose(
        found.boxes[0], [[60, 50, 70, 60], [50, 50, 60, 70], [0, 0, 10, 20], [0, 0, 10, 10]], atol=1e-4
    )


def cells_of(num_levels=5):
    return table_of([tf.zeros([1, 2 ** (num_levels - level), 8, 1]) for level in range(num_levels)])


@pytest.mark.parametrize(
    "side, level", [(1, 2), (111.9, 2), (112, 3), (223.9, 3), (224, 4), (447.9, 4), (448, 5), (900, 5), (5000, 5), (0, 2)]
)
def test_rois_are_assigned_to_levels_by_their_size(side, level):
    # arXiv:1612.03144, equation 1: 224 pixels go to level 4, each octave is one level.
    rois = tf.constant([[[0.0, 0, side, side], [10.0, 5, 10 + side / 2, 5 + 2 * side]]])
    np.testing.assert_array_equal(samples.levels_of(rois, cells_of()), [[level, level]])


def test_a_pyramid_with_fewer_levels_has_its_own_coarsest():
    np.testing.assert_array_equal(samples.levels_of(tf.constant([[[0.0, 0, 900, 900]]]), cells_of(2)), [[3]])


def pool(level, roi_box, num_bins, **settings):
    """Pools one roi of one level (stride 4) with one filter."""
    cells = table_of([tf.constant(level, tf.float32)[None, :, :, None]])
    found = pooling.roi_align(cells, tf.constant([[roi_box]], tf.float32), num_bins, config.RoiAlignConfig(settings))
    return found[0, 0, :, :, 0].numpy().tolist()


GRID = [[0, 1], [2, 3]]


def test_a_roi_of_one_cell_is_that_cell():
    # A cell is 4 pixels; one sample at its centre.
    assert pool(GRID, [0, 4, 4, 8], 1, sampling_ratio=1) == [[1]]
    assert pool(GRID, [0, 0, 8, 8], 2, sampling_ratio=1) == [[0, 1], [2, 3]]


def test_samples_are_interpolated_between_four_cells():
    # The centre of the map lies between all four: (0 + 1 + 2 + 3) / 4.
    assert pool(GRID, [2, 2, 6, 6], 1, sampling_ratio=1) == [[1.5]]
    # A quarter of a cell below the first centre, half a cell right of it: 0.25 * 2 + 0.5 * 1.
    assert pool(GRID, [1, 2, 5, 6], 1, sampling_ratio=1) == [[1.0]]


def test_a_bin_is_the_mean_of_its_samples():
    # Two samples an axis at 1/4 and 3/4 of the roi: rows -0.25 (clipped to 0) and 0.25, columns alike: mean 0.125 + 0.25.
    assert pool(GRID, [0, 0, 4, 4], 1, sampling_ratio=2) == [[pytest.approx(0.125 * 2 + 0.125 * 1)]]


def test_samples_outside_of_the_map_take_the_borders_value_for_one_cell_and_are_0_beyond():
    ones = [[1, 1], [1, 1]]
    # Centres at -2 and -6 pixels: -1 cell and -2 cells from the first centre.
    assert pool(ones, [-4, 0, 0, 4], 1, sampling_ratio=1) == [[1]]
    assert pool(ones, [-8, 0, -4, 4], 1, sampling_ratio=1) == [[0]]
    assert pool(ones, [8, 0, 12, 4], 1, sampling_ratio=1) == [[1]]
    assert pool(ones, [9, 0, 13, 4], 1, sampling_ratio=1) == [[0]]


def test_rois_that_are_not_aligned_lie_half_a_cell_lower_and_are_at_least_one_cell_large():
    # The centre of (0, 0, 4, 4) is read at (0.5, 0.5) cells, in the middle of the four.
    assert pool(GRID, [0, 0, 4, 4], 1, sampling_ratio=1, aligned=False) == [[1.5]]
    assert pool(GRID, [0, 0, 1, 1], 1, sampling_ratio=1, aligned=False) == [[1.5]]
    assert pool(GRID, [0, 0, 1, 1], 1, sampling_ratio=1) == [[0]]


def test_the_pyramid_adds_the_coarser_level_enlarged_by_repeating():
    layer = fpn.Fpn(config.FpnConfig({"num_filters": 1}))
    features = {str(level): tf.zeros([1, 2 ** (5 - level), 2 ** (5 - level), 1]) for level in (2, 3, 4, 5)}
    layer(features)
    # All 1x1 convolutions multiply by 1, all 3x3 by 1 in their centre.
    for conv in layer.lateral:
        conv.set_weights([np.ones((1, 1, 1, 1)), np.zeros(1)])
    centre = np.zeros((3, 3, 1, 1))
    centre[1, 1] = 1
    for conv in layer.output_convs:
        conv.set_weights([centre, np.zeros(1)])
    features = {**features, "5": tf.fill([1, 1, 1, 1], 8.0), "4": tf.reshape([1.0, 2, 3, 4], [1, 2, 2, 1])}
    pyramid = layer(features)
    assert [tuple(level.shape[1:3]) for level in pyramid] == [(8, 8), (4, 4), (2, 2), (1, 1), (1, 1)]
    np.testing.assert_array_equal(pyramid[3][0, :, :, 0], [[8]])
    np.testing.assert_array_equal(pyramid[2][0, :, :, 0], [[9, 10], [11, 12]])
    np.testing.assert_array_equal(pyramid[1][0, :, :, 0], [[9, 9, 10, 10]] * 2 + [[11, 11, 12, 12]] * 2)
    np.testing.assert_array_equal(pyramid[4], pyramid[3])


def test_the_coarsest_level_is_every_second_cell_and_odd_levels_are_cut():
    layer = fpn.Fpn(config.FpnConfig({"num_filters": 1}))
    sizes = {"2": (17, 9), "3": (9, 5), "4": (5, 3), "5": (3, 2)}
    pyramid = layer({name: tf.zeros([1, *size, 1]) for name, size in sizes.items()})
    assert [tuple(level.shape[1:3]) for level in pyramid] == [(17, 9), (9, 5), (5, 3), (3, 2), (2, 1)]
