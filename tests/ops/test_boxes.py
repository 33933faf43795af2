"""Geometry of boxes against answers worked by hand."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tpuseg.ops import boxes

PADDING = [-1.0, -1.0, -1.0, -1.0]
# Rows: a 4 x 6 box; the same moved by half of its width; a box inside the first; an empty one; one turned around; padding.
BOXES = tf.constant([[0, 0, 4, 6], [0, 3, 4, 9], [1, 1, 3, 3], [2, 2, 2, 5], [4, 4, 2, 2], PADDING], tf.float32)
WEIGHTS = [10.0, 10.0, 5.0, 5.0]


def test_areas():
    np.testing.assert_array_equal(boxes.areas(BOXES), [24, 24, 4, 0, 0, 0])


def test_intersections():
    # The first and second share 4 x 3; the third lies in the first, and has nothing but the column at 3 with the second.
    np.testing.assert_array_equal(
        boxes.intersections(BOXES[:2], BOXES), [[24, 12, 4, 0, 0, 0], [12, 24, 0, 0, 0, 0]]
    )


def test_iou():
    np.testing.assert_allclose(boxes.iou(BOXES[:1], BOXES), [[1, 12 / 36, 4 / 24, 0, 0, 0]], rtol=1e-6)
    # Empty against empty is nothing, not NaN.
    np.testing.assert_array_equal(boxes.iou(BOXES[3:], BOXES[3:]), np.zeros((3, 3)))


def test_iou_is_batched():
    pair = tf.stack([BOXES[:2], BOXES[1:3]])
    overlaps = boxes.iou(pair, pair[:, :1])
    assert overlaps.shape == (2, 2, 1)
    np.testing.assert_allclose(overlaps[..., 0], [[1, 1 / 3], [1, 0]], rtol=1e-6)


def test_coverage_is_the_part_of_the_box_and_not_of_the_region():
    crowd = tf.constant([[0, 0, 4, 3]], tf.float32)
    np.testing.assert_allclose(boxes.coverage(BOXES, crowd)[:, 0], [0.5, 0, 1, 0, 0, 0])


def test_clip():
    given = tf.constant([[-2, -3, 5, 20], [1, 2, 3, 4], [12, 12, 14, 14], PADDING], tf.float32)
    np.testing.assert_array_equal(
        boxes.clip(given, tf.constant([10, 8])), [[0, 0, 5, 8], [1, 2, 3, 4], [10, 8, 10, 8], [0, 0, 0, 0]]
    )
    batched = boxes.clip(tf.stack([given, given]), tf.constant([[10, 8], [4, 30]]))
    np.testing.assert_array_equal(batched[1, 0], [0, 0, 4, 20])


def test_mirror():
    mirrored = boxes.mirror(BOXES[:3], 10)
    np.testing.assert_array_equal(mirrored, [[0, 4, 4, 10], [0, 1, 4, 7], [1, 7, 3, 9]])
    np.testing.assert_array_equal(boxes.mirror(mirrored, 10), BOXES[:3])


def test_encode():
    anchor = tf.constant([[0, 0, 4, 8]], tf.float32)
    moved = tf.constant([[2, 2, 10, 10]], tf.float32)
    # The centre goes from (2, 4) to (6, 6), that is one height and a quarter of a width; the height doubles.
    np.testing.assert_allclose(boxes.encode(moved, anchor, [1, 1, 1, 1]), [[1, 0.25, math.log(2), 0]], rtol=1e-6)
    np.testing.assert_allclose(boxes.encode(moved, anchor, WEIGHTS), [[10, 2.5, 5 * math.log(2), 0]], rtol=1e-6)


def test_encode_of_boxes_smaller_than_a_pixel():
    anchor, tiny = tf.constant([[0, 0, 0.5, 0.25]], tf.float32), tf.constant([[0, 0, 0.25, 0.5]], tf.float32)
    np.testing.assert_allclose(boxes.encode(tiny, anchor, [1, 1, 1, 1]), [[-0.25, 0.5, -math.log(2), math.log(2)]], rtol=1e-6)


def test_decode_inverts_encode():
    random = np.random.default_rng(0)
    corner, side = random.uniform(0, 500, (2, 50, 2)), random.uniform(1, 300, (2, 50, 2))
    given, anchors = np.concatenate([corner, corner + side], -1).astype(np.float32)
    codes = boxes.encode(given, anchors, WEIGHTS)
    np.testing.assert_allclose(boxes.decode(codes, anchors, WEIGHTS), given, atol=2e-3)


def test_batches_of_boxes_are_treated_like_boxes():
    pair, anchors = tf.stack([BOXES[:3], BOXES[:3] + 1]), BOXES[None, :3] + 0.5
    for whole, function in (
        (boxes.mirror(pair, 10), lambda part: boxes.mirror(part, 10)),
        (boxes.encode(pair, anchors, WEIGHTS), lambda part: boxes.encode(part, anchors[0], WEIGHTS)),
        (boxes.decode(pair / 9, anchors, WEIGHTS), lambda part: boxes.decode(part / 9, anchors[0], WEIGHTS)),
    ):
        np.testing.assert_allclose(whole, [function(pair[0]), function(pair[1])], rtol=1e-5)


def test_decode_limits_the_scale():
    decoded = boxes.decode(tf.constant([[0, 0, 1e6, -1e6]]), tf.constant([[0.0, 0.0, 16.0, 16.0]]), WEIGHTS)
    # 16 pixels become at most 1000; a side may shrink to nothing.
    np.testing.assert_allclose(decoded, [[8 - 500, 8, 8 + 500, 8]], rtol=1e-5)


@pytest.mark.parametrize("row", range(3, 6))
def test_codes_of_empty_boxes_are_finite(row):
    degenerate = BOXES[row : row + 1]
    for codes in (boxes.encode(degenerate, BOXES[:1], WEIGHTS), boxes.encode(BOXES[:1], degenerate, WEIGHTS)):
        assert np.isfinite(codes).all()
    with tf.GradientTape() as tape:
        tape.watch(degenerate)
        total = tf.reduce_sum(boxes.encode(degenerate, BOXES[:1], WEIGHTS))
    assert np.isfinite(tape.gradient(total, degenerate)).all()
