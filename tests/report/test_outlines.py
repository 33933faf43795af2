import numpy as np
import PIL.Image
import PIL.ImageDraw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tpuseg.ops import masks
from tpuseg.report import outlines


def outlines_of(mask, **options):
    return outlines.find_outlines(masks.encode(np.array(mask)), **options)


def box_of(polygon):
    points = np.reshape(polygon, (-1, 2))
    return [*points.min(0).tolist(), *points.max(0).tolist()]


def test_a_rectangle_has_four_points():
    mask = np.zeros((8, 9))
    mask[2:6, 3:5] = 1
    (polygon,) = outlines_of(mask)
    # Rows 2 to 5 and columns 3 to 4; a quarter of a pixel inside of the edge.
    assert len(polygon) == 8 and box_of(polygon) == pytest.approx([3.25, 2.25, 4.75, 5.75], abs=0.06)


def test_parts_and_sizes():
    mask = np.zeros((30, 40))
    mask[0, 0] = 1
    mask[10:29, 20:40] = 1
    large, small = outlines_of(mask)
    assert box_of(large) == pytest.approx([20.2, 10.2, 39.8, 28.8], abs=0.1)
    assert box_of(small) == pytest.approx([0.2, 0.2, 0.8, 0.8], abs=0.1)
    assert outlines_of(np.zeros((3, 4))) == []
    assert len(outlines_of(np.ones((3, 4)))) == 1


def test_few_points_describe_a_circle():
    y, x = np.mgrid[:200, :200]
    mask = np.hypot(y - 99.5, x - 99.5) < 90
    for most in (60, 12):
        (polygon,) = outlines_of(mask, max_points=most)
        assert 6 <= len(polygon) // 2 <= most
        drawn = PIL.Image.new("1", (200, 200))
        PIL.ImageDraw.Draw(drawn).polygon(polygon, fill=1)
        assert (np.array(drawn) & mask).sum() / (np.array(drawn) | mask).sum() > 0.9


@settings(max_examples=60, deadline=None)
@given(arrays.arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.integers(0, 1)))
def test_any_mask(mask):
    found = outlines_of(mask)
    assert bool(found) == bool(mask.any())
    assert sum(map(len, found)) <= 2 * outlines.MAX_POINTS
    runs = masks.encode(mask)
    pixels, top, left = outlines._crop(runs)
    pixels = pixels.T
    if mask.any():
        assert np.array_equal(pixels, mask[top : top + pixels.shape[0], left : left + pixels.shape[1]])
        assert pixels.sum() == mask.sum()
    for polygon in found:
        x0, y0, x1, y1 = box_of(polygon)
        assert 0 <= x0 <= x1 <= mask.shape[1] and 0 <= y0 <= y1 <= mask.shape[0]
