"""The AP that errors cost, on matches with answers by hand; recalls are those of COCO, 0 to 1 in steps of 0.01."""

import numpy as np
import pytest
from report_matches import matches

from tpuseg.report import lost_precision
from tpuseg.report.average_precision import RECALLS, mean_average_precision, precision_at_recalls
from tpuseg.report.content import ERRORS


def test_precision_at_recalls():
    assert RECALLS[[0, 1, -1]].tolist() == [0, 0.01, 1]
    # Recall 0.5 with precision 1, then 1.0 with precision 2/3.
    values = precision_at_recalls(np.array([True, False, True]), 2)
    assert values[:51].tolist() == [1.0] * 51 and values[51:] == pytest.approx([2 / 3] * 50)
    assert precision_at_recalls(np.array([False, True]), 2)[[0, 50, 51]].tolist() == [0.5, 0.5, 0]
    assert not precision_at_recalls(np.zeros(0, bool), 3).any() and not precision_at_recalls(np.zeros(2, bool), 0).any()


def test_mean_over_classes_with_objects_or_detections():
    labels, scores, right = np.array([1, 0]), np.array([0.2, 0.9]), np.array([True, False])
    # Class 0 has a detection but no object, class 2 neither.
    assert mean_average_precision(labels, scores, right, np.array([0, 1, 0])) == 0.5
    assert mean_average_precision(labels[:0], scores[:0], right[:0], np.array([0])) == 0.0


# Two objects of class 0 and one of class 1; the detection of score 0.9 takes object 0. Recall is 1/2 in class 0: 51 of 101 recalls.
HALF = 51 / 101


def test_costs_of_the_types():
    result = matches(
        [[0.9, 0, 0], [0.6, 0, 0], [0, 0, 0], [0, 0.3, 0], [0, 0, 0.7]],
        labels=[0, 0, 0, 0, 0],
        scores=[0.9, 0.8, 0.7, 0.6, 0.5],
        object_labels=[0, 0, 1],
        num_classes=2,
    )
    # One right detection before all wrong ones: precision 1 up to recall 1/2; class 1 has AP 0.
    assert lost_precision.average_precision(result) == pytest.approx(HALF / 2)
    lost = lost_precision.lost_by_type(result)
    # Class 1 gets AP 1.
    assert lost["classification"] == pytest.approx(0.5)
    # The fourth detection becomes right: precision 2/4 for the recalls above 1/2.
    assert lost["localization"] == pytest.approx(50 / 101 * 0.5 / 2)
    assert lost["duplicate"] == lost["background"] == lost["both"] == lost["missed"] == 0
    # No wrong detection was before a right one.
    assert lost["false positives"] == pytest.approx(0)
    # Class 0 then has one object and AP 1; class 1 has no object and no detection.
    assert lost["false negatives"] == pytest.approx(1 - HALF / 2)


@pytest.mark.parametrize(("error", "overlap"), [("duplicate", 0.9), ("background", 0.0)])
def test_wrong_detections_before_right_ones_cost_precision(error, overlap):
    # The second detection is wrong; the third one takes object 1, with precision 2/3.
    result = matches([[0.9, 0], [overlap, 0], [0, 0.9]], [0, 0, 0], [0.9, 0.8, 0.7], [0, 0], 1)
    assert lost_precision.average_precision(result) == pytest.approx((51 + 50 * 2 / 3) / 101)
    lost = lost_precision.lost_by_type(result)
    assert {name for name in ERRORS if lost[name]} == {error}
    assert lost[error] == lost["false positives"] == pytest.approx(50 / 3 / 101)


def test_missed_objects_are_removed():
    result = matches([[0.9, 0, 0]], [0], [0.9], [0, 0, 0], 1)
    lost = lost_precision.lost_by_type(result)
    # Recall is 1/3: 34 of 101 recalls.
    assert lost["missed"] == lost["false negatives"] == pytest.approx(67 / 101)


def test_both_is_removed():
    result = matches([[0.9, 0, 0], [0, 0, 0.3], [0, 0.9, 0]], [0, 0, 0], [0.9, 0.8, 0.7], [0, 0, 1], 2)
    assert lost_precision.lost_by_type(result)["both"] == pytest.approx(50 / 3 / 101 / 2)


def test_an_ignored_detection_does_not_count():
    result = matches([[0.0], [0.9]], [0, 0], [0.9, 0.8], [0], 1, in_ignored=[True, False])
    assert lost_precision.average_precision(result) == 1.0
