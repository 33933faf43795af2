"""Boundary IoU by hand, and against its definition as an iterated erosion."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tpuseg.report.boundaries import boundary_width, count_boundaries, is_boundary


def test_the_width_is_two_percent_of_the_diagonal():
    assert boundary_width((300, 400)) == 10 and boundary_width((3, 4)) == 1


def test_pixels_near_outlines():
    classes = np.zeros((7, 9), np.uint8)
    classes[:, 5:] = 1
    # The outside of the image counts as another class.
    assert is_boundary(classes, 1)[3].tolist() == [True, False, False, False, True, True, False, False, True]
    assert is_boundary(classes, 1)[0].all() and is_boundary(classes, 4).all()


def test_counts_by_hand():
    truth, prediction = np.zeros((9, 9), np.uint8), np.zeros((9, 9), np.uint8)
    truth[2:7, 2:7] = 1  # A ring of 16 pixels around 9 inner ones.
    prediction[2:7, 3:8] = 1  # The same, one to the right.
    found = count_boundaries(truth, prediction, np.ones((9, 9), bool), 2, 1)
    # The rings share 4 + 4 pixels in the top and bottom rows; left and right columns differ. 8 / (16 + 16 - 8).
    assert found.shared[1] == 8 and found.union[1] == 24


def test_ignored_pixels_have_the_same_outlines():
    truth = np.zeros((20, 20), np.uint8)
    truth[:, 10:] = 255
    prediction = np.zeros((20, 20), np.uint8)
    prediction[5:15, 12:] = 1
    found = count_boundaries(truth, prediction, truth != 255, 2, 2)
    assert found.shared[0] == found.union[0] == 200 - 6 * 16 and found.union[1] == 0


def erode(mask):
    """One erosion by a square of 3 x 3, with zeros outside."""
    padded = np.pad(mask, 1)
    height, width = mask.shape
    return np.all([padded[y : y + height, x : x + width] for y in range(3) for x in range(3)], axis=0)


def boundary_of(mask, width):
    eroded = mask
    for _ in range(width):
        eroded = erode(eroded)
    return mask & ~eroded


_MAP = arrays.arrays(np.uint8, (10, 12), elements=st.integers(0, 2))


@settings(max_examples=60, deadline=None)
@given(_MAP, _MAP, st.integers(1, 3))
def test_the_definition(truth, prediction, width):
    # Larger areas, so that there are pixels away from outlines.
    truth, prediction = (np.kron(values[:5, :6], np.ones((4, 4), np.uint8)) for values in (truth, prediction))
    found = count_boundaries(truth, prediction, np.ones(truth.shape, bool), 3, width)
    for number in range(3):
        true, predicted = boundary_of(truth == number, width), boundary_of(prediction == number, width)
        assert found.shared[number] == (true & predicted).sum() and found.union[number] == (true | predicted).sum()


def test_a_perfect_prediction_has_boundary_iou_one():
    truth = np.random.default_rng(0).integers(0, 3, (30, 30)).astype(np.uint8)
    found = count_boundaries(truth, truth, np.ones(truth.shape, bool), 3, 2)
    assert found.shared / found.union == pytest.approx(1)
