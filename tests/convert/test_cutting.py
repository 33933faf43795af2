"""Objects cut at the borders of windows: boxes, masks, areas and ignored regions against answers by hand."""

import io

import hypothesis
import hypothesis.extra.numpy
import hypothesis.strategies as st
import numpy as np
import PIL.Image
import pytest

from tpuseg.convert import cutting, objects
from tpuseg.convert.objects import Annotation
from tpuseg.data.examples import Category
from tpuseg.ops import mask_windows, masks, windows
from tpuseg.ops.windows import Window

SIZE = (64, 100)
# Rows 20 to 39 and columns 30 to 69.
RECTANGLE = [30, 20, 70, 20, 70, 40, 30, 40]


def outline_of(segmentation, box, is_crowd=False, area=800.0, size=SIZE):
    return objects.outline(Annotation("", Category(1, "thing"), 0, is_crowd, box, area, segmentation), size, [])


def cut(outline, window, min_visible=0.3):
    """Returns the object in a window, or None."""
    part = cutting.find_visible(outline, mask_windows.bounding_window(outline.runs), window)
    return part and cutting.draw(part, min_visible)


def decoded_png(instance):
    return np.asarray(PIL.Image.open(io.BytesIO(instance.png)))


def test_an_object_inside_keeps_the_values_of_its_annotation():
    polygon = [30.25, 20.5, 69.75, 20.5, 69.75, 39.5, 30.25, 39.5]
    outline = outline_of([polygon], (30.25, 20.5, 39.5, 19.0), area=750.5)
    whole = objects.draw(outline, b"")
    made = cut(outline, Window(10, 20, 60, 80))
    np.testing.assert_array_equal(made.box, [10.5, 10.25, 29.5, 49.75])
    np.testing.assert_array_equal(made.annotated_box, [10.25, 10.5, 39.5, 19.0])
    assert made.annotated_area == 750.5 and not made.is_crowd
    np.testing.assert_array_equal(made.frame, whole.frame)
    np.testing.assert_array_equal(masks.decode(made.runs), masks.decode(whole.runs)[10:60, 20:80])
    np.testing.assert_array_equal(decoded_png(made), masks.decode(made.runs))


def test_a_cut_object_has_the_box_area_and_mask_of_the_visible_part():
    # The window shows the columns 30 to 59 of the object, 30 of 40.
    made = cut(outline_of([RECTANGLE], (30, 20, 40, 20)), Window(0, 0, 64, 60))
    np.testing.assert_array_equal(made.box, [20, 30, 40, 60])
    np.testing.assert_array_equal(made.annotated_box, [30, 20, 30, 20])
    assert made.annotated_area == 600 and not made.is_crowd and made.frame.min() == 255
    mask = np.zeros((64, 60), np.uint8)
    mask[20:40, 30:60] = 1
    np.testing.assert_array_equal(masks.decode(made.runs), mask)
    np.testing.assert_array_equal(decoded_png(made), mask)


@pytest.mark.parametrize(("min_visible", "is_crowd"), [(0.0, False), (0.25, False), (0.26, True), (1.0, True)])
def test_an_object_of_which_little_is_visible_is_an_ignored_region(min_visible, is_crowd):
    # Ten of the 40 columns.
    made = cut(outline_of([RECTANGLE], (30, 20, 40, 20)), Window(0, 0, 64, 40), min_visible)
    assert made.is_crowd == is_crowd and made.annotated_area == 200
    np.testing.assert_array_equal(made.box, [20, 30, 40, 40])


def test_a_border_that_touches_the_window_exactly():
    outline = outline_of([RECTANGLE], (30, 20, 40, 20))
    inside = cut(outline, Window(20, 30, 40, 70), 1.0)
    np.testing.assert_array_equal(inside.box, [0, 0, 20, 40])
    assert inside.annotated_area == 800 and not inside.is_crowd
    for beside in (Window(20, 70, 40, 100), Window(20, 0, 40, 30), Window(0, 30, 20, 70), Window(40, 30, 64, 70)):
        assert cut(outline, beside) is None


def test_a_window_in_the_hole_of_an_object_does_not_show_it():
    ring = np.zeros(SIZE, np.uint8)
    ring[10:50, 10:90] = 1
    ring[20:40, 20:80] = 0
    assert cut(outline_of(masks.encode(ring), (10, 10, 80, 40)), Window(22, 30, 38, 60)) is None


def test_a_polygon_of_several_parts():
    # Parts of 100 and 300 pixels at both ends of the box; the first window shows a quarter of the object.
    parts = [[0, 0, 10, 0, 10, 10, 0, 10], [80, 0, 90, 0, 90, 30, 80, 30]]
    outline = outline_of(parts, (0, 0, 90, 30), area=400.0)
    left, right = cut(outline, Window(0, 0, 64, 50)), cut(outline, Window(0, 50, 64, 100))
    assert (left.is_crowd, right.is_crowd) == (True, False)
    np.testing.assert_array_equal(left.box, [0, 0, 10, 10])
    np.testing.assert_array_equal(right.box, [0, 30, 30, 40])
    assert (left.annotated_area, right.annotated_area) == (100, 300)


def test_a_box_without_a_mask_is_an_ignored_region_in_every_window():
    outline = outline_of(None, (30.5, 20, 40, 20))
    made = cut(outline, Window(0, 0, 64, 60))
    # The pixels of the box: columns 30 to 70.
    assert made.is_crowd and made.annotated_area == 30 * 20
    np.testing.assert_array_equal(made.box, [20, 30, 40, 60])
    whole = cut(outline, Window(0, 10, 64, 100))
    np.testing.assert_array_equal(whole.box, [20, 20.5, 40, 60.5])


def test_crowds_as_run_lengths_stay_crowds():
    mask = np.zeros(SIZE, np.uint8)
    mask[5:15, 5:95] = 1
    outline = outline_of(masks.encode(mask), (5, 5, 90, 10), is_crowd=True, area=900.0)
    for window, box, area in ((Window(0, 0, 64, 60), [5, 5, 15, 60], 550), (Window(0, 40, 64, 100), [5, 0, 15, 55], 550)):
        made = cut(outline, window, 0.0)
        assert made.is_crowd and made.annotated_area == area
        np.testing.assert_array_equal(made.box, box)


def test_a_box_that_reaches_farther_than_its_mask_is_clipped_to_the_window():
    # The mask ends at column 69, the annotated box at 75; the window at 70.
    made = cut(outline_of([RECTANGLE], (30, 20, 45, 20)), Window(0, 0, 64, 70), 1.0)
    np.testing.assert_array_equal(made.box, [20, 30, 40, 70])
    np.testing.assert_array_equal(made.annotated_box, [30, 20, 40, 20])
    assert made.annotated_area == 800 and not made.is_crowd


MASKS = hypothesis.extra.numpy.arrays(np.uint8, (64, 96), elements=st.integers(0, 1), fill=st.just(0))


def parts_of(mask, tiling):
    """Yields each window and the object in it, or None."""
    y0, x0, y1, x1 = masks.bounding_box(masks.encode(mask))
    outline = outline_of(masks.encode(mask), (x0, y0, x1 - x0, y1 - y0), size=mask.shape)
    for window in windows.Grid(mask.shape, tiling):
        yield window, cut(outline, window, 0.5)


@hypothesis.given(MASKS, st.integers(32, 70), st.sampled_from([0.0, 0.2, 0.6]))
@hypothesis.settings(deadline=None, max_examples=40)
def test_the_visible_masks_of_all_windows_are_the_mask(mask, size, overlap):
    hypothesis.assume(mask.any())
    union = np.zeros_like(mask)
    for (top, left, bottom, right), made in parts_of(mask, windows.Tiling(size, overlap)):
        shown = mask[top:bottom, left:right]
        assert (made is None) == (not shown.any())
        if made is not None:
            union[top:bottom, left:right] |= masks.decode(made.runs)
            assert made.is_crowd == (shown.sum() < 0.5 * mask.sum())
            if shown.sum() < mask.sum():
                np.testing.assert_array_equal(made.box, masks.bounding_box(masks.encode(shown)))
    np.testing.assert_array_equal(union, mask)


@hypothesis.given(MASKS)
@hypothesis.settings(deadline=None, max_examples=40)
def test_the_areas_in_windows_without_overlap_add_up(mask):
    hypothesis.assume(mask.any())
    outline_area = float(mask.sum())
    found = [made for _, made in parts_of(mask, windows.Tiling(32, 0.0)) if made is not None]
    cut_areas = [made.annotated_area for made in found]
    # An object in one window keeps its annotated area, here 800.
    assert sum(cut_areas) == outline_area if len(found) > 1 else cut_areas == [800.0]


@hypothesis.given(st.lists(st.tuples(st.floats(-5, 105), st.floats(-5, 70)), min_size=3, max_size=8), st.integers(0, 36))
@hypothesis.settings(deadline=None, max_examples=60)
def test_polygons_in_a_window_are_those_of_the_image(points, left):
    polygon = [value for point in points for value in point]
    outline = objects.outline(Annotation("", Category(1, "thing"), 0, False, None, None, [polygon]), SIZE, [])
    hypothesis.assume(outline is not None)
    window = Window(8, left, 60, left + 64)
    made, whole = cut(outline, window, 0.0), masks.decode(outline.runs)[8:60, left : left + 64]
    assert (made is None) == (not whole.any())
    if made is not None:
        np.testing.assert_array_equal(masks.decode(made.runs), whole)
        assert (made.box[:2] >= 0).all() and (made.box[2:] <= [52, 64]).all() and (made.box[2:] > made.box[:2]).all()
        np.testing.assert_array_equal(decoded_png(made), whole)
