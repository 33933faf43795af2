"""Shapes as annotations: areas, boxes, turned rectangles and ellipses."""

import math

import numpy as np
import pytest

from tpuseg.data.examples import Category
from tpuseg.formats import shapes
from tpuseg.ops import masks

CAR = Category(1, "car")


def test_an_outline_of_two_polygons():
    made = shapes.outline("shape 1", CAR, 0, [[0, 0, 4, 0, 4, 3, 0, 3], [10, 5, 12, 5, 10, 9]])
    assert made.box == (0, 0, 12, 9) and made.area == 12 + 4 and not made.is_crowd


def test_what_is_no_polygon_stays_for_the_checks():
    made = shapes.outline("shape 1", CAR, 0, [[0, 0, 4, 0], [0, 0, 4, 0, 4, math.nan]])
    assert made.box is None and made.area is None and made.segmentation[0] == [0, 0, 4, 0]


def test_boxes():
    corners = shapes.rectangle(1, 2, 5, 4)
    assert corners == [1, 2, 5, 2, 5, 4, 1, 4]
    made = shapes.box("box 1", CAR, 0, corners, is_mask=False)
    assert made.segmentation is None and made.box == (1, 2, 4, 2) and made.area == 8
    assert shapes.box("box 1", CAR, 0, corners, is_mask=True).segmentation == [corners]


def test_a_rectangle_turns_clockwise_as_it_is_seen():
    # A quarter turn around (3, 3): the left upper corner goes to the right.
    found = shapes.rectangle(1, 2, 5, 4, degrees=90)
    assert np.allclose(np.reshape(found, (4, 2)), [(4, 1), (4, 5), (2, 5), (2, 1)])
    found = shapes.rectangle(1, 2, 5, 4, degrees=90, center=(1, 2))
    assert np.allclose(np.reshape(found, (4, 2)), [(1, 2), (1, 6), (-1, 6), (-1, 2)])


@pytest.mark.parametrize("radius", [1, 40, 3000])
def test_a_circle_is_close_to_its_polygon(radius):
    points = np.reshape(shapes.ellipse(50, 60, radius, radius), (-1, 2)) - (50, 60)
    assert np.allclose(np.hypot(*points.T), radius)
    middle = (points + np.roll(points, 1, axis=0)) / 2
    assert np.hypot(*middle.T).min() > radius - 0.1 and 16 <= len(points) <= 720


def test_an_ellipse_is_turned():
    points = np.reshape(shapes.ellipse(0, 0, 4, 2, degrees=90), (-1, 2))
    assert np.allclose(np.abs(points).max(0), (2, 4), atol=0.05)
    assert shapes.ellipse(0, 0, math.inf, 1) == shapes.ellipse(0, 0, 0, 0) == []


def test_a_mask_of_pixels():
    pixels = np.zeros((5, 6), np.uint8)
    pixels[1:3, 2:6] = 1
    made = shapes.pixel_mask("brush", CAR, 0, masks.encode(pixels))
    assert made.box == (2, 1, 4, 2) and made.area == 8
