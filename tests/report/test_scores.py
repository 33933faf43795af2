import numpy as np
import pytest

from tpuseg.report import scores

SCORES = np.array([0.3, 0.9, 0.6, 0.6])
RIGHT = np.array([False, True, True, False])


def test_f1_over_the_score():
    assert scores.THRESHOLDS[[0, 1, -1]].tolist() == [0, 0.01, 1] and len(scores.THRESHOLDS) == 101
    values = scores.f1(SCORES, RIGHT, num_objects=4)
    # All four: 2 * 2 / (4 + 4); from 0.31 three: 4 / 7; from 0.61 one: 2 / 5; from 0.91 none.
    assert values[[0, 30, 31, 60, 61, 90, 91]] == pytest.approx([0.5, 0.5, 4 / 7, 4 / 7, 0.4, 0.4, 0])
    assert not scores.f1(SCORES[:0], RIGHT[:0], 0).any()


def test_the_best_threshold_is_between_scores():
    best = scores.best_threshold(SCORES, RIGHT, num_objects=4)
    assert best == pytest.approx((0.45, 4 / 7))
    # If the wrong detection with the lowest score were right, all would be kept.
    assert scores.best_threshold(SCORES, RIGHT | (SCORES == 0.3), 4) == pytest.approx((0.15, 6 / 8))
    # Without the wrong one of the same score, the right one would have been kept: F1 of 0.6 must not be that of one of the two.
    assert scores.best_threshold(np.array([0.9, 0.6, 0.6]), np.array([True, True, False]), 2) == pytest.approx((0.3, 4 / 5))


def test_no_threshold_without_right_detections():
    assert scores.best_threshold(SCORES, np.zeros(4, bool), 4) is None
    assert scores.best_threshold(SCORES[:0], RIGHT[:0], 4) is None


def test_calibration():
    found = scores.calibration(np.array([0.05, 0.92, 0.98, 1.0]), np.array([True, True, True, False]))
    assert found.number.tolist() == [1] + [0] * 8 + [3]
    assert found.score[[0, 9]] == pytest.approx([0.05, 2.9 / 3]) and found.precision[[0, 9]] == pytest.approx([1, 2 / 3])
    assert np.isnan(found.precision[1])
    assert found.error == pytest.approx(0.25 * 0.95 + 0.75 * 0.9 / 3)
    assert scores.calibration(np.zeros(0), np.zeros(0, bool)).error is None
