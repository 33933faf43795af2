"""Greedy non-maximum suppression against cases worked by hand, and against the textbook's loop."""

import numpy as np
import pytest
import tensorflow as tf

from tpuseg.maskrcnn.suppression import suppress


def kept(boxes, iou_threshold, valid=None, groups=None):
    boxes = tf.constant([boxes], tf.float32)
    valid = tf.ones(boxes.shape[:2], tf.bool) if valid is None else tf.constant([valid])
    groups = None if groups is None else tf.constant([groups])
    return suppress(boxes, valid, iou_threshold, groups).numpy()[0].tolist()


# Each is half of the one before: their IoU is 1/3. The first and the third only touch.
CHAIN = [[0, 0, 10, 10], [0, 5, 10, 15], [0, 10, 10, 20]]


def test_a_box_that_was_dropped_suppresses_nothing():
    assert kept(CHAIN, 0.3) == [True, False, True]


@pytest.mark.parametrize("length", [2, 5, 128, 300])
def test_a_chain_of_any_length_is_decided_to_its_end(length):
    # Every box overlaps its neighbours, so that each depends on the one before it.
    chain = [[0, 5 * place, 10, 5 * place + 10] for place in range(length)]
    assert kept(chain, 0.3) == [place % 2 == 0 for place in range(length)]


def test_an_overlap_equal_to_the_threshold_is_kept():
    # IoU 1/2, exact in binary.
    pair = [[0, 0, 10, 10], [0, 0, 10, 5]]
    assert kept(pair, 0.5) == [True, True]
    assert kept(pair, 0.499) == [True, False]


def test_boxes_that_are_not_valid_are_dropped_and_suppress_nothing():
    assert kept(CHAIN, 0.3, valid=[False, True, True]) == [False, True, False]
    assert kept(CHAIN, 0.3, valid=[True, True, False]) == [True, False, False]


def test_boxes_of_other_groups_do_not_suppress_each_other():
    assert kept(CHAIN, 0.3, groups=[0, 1, 0]) == [True, True, True]
    assert kept(CHAIN, 0.3, groups=[1, 1, 0]) == [True, False, True]


def test_equal_boxes_leave_the_first_and_empty_ones_stay():
    assert kept([[0, 0, 4, 4]] * 3, 0.5) == [True, False, False]
    assert kept([[3, 3, 3, 3]] * 2, 0.0) == [True, True]


def test_images_of_a_batch_do_not_see_each_other():
    boxes = tf.constant([CHAIN, CHAIN[::-1]], tf.float32)
    valid = tf.constant([[True, True, True], [False, True, True]])
    np.testing.assert_array_equal(suppress(boxes, valid, 0.3), [[True, False, True], [False, True, False]])


def greedy(boxes, valid, iou_threshold):
    """The textbook's loop, in float64."""
    keep = np.zeros(len(boxes), bool)
    for row in range(len(boxes)):
        if not valid[row]:
            continue
        shared = np.maximum(np.minimum(boxes[keep, 2:], boxes[row, 2:]) - np.maximum(boxes[keep, :2], boxes[row, :2]), 0).prod(1)
        areas = (boxes[keep, 2:] - boxes[keep, :2]).prod(1) + (boxes[row, 2:] - boxes[row, :2]).prod()
        keep[row] = not (shared > iou_threshold * (areas - shared)).any()
    return keep


@pytest.mark.parametrize("size", [127, 128, 129, 300])
def test_more_boxes_than_a_block_give_what_the_plain_loop_gives(size):
    random = np.random.default_rng(size)
    corners = random.integers(0, 60, (size, 2))
    boxes = np.concatenate([corners, corners + random.integers(1, 30, (size, 2))], 1).astype(np.float64)
    valid = random.random(size) > 0.1
    expected = greedy(boxes, valid, 0.3)
    assert 10 < expected.sum() < 0.8 * valid.sum()
    assert kept(boxes, 0.3, valid=valid.tolist()) == expected.tolist()
