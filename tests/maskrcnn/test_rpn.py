"""Proposals of the RPN and FPN's levels, against cases worked by hand."""

import math

import numpy as np
import tensorflow as tf

from tpuseg.maskrcnn import config, fpn, rpn
from tpuseg.maskrcnn.cells import build_table


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


def test_images_of_a_batch_have_their_own_proposals():
    anchors = [tf.constant([A, [0, 0, 10, 20], C, [50, 50, 60, 70]], tf.float32), tf.constant([[20, 20, 40, 40]], tf.float32)]
    # Two cells of two shapes; in the second image, the second shape of the first cell moves one height down.
    deltas = np.zeros([2, 2, 8], np.float32)
    deltas[1, 0, 4] = 1.0
    found = rpn.propose(
        [tf.constant([[0.0, 1, 3, 2], [5, 9, 4, 3]]), tf.constant([[7.0], [1.0]])],
        [tf.constant(deltas), tf.zeros([2, 1, 4])],
        anchors,
        tf.constant([[100.0, 100.0], [100.0, 65.0]]),
        config.RpnConfig({"box_weights": [1.0] * 4, "nms_iou": 0.4, "num_proposals_train": 3, "num_candidates_train": 3}),
        True,
    )
    # The candidates of the first image are the last three of its first level; two of them overlap by one half.
    first = [[20, 20, 40, 40], [50, 50, 60, 60], [0, 0, 10, 20]]
    second = [[10, 0, 20, 20], [0, 0, 10, 10], [50, 50, 60, 60]]
    np.testing.assert_allclose(found.boxes, [first, second], atol=1e-5)
    np.testing.assert_array_equal(found.scores, [[7, 3, 1], [9, 5, 4]])
    assert found.valid.shape == (2, 3) and found.valid.numpy().all()


def test_a_proposal_smaller_than_a_pixel_is_kept():
    assert propose([[1.0]], [[[0, 0, 0.5, 0.5]]]) == [([0, 0, 0.5, 0.5], 1.0)]


def test_the_codes_of_a_cell_with_several_shapes_are_taken_apart():
    # Two cells of two shapes each; the third anchor (cell 1, shape 0) moves one height down.
    anchors = tf.constant([A, [0, 0, 10, 20], C, [50, 50, 60, 70]], tf.float32)
    deltas = tf.constant([[[0.0] * 8, [1.0, 0, 0, 0, 0, 0, 0, 0]]])
    scores, size = tf.constant([[0.0, 1.0, 3.0, 2.0]]), tf.constant([[100.0, 100.0]])
    found = rpn.propose([scores], [deltas], [anchors], size, config.RpnConfig(), True)
    np.testing.assert_allclose(found.boxes[0], [[60, 50, 70, 60], [50, 50, 60, 70], [0, 0, 10, 20], [0, 0, 10, 10]], atol=1e-4)


def head_of(num_convs=1):
    """A head for cells of one filter and two shapes; all 3x3 convolutions multiply by their number, the last one adds a tenth."""
    head = rpn.RpnHead(config.RpnConfig({"num_convs": num_convs, "anchors": {"aspect_ratios": [1.0, 2.0]}}), 1)
    head(head.features([tf.zeros([1, 2, 2, 1])]))
    for number, conv in enumerate(head._convs, start=1):
        kernel = np.zeros((3, 3, 1, 1))
        kernel[1, 1] = number
        conv.set_weights([kernel, np.full(1, 0.1 if conv is head._convs[-1] else 0)])
    head.objectness.set_weights([np.reshape([1.0, 10], [1, 1, 1, 2]), np.array([0, 0.5])])
    head.deltas.set_weights([np.reshape(np.arange(1.0, 9), [1, 1, 1, 8]), np.arange(8) / 100])
    return head


def test_the_head_scores_the_shapes_of_a_cell_behind_each_other():
    levels = [tf.reshape([0.9, 1.9, 2.9, -5.0], [1, 2, 2, 1]), tf.reshape([3.9], [1, 1, 1, 1])]
    head = head_of()
    assert head.features(levels) is levels
    objectness, deltas = head(levels)
    # After the convolution and ReLU: 1, 2, 3, 0 and 4.
    np.testing.assert_allclose(objectness[0], [[1, 10.5, 2, 20.5, 3, 30.5, 0, 0.5]], rtol=1e-6)
    np.testing.assert_allclose(objectness[1], [[4, 40.5]], rtol=1e-6)
    np.testing.assert_allclose(deltas[0][0, 1], 2 * np.arange(1, 9) + np.arange(8) / 100, rtol=1e-6)
    assert deltas[0].shape == (1, 4, 8) and deltas[1].shape == (1, 1, 8)


def test_further_convolutions_come_before_the_last_one():
    levels = [tf.reshape([1.0, -1.0], [1, 1, 2, 1]), tf.reshape([2.0], [1, 1, 1, 1])]
    head = head_of(num_convs=3)
    assert [conv.name for conv in head._convs] == ["conv", "conv2", "conv3"]
    features = head.features(levels)
    # Times 1 and times 2; the third convolution is part of the call: times 3, and a tenth.
    np.testing.assert_allclose(features[0][0, 0, :, 0], [2, 0])
    np.testing.assert_allclose(features[1][0, 0, :, 0], [4])
    np.testing.assert_allclose(head(features)[0][0], [[6.1, 61.5, 0.1, 1.5]], rtol=1e-6)


def test_the_weights_of_the_head_begin_small_and_its_biases_at_0():
    head = rpn.RpnHead(config.RpnConfig(), 64)
    head([tf.zeros([1, 2, 2, 64])])
    for kernel, bias in zip(head.trainable_variables[::2], head.trainable_variables[1::2], strict=True):
        assert 0.008 < float(tf.math.reduce_std(kernel)) < 0.012 and not bias.numpy().any()


def test_the_head_at_some_anchors_is_the_head_at_all():
    random = np.random.default_rng(0)
    head = rpn.RpnHead(config.RpnConfig(), 3)  # Three shapes a cell.
    pyramid = [tf.constant(random.normal(size=(2, *grid, 3)), tf.float32) for grid in [(3, 4), (2, 2), (1, 1)]]
    head(pyramid)
    for variable in head.trainable_variables:
        variable.assign(random.normal(size=variable.shape))
    objectness, deltas = head(pyramid)
    objectness, deltas = tf.concat(objectness, 1), tf.concat([tf.reshape(level, [2, -1, 4]) for level in deltas], 1)
    rows = tf.constant([range(51), reversed(range(51))])
    scores, codes = head.score_anchors(build_table(pyramid), rows)
    np.testing.assert_allclose(scores, tf.gather(objectness, rows, batch_dims=1), atol=1e-4)
    np.testing.assert_allclose(codes, tf.gather(deltas, rows, batch_dims=1), atol=1e-4)


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


def test_the_pyramids_weights_begin_uniform_within_the_root_of_3_over_the_inputs():
    # sqrt(3 / 12) = 0.5; of 6000 values, one is above 0.45 or below -0.45.
    weights = fpn._initializer()((1, 1, 12, 500)).numpy()
    assert 0.45 < abs(weights).max() <= 0.5


def test_levels_of_several_images_are_enlarged_and_thinned_along_both_axes():
    features = tf.reshape(tf.range(12.0), [2, 2, 3, 1])
    enlarged = fpn._enlarge(features, 3, 5)
    assert enlarged[1, :, :, 0].numpy().tolist() == [[6, 6, 7, 7, 8], [6, 6, 7, 7, 8], [9, 9, 10, 10, 11]]
    layer = fpn.Fpn(config.FpnConfig({"num_filters": 1}))
    levels = layer({str(level): tf.ones([2, size, size + 2, 1]) for level, size in ((2, 24), (3, 12), (4, 6), (5, 3))})
    # P5 has 3 x 5 cells, and P6 the rows 0 and 2 and the columns 0, 2 and 4.
    np.testing.assert_array_equal(levels[4], levels[3].numpy()[:, [0, 2]][:, :, [0, 2, 4]])
