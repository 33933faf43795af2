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


def test_a_turn_by_less_than_a_right_angle():
    # From (3, 1) around (1, 1): two to the right become 2 cos 30 to the right and 2 sin 30 down; (1, 3) goes left and down.
    found = shapes.rotate([3, 1, 1, 3], 30, (1, 1))
    assert np.allclose(found, [1 + math.sqrt(3), 2, 0, 1 + math.sqrt(3)])
    assert shapes.rotate([3, 1], math.nan, (1, 1)) == shapes.rotate([3, 1], 0, (1, 1)) == [3, 1]


def test_an_ellipse_lies_around_its_centre_and_is_not_turned_by_default():
    points = np.reshape(shapes.ellipse(50, 60, 4, 2), (-1, 2)) - (50, 60)
    assert np.allclose((points[:, 0] / 4) ** 2 + (points[:, 1] / 2) ** 2, 1) and np.allclose(points.mean(0), 0)
    assert len(points) == 16 and len(shapes.ellipse(0, 0, 1e8, 1e8)) == 2 * 720


def test_a_box_of_corners_that_cannot_be_used_stays_for_the_checks():
    made = shapes.box("box 1", CAR, 0, [math.nan] * 8, is_mask=False)
    assert made.box is None and made.segmentation is not None
    assert not shapes.box("box 1", CAR, 0, shapes.rectangle(1, 2, 5, 4), is_mask=False).is_crowd


def test_as_crowd():
    assert shapes.as_crowd(shapes.outline("a", CAR, 0, [[0, 0, 4, 0, 4, 3]])).is_crowd


@pytest.mark.parametrize(
    ("given", "points"),
    [
        ([[1, 2.5], [-3, 4]], [(1, 2.5), (-3, 4)]),
        ([], None),
        ("ab", None),
        ({"a": 1}, None),
        ([(1, 2)], None),
        (["ab"], None),
        ([[1, 2, 3]], None),
        ([[1, None]], None),
        ([["1", 2]], None),
        ([[True, 2]], None),
        ([[math.nan, 2]], None),
        ([[1e9, -1e9]], [(1e9, -1e9)]),
        ([[1, 1.1e9]], None),
    ],
)
def test_points_of_a_file(given, points):
    assert shapes.read_points(given) == points


@pytest.mark.parametrize(
    ("x", "y", "fits"), [(0, 0, True), (9, 6, True), (10, 6, False), (9, 7, False), (-1, 0, False), (0, -1, False)]
)
def test_a_part_of_the_image(x, y, fits):
    found = shapes.paste_runs(np.array([[1, 0, 1], [1, 1, 1]], bool), x, y, (8, 12))
    if not fits:
        assert found is None
        return
    expected = np.zeros((8, 12), np.uint8)
    expected[y : y + 2, x : x + 3] = [[1, 0, 1], [1, 1, 1]]
    assert np.array_equal(masks.decode(found), expected)
