"""Windows of an image: positions, overlap, weights and neighbours, by hand-computed examples and by properties."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tpuseg.ops import windows
from tpuseg.ops.windows import Grid, Span, Tiling, Window


def test_spans_are_evenly_spaced_and_end_at_the_border() -> None:
    # A stride of at most 75 pixels, so (310 - 100) / 75 gives three steps of 70.
    assert windows.spans(310, Tiling(100, 0.25)) == [Span(0, 100), Span(70, 170), Span(140, 240), Span(210, 310)]


@pytest.mark.parametrize("length", [1, 63, 64])
def test_a_short_axis_has_one_span(length: int) -> None:
    assert windows.spans(length, Tiling(64, 0.9)) == [Span(0, length)]


@given(length=st.integers(1, 3000), size=st.integers(32, 700), overlap=st.floats(0, 0.95))
def test_spans_cover_the_axis_and_share_at_least_the_overlap(length: int, size: int, overlap: float) -> None:
    found = windows.spans(length, Tiling(size, overlap))
    assert found[0].start == 0 and found[-1].stop == length
    assert all(span.stop - span.start == min(size, length) for span in found)
    for first, second in zip(found[:-1], found[1:], strict=True):
        assert first.start < second.start <= first.stop
        assert first.stop - second.start >= min(overlap * size, size - 1) - 1e-6


def test_one_window_more_is_added_only_where_it_is_needed() -> None:
    assert len(windows.spans(175, Tiling(100, 0.25))) == 2
    assert len(windows.spans(176, Tiling(100, 0.25))) == 3


def test_windows_are_numbered_by_rows() -> None:
    grid = Grid((100, 150), Tiling(64, 0.0))
    assert len(grid) == 6
    assert list(grid)[:3] == [Window(0, 0, 64, 64), Window(0, 43, 64, 107), Window(0, 86, 64, 150)]
    assert grid[5] == Window(36, 86, 100, 150) and grid.place(5) == (1, 2)
    with pytest.raises(IndexError, match="window 6 of 6"):
        grid[6]


def test_neighbours_are_the_earlier_windows_with_common_pixels() -> None:
    grid = Grid((120, 180), Tiling(64, 0.0))  # Columns 0..64, 58..122, 116..180; rows 0..64, 56..120.
    assert [grid.neighbours(number) for number in range(6)] == [[], [0], [1], [0, 1], [0, 1, 2, 3], [1, 2, 4]]


@settings(deadline=None, max_examples=40)
@given(size=st.tuples(st.integers(1, 250), st.integers(1, 250)), overlap=st.floats(0, 0.6))
def test_neighbours_are_all_pairs_with_common_pixels(size: tuple[int, int], overlap: float) -> None:
    grid = Grid(size, Tiling(100, overlap))
    for number in range(len(grid)):
        shared = [other for other in range(number) if min(grid[number].intersect(grid[other]).size) > 0]
        assert sorted(grid.neighbours(number)) == shared


def test_weights_fall_linearly_over_the_common_part() -> None:
    axis = [Span(0, 4), Span(2, 6)]
    np.testing.assert_allclose(windows.weights(axis, 0), [1, 1, 0.75, 0.25])
    np.testing.assert_allclose(windows.weights(axis, 1), [0.25, 0.75, 1, 1])


def test_weights_without_overlap_are_one() -> None:
    assert windows.weights([Span(0, 3), Span(3, 6)], 1).tolist() == [1, 1, 1]


@given(length=st.integers(65, 900), overlap=st.floats(0, 0.45))
def test_weights_of_two_neighbours_add_up_to_one(length: int, overlap: float) -> None:
    axis = windows.spans(length, Tiling(64, overlap))
    covered, total = np.zeros(length), np.zeros(length)
    for number, (start, stop) in enumerate(axis):
        covered[start:stop] += 1
        total[start:stop] += windows.weights(axis, number)
        assert windows.weights(axis, number).min() > 0
    np.testing.assert_allclose(total[covered <= 2], 1, rtol=1e-5)


def test_strips_end_where_a_span_begins_or_ends() -> None:
    axis = [Span(0, 5), Span(3, 8), Span(6, 11)]
    assert windows.strips(axis) == [Span(0, 3), Span(3, 5), Span(5, 6), Span(6, 8), Span(8, 11)]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"size": 8}, "the tile size is 8, but must be at least 32 pixels"),
        ({"size": 64, "overlap": 1.0}, "the overlap of tiles is 1, but must be at least 0 and less than 1, such as 0.2"),
        ({"size": 64, "overlap": -0.1}, "the overlap of tiles is -0.1"),
        ({"size": 64, "overlap": float("nan")}, "the overlap of tiles is nan"),
        ({"size": 64, "scale": 0.0}, "the scale of tiles is 0, but must be more than 0"),
    ],
)
def test_values_out_of_range_are_one_line(values: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Tiling(**values)  # type: ignore[arg-type]


def test_scaled_size_is_rounded_and_at_least_a_pixel() -> None:
    assert windows.scaled_size((10, 7), 1.5) == (15, 10)  # 10.5 is rounded to the even number.
    assert windows.scaled_size((10, 3), 0.2) == (2, 1)
    assert windows.scaled_size((1, 100), 0.2) == (1, 20)


def test_nearest_pixels_are_those_at_the_centres() -> None:
    assert windows.nearest_pixels(10, 4).tolist() == [1, 3, 6, 8]  # 1.25, 3.75, 6.25 and 8.75.
    assert windows.nearest_pixels(2, 6).tolist() == [0, 0, 0, 1, 1, 1]


def test_windows_move_by_at_least_one_pixel() -> None:
    assert windows.spans(35, Tiling(32, 0.99)) == [Span(0, 32), Span(1, 33), Span(2, 34), Span(3, 35)]


def test_the_largest_scale() -> None:
    assert Tiling(64, scale=16.0).scale == 16 and Tiling(64).scale == 1
    with pytest.raises(ValueError, match="the scale of tiles is 16.5"):
        Tiling(64, scale=16.5)


def test_class_ids_are_resized_to_the_nearest_pixels() -> None:
    assert windows.resize_nearest(np.array([[1, 2, 3], [4, 5, 6]]), (4, 2)).tolist() == [[1, 3], [1, 3], [4, 6], [4, 6]]
