"""Errors and confusions at a threshold, on the matches of one image with answers by hand."""

import pytest
from report_matches import matches

from tpuseg.report.selection import confusion, count_errors, select


@pytest.fixture
def found():
    """Object 0 is taken at 0.8 and confused at 0.9; 1 is confused at 0.7 and 0.6; 2 is near at 0.3; 3 is missed."""
    return matches(
        [[0.6, 0, 0, 0], [0.9, 0, 0, 0], [0, 0.7, 0, 0], [0, 0.8, 0, 0], [0, 0, 0, 0], [0, 0, 0.4, 0]],
        labels=[1, 0, 0, 2, 2, 2],
        scores=[0.9, 0.8, 0.7, 0.6, 0.5, 0.3],
        object_labels=[0, 1, 2, 2],
        num_classes=3,
    )


def test_all_detections(found):
    chosen = select(found, 0.0)
    assert chosen.kept.all() and chosen.found.tolist() == [True, False, False, False]
    assert chosen.missed.tolist() == [False, False, False, True]
    assert count_errors(found, chosen) == {
        "classification": 3, "localization": 1, "both": 0, "duplicate": 0, "background": 1, "missed": 1
    }  # fmt: skip
    # Rows: the objects of each class; the detections of the rest are in the row of the background.
    assert confusion(found, chosen).tolist() == [[1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 2], [0, 1, 3, 0]]


def test_only_scores_of_at_least_the_threshold(found):
    chosen = select(found, 0.9)
    assert chosen.kept.tolist() == [True] + [False] * 5
    assert not chosen.found.any() and chosen.missed.tolist() == [False, True, True, True]
    assert confusion(found, chosen).tolist() == [[0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 0, 2], [0, 0, 0, 0]]


def test_ignored_detections_are_not_kept():
    chosen = select(matches([[0.0]], [0], [0.9], [0], 1, in_ignored=[True]), 0.5)
    assert not chosen.kept.any() and chosen.missed.all()


def test_errors_below_the_threshold_are_not_counted(found):
    assert count_errors(found, select(found, 0.65)) == {
        "classification": 2, "localization": 0, "both": 0, "duplicate": 0, "background": 0, "missed": 2
    }  # fmt: skip


def test_detections_without_an_object_count_in_the_last_row():
    result = matches([[0.9], [0]], [0, 0], [0.9, 0.8], [0], 1)
    assert confusion(result, select(result, 0.0)).tolist() == [[1, 0], [1, 0]]
