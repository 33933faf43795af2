"""From the heads' outputs to detections, against cases worked by hand."""

import math

import numpy as np
import tensorflow as tf

from tpuseg.maskrcnn import config, detection


def detect(rois, probabilities, deltas=None, valid=None, size=(100.0, 100.0), **settings):
    """Runs one image; probabilities are [R, K + 1]."""
    rois = tf.constant([rois], tf.float32)
    probabilities = np.array([probabilities], np.float32)
    num_rois, num_classes = probabilities.shape[1], probabilities.shape[2] - 1
    found = detection.detect(
        rois,
        tf.ones([1, num_rois], tf.bool) if valid is None else tf.constant([valid]),
        tf.constant(np.log(probabilities)),
        tf.zeros([1, num_rois, num_classes, 4]) if deltas is None else tf.constant([deltas], tf.float32),
        tf.constant([size]),
        config.DetectionConfig({"max_detections": 4, "num_candidates": 8, **settings}),
        [10.0, 10.0, 5.0, 5.0],
    )
    count = int(tf.reduce_sum(tf.cast(found.valid, tf.int32)))
    assert found.boxes.shape == (1, min(4, found.boxes.shape[1]), 4)
    # Padding comes last, and is 0 with class -1.
    assert not found.boxes[0, count:].numpy().any() and not found.scores[0, count:].numpy().any()
    assert (found.classes[0, count:].numpy() == -1).all()
    return [
        (found.boxes[0, row].numpy().round(3).tolist(), round(float(found.scores[0, row]), 4), int(found.classes[0, row]))
        for row in range(count)
    ]


FAR_APART = [[0, 0, 10, 10], [50, 50, 60, 70]]


def test_detections_are_sorted_by_score_and_the_background_is_none():
    found = detect(FAR_APART, [[0.2, 0.1, 0.7], [0.02, 0.9, 0.08]])
    assert found == [([50, 50, 60, 70], 0.9, 1), ([0, 0, 10, 10], 0.2, 0), ([0, 0, 10, 10], 0.1, 1)]


def test_a_score_equal_to_the_threshold_is_no_detection():
    found = detect(FAR_APART, [[0.5, 0.25, 0.25], [0.125, 0.125, 0.75]], score_threshold=0.25)
    assert found == [([0, 0, 10, 10], 0.5, 0)]


def test_rois_that_are_padding_detect_nothing():
    assert detect(FAR_APART, [[0.9, 0.05, 0.05], [0.9, 0.05, 0.05]], valid=[False, True], score_threshold=0.1) == [
        ([50, 50, 60, 70], 0.9, 0)
    ]


def test_boxes_are_decoded_with_the_code_of_their_class_and_clipped_to_the_image():
    # For class 1: half a height down (weight 10), twice as wide (weight 5).
    deltas = [[[0, 0, 0, 0], [5, 0, 0, 5 * math.log(2)]], [[0, 0, 0, 0], [0, 0, 0, 0]]]
    found = detect(FAR_APART, [[0.05, 0.9, 0.05], [0.05, 0.05, 0.9]], deltas, score_threshold=0.1)
    assert found == [([5, 0, 15, 15], 0.9, 1)]
    found = detect(FAR_APART, [[0.05, 0.9, 0.05], [0.05, 0.05, 0.9]], deltas, score_threshold=0.1, size=(12.0, 14.0))
    assert found == [([5, 0, 12, 14], 0.9, 1)]


def test_boxes_outside_of_the_image_are_dropped():
    assert detect(FAR_APART, [[0.9, 0.05, 0.05]] * 2, score_threshold=0.1, size=(40.0, 40.0)) == [([0, 0, 10, 10], 0.9, 0)]


def test_suppression_is_within_a_class():
    same = [[0, 0, 10, 10], [0, 0, 10, 9]]
    probabilities = [[0.6, 0.0001, 0.3999], [0.5, 0.4, 0.1]]
    found = detect(same, probabilities)
    assert found == [([0, 0, 10, 10], 0.6, 0), ([0, 0, 10, 9], 0.4, 1)]
    # IoU is 0.9: a higher threshold keeps all three.
    assert len(detect(same, probabilities, nms_iou=0.95)) == 3


def test_max_detections_keeps_the_best():
    found = detect(FAR_APART, [[0.5, 0.3, 0.2], [0.6, 0.3, 0.1]], max_detections=2)
    assert [score for _, score, _ in found] == [0.6, 0.5]


def test_only_the_best_candidates_are_decoded():
    # Two candidates, and the second is suppressed by the first: what comes third is not looked at.
    rois = [[0, 0, 10, 10], [0, 0, 10, 9], [50, 50, 60, 60]]
    probabilities = [[0.9, 0.1], [0.8, 0.2], [0.7, 0.3]]
    assert len(detect(rois, probabilities, num_candidates=2)) == 1
    assert len(detect(rois, probabilities, num_candidates=3)) == 2


def test_images_of_a_batch_have_their_own_detections():
    rois = tf.constant([FAR_APART, FAR_APART[::-1]], tf.float32)
    probabilities = np.array([[[0.6, 0.1, 0.3], [0.1, 0.7, 0.2]], [[0.1, 0.8, 0.1], [0.9, 0.06, 0.04]]], np.float32)
    # In the second image, class 1 of the first roi and class 0 of the second move by a tenth of a height.
    deltas = np.zeros([2, 2, 2, 4], np.float32)
    deltas[1, 0, 1, 0] = deltas[1, 1, 0, 0] = 1.0
    found = detection.detect(
        rois, tf.ones([2, 2], tf.bool), tf.math.log(probabilities), tf.constant(deltas), tf.constant([[100.0, 100.0]] * 2),
        config.DetectionConfig({"max_detections": 2, "score_threshold": 0.25}), [10.0, 10.0, 5.0, 5.0],
    )
    np.testing.assert_allclose(found.boxes, [[[50, 50, 60, 70], [0, 0, 10, 10]], [[1, 0, 11, 10], [51, 50, 61, 70]]], atol=1e-4)
    np.testing.assert_allclose(found.scores, [[0.7, 0.6], [0.9, 0.8]], rtol=1e-5)
    np.testing.assert_array_equal(found.classes, [[1, 0], [0, 1]])


def test_a_box_smaller_than_a_pixel_is_found():
    assert detect([[0, 0, 0.5, 0.5]], [[0.9, 0.1]]) == [([0, 0, 0.5, 0.5], 0.9, 0)]
