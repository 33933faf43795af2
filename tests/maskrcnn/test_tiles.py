"""Merging detections of windows: each rule by hand, and random objects that were cut by windows."""

import numpy as np
import pytest

from tpuseg.maskrcnn import tiles
from tpuseg.maskrcnn.tiles import MergedObjects, ObjectMerger
from tpuseg.ops import masks, windows
from tpuseg.ops.mask_crops import Crop

SIDE = 28  # Of the box masks.
# A full box mask lacks a few pixels at the corners of its box, because it is interpolated with the zeros around it.
CORNERS = 0.05


def merge(grid: windows.Grid, found: list[tuple[int, tuple[float, ...], float, int]]) -> MergedObjects:
    """Merges detections whose masks fill their boxes: window, box in pixels of the image, score and class."""
    merger = ObjectMerger(grid)
    for number, window in enumerate(grid):
        rows = [row for row in found if row[0] == number]
        boxes = np.array([row[1] for row in rows], np.float32).reshape(-1, 4) - np.tile([window.top, window.left], 2)
        outputs = {
            "boxes": boxes,
            "scores": np.array([row[2] for row in rows], np.float32),
            "classes": np.array([row[3] for row in rows], np.int32),
            "masks": np.ones((len(rows), SIDE, SIDE), np.float32),
            "valid": np.ones(len(rows), bool),
            "image_size": np.array(window.size),
        }
        merger.add(number, {name: np.asarray(value)[np.newaxis] for name, value in outputs.items()}, 0)
    return merger.finish()


@pytest.fixture
def pair() -> windows.Grid:
    """Two windows of 100 columns that share the columns 80 to 99."""
    grid = windows.Grid((100, 180), windows.Tiling(100, 0.2))
    assert [window.left for window in grid] == [0, 80] and grid[0].right == 100
    return grid


def test_objects_of_one_window_stay_as_they_are(pair: windows.Grid) -> None:
    # The second lies in the first: the network did not suppress it, so neither does the merger.
    found = merge(pair, [(0, (10, 10, 50, 50), 0.9, 0), (0, (20, 20, 40, 40), 0.8, 0), (1, (60, 150, 70, 170), 0.95, 1)])
    np.testing.assert_allclose(found.scores, [0.95, 0.9, 0.8])
    assert found.classes.tolist() == [1, 0, 0]
    np.testing.assert_allclose(found.boxes, [[60, 150, 70, 170], [10, 10, 50, 50], [20, 20, 40, 40]])
    np.testing.assert_allclose([masks.area(runs) for runs in found.runs()], [200, 1600, 400], rtol=CORNERS)


def test_a_duplicate_in_the_common_part_keeps_the_higher_score(pair: windows.Grid) -> None:
    found = merge(pair, [(0, (10, 83, 20, 95), 0.7, 0), (1, (10, 84, 21, 95), 0.8, 0)])
    np.testing.assert_allclose(found.boxes, [[10, 84, 21, 95]])


def test_neighbours_in_the_common_part_that_share_little_both_stay(pair: windows.Grid) -> None:
    assert len(merge(pair, [(0, (10, 83, 20, 90), 0.7, 0), (1, (10, 87, 20, 95), 0.8, 0)])) == 2  # 30 of 70 pixels.
    assert len(merge(pair, [(0, (10, 83, 20, 91), 0.7, 0), (1, (10, 87, 20, 95), 0.8, 0)])) == 1  # 40 of 80 pixels.


def test_duplicates_of_different_classes_both_stay(pair: windows.Grid) -> None:
    assert len(merge(pair, [(0, (10, 83, 20, 95), 0.7, 0), (1, (10, 83, 20, 95), 0.8, 1)])) == 2


@pytest.mark.parametrize("label", [0, 1])
def test_a_part_is_removed_whatever_its_score_and_class_are(pair: windows.Grid, label: int) -> None:
    # The first window shows the columns 85 to 99 of an object that ends at 130.
    found = merge(pair, [(0, (10, 85, 40, 100), 0.99, label), (1, (10, 85, 40, 130), 0.6, 0)])
    np.testing.assert_allclose(found.boxes, [[10, 85, 40, 130]])
    np.testing.assert_allclose(found.scores, [0.6])


def test_an_object_that_is_cut_on_both_sides_is_joined(pair: windows.Grid) -> None:
    found = merge(pair, [(0, (10, 40, 30, 100), 0.9, 2), (1, (10, 80, 30, 150), 0.7, 2)])
    assert len(found) == 1 and found.classes.tolist() == [2]
    np.testing.assert_allclose(found.boxes, [[10, 40, 30, 150]])
    np.testing.assert_allclose(found.scores, [0.9])
    (runs,) = found.runs()
    parts = masks.paste(np.ones((2, SIDE, SIDE)), np.array([[10, 40, 30, 100], [10, 80, 30, 150]]), (100, 180)).runs
    assert runs == masks.union(parts)
    # The box mask is what the union covers of each cell.
    assert found.masks[0, 2:-2].min() > 0.99 and found.masks.mean() == pytest.approx(masks.area(runs) / (20 * 110))


def test_parts_of_different_classes_are_not_joined(pair: windows.Grid) -> None:
    assert len(merge(pair, [(0, (10, 40, 30, 100), 0.9, 2), (1, (10, 80, 30, 150), 0.7, 1)])) == 2


def test_cut_objects_that_share_little_of_the_common_part_are_not_joined(pair: windows.Grid) -> None:
    # Both fill 20 rows of the common part, and have 8 and 12 of them in common.
    assert len(merge(pair, [(0, (10, 40, 30, 100), 0.9, 0), (1, (22, 80, 42, 150), 0.7, 0)])) == 2
    assert len(merge(pair, [(0, (10, 40, 30, 100), 0.9, 0), (1, (18, 80, 38, 150), 0.7, 0)])) == 1


def test_long_parts_are_joined_although_they_share_little_of_themselves() -> None:
    """Two windows of 100 columns share 10: the common part is a tenth of either mask."""
    grid = windows.Grid((100, 190), windows.Tiling(100, 0.1))
    assert len(merge(grid, [(0, (10, 0, 30, 100), 0.9, 0), (1, (10, 90, 30, 190), 0.7, 0)])) == 1


def test_an_object_longer_than_a_window_is_joined_from_a_chain() -> None:
    grid = windows.Grid((100, 340), windows.Tiling(100, 0.2))  # Columns 0, 80, 160 and 240.
    parts = [(0, 20, 100), (1, 80, 180), (2, 160, 260), (3, 240, 300)]
    found = merge(grid, [(number, (40, left, 60, right), 0.5 + number / 10, 0) for number, left, right in parts])
    np.testing.assert_allclose(found.boxes, [[40, 20, 60, 300]])
    assert masks.area(found.runs()[0]) == pytest.approx(20 * 280, rel=CORNERS)


def test_an_object_at_a_corner_of_four_windows_is_one_object() -> None:
    grid = windows.Grid((180, 180), windows.Tiling(100, 0.2))
    box = (70, 70, 120, 130)  # No window shows it completely.
    cut = []
    for number, window in enumerate(grid):
        cut.append((number, tuple(np.clip(box, np.tile(window[:2], 2), np.tile(window[2:], 2))), 0.8, 0))
    found = merge(grid, cut)
    np.testing.assert_allclose(found.boxes, [box])


def test_a_window_without_detections() -> None:
    found = merge(windows.Grid((100, 180), windows.Tiling(100, 0.2)), [])
    assert len(found) == 0 and found.runs() == [] and found.pixels().shape == (0, 100, 180)
    assert found.masks.shape == (0, 1, 1) and found.boxes.shape == (0, 4)


def test_above_keeps_the_masks(pair: windows.Grid) -> None:
    found = merge(pair, [(0, (10, 40, 30, 100), 0.9, 0), (1, (10, 80, 30, 150), 0.7, 0), (1, (50, 150, 60, 160), 0.3, 0)])
    above = found.above(0.5)
    assert isinstance(above, MergedObjects) and [masks.area(runs) for runs in above.runs()] == [masks.area(found.runs()[0])]
    assert len(above) == 1 and above.scores.tolist() == pytest.approx([0.9])


@pytest.mark.parametrize("overlap", [0.1, 0.25, 0.5])
def test_rectangles_that_windows_cut_are_found_once_each(overlap: float) -> None:
    """Objects on a jittered lattice, much smaller and much larger than the common part of two windows."""
    random = np.random.default_rng(1)
    size, grid = (700, 900), windows.Grid((700, 900), windows.Tiling(128, overlap))
    boxes = []
    for top in range(10, 560, 95):
        for left in range(10, 760, 95):
            height, width = random.integers(8, 80, 2)
            boxes.append((top, left, top + height, left + width))
    boxes.append((600, 5, 680, 890))  # Larger than any window.
    found = []
    for number, window in enumerate(grid):
        for box in boxes:
            low, high = np.maximum(box[:2], window[:2]), np.minimum(box[2:], window[2:])
            if (high > low).all():
                found.append((number, (*low, *high), float(random.uniform(0.3, 1)), 0))
    merged = merge(grid, found)
    assert len(merged) == len(boxes) and merged.size == size
    # A detection that lacks no more than the margin of its rule may win against the complete one.
    order, wanted = (np.array(sorted(map(tuple, rows))) for rows in (merged.boxes, np.array(boxes, np.float32)))
    assert np.abs(order - wanted).max() <= 4
    # The masks of an object that spans the image are joined to the area of the object.
    assert max(masks.area(runs) for runs in merged.runs()) == pytest.approx(80 * 885, rel=CORNERS)


# Below, boxes have at most 28 pixels a side, so a cell of their box masks is at most a pixel, and masks are complete rectangles.
# The windows have 40 pixels and share 8: the columns 32 to 39. `flips` exchanges the windows and the axes, so every rule is tried
# with each of the four borders.
FLIPS = [(mirrored, transposed) for mirrored in (False, True) for transposed in (False, True)]


def flip(found: list[tuple], mirrored: bool, transposed: bool) -> tuple[windows.Grid, list[tuple]]:
    size, result = (40, 72), []
    for number, (top, left, bottom, right), score, label in found:
        if mirrored:
            number, left, right = 1 - number, 72 - right, 72 - left
        box = (left, top, right, bottom) if transposed else (top, left, bottom, right)
        result.append((number, box, score, label))
    grid = windows.Grid(size[::-1] if transposed else size, windows.Tiling(40, 0.2))
    assert [max(window.top, window.left) for window in grid] == [0, 32]
    return grid, result


def classes_that_stay(found: list[tuple], flips: tuple[bool, bool]) -> list[int]:
    return sorted(merge(*flip(found, *flips)).classes.tolist())


@pytest.mark.parametrize("flips", FLIPS)
@pytest.mark.parametrize(
    ("other", "stays"),
    [
        ((0, 35, 10, 60), [1]),  # Shares half of the cut detection.
        ((1, 35, 11, 60), [0, 1]),  # Shares 45 of its 100 pixels.
        ((9, 35, 19, 60), [0, 1]),
        ((0, 35, 10, 42), [0, 1]),  # Does not reach beyond the border by more than 2 pixels.
        ((0, 35, 10, 43), [1]),
    ],
)
def test_half_of_a_part_must_be_in_the_other(other: tuple, stays: list[int], flips: tuple[bool, bool]) -> None:
    assert classes_that_stay([(0, (0, 30, 10, 40), 0.9, 0), (1, other, 0.5, 1)], flips) == stays


@pytest.mark.parametrize("flips", FLIPS)
@pytest.mark.parametrize(("right", "stays"), [(38, [1]), (37, [0, 1])])
def test_a_detection_touches_a_border_up_to_two_pixels_before_it(right: int, stays: list[int], flips: tuple[bool, bool]) -> None:
    assert classes_that_stay([(0, (0, 34, 10, right), 0.9, 0), (1, (0, 35, 10, 50), 0.5, 1)], flips) == stays


@pytest.mark.parametrize("flips", FLIPS)
def test_an_object_that_ends_at_the_border_is_no_part(flips: tuple[bool, bool]) -> None:
    assert classes_that_stay([(0, (0, 34, 10, 40), 0.9, 0), (1, (0, 34, 10, 40), 0.5, 1)], flips) == [0, 1]


@pytest.mark.parametrize("flips", FLIPS)
@pytest.mark.parametrize(
    ("other", "count"),
    [
        ((5, 32, 15, 52), 1),  # Half of the common part of each, 40 of 80 pixels.
        ((6, 32, 16, 52), 2),
        ((4, 32, 24, 52), 1),  # 48 pixels are half of 80, but not of 160.
    ],
)
def test_cut_objects_are_joined_from_half_of_the_smaller_part_on(other: tuple, count: int, flips: tuple[bool, bool]) -> None:
    assert len(classes_that_stay([(0, (0, 20, 10, 40), 0.9, 0), (1, other, 0.5, 0)], flips)) == count


@pytest.mark.parametrize("flips", FLIPS)
@pytest.mark.parametrize(
    ("other", "count"),
    [((0, 33, 3, 36), 1), ((0, 34, 6, 36), 1), ((3, 33, 9, 37), 1), ((4, 33, 10, 37), 2)],
)
def test_duplicates_share_half_of_the_smaller_mask(other: tuple, count: int, flips: tuple[bool, bool]) -> None:
    # The first has 6 x 4 pixels, and none of them is near a border of the windows that the other one crosses.
    assert len(classes_that_stay([(0, (0, 33, 6, 37), 0.9, 0), (1, other, 0.5, 0)], flips)) == count


def test_the_margin_grows_with_the_box(pair: windows.Grid) -> None:
    """The boxes end 4 pixels before the borders at 100 and 80; 4 is less than a twentieth of their 86 columns."""
    assert len(merge(pair, [(0, (10, 10, 60, 96), 0.9, 0), (1, (10, 84, 60, 170), 0.7, 0)])) == 1
    assert len(merge(pair, [(0, (10, 30, 60, 96), 0.9, 0), (1, (10, 84, 60, 150), 0.7, 0)])) == 2


def detections(areas: list[int], scores: list[float]) -> list[tiles._Detection]:
    nothing = Crop(masks.encode(np.zeros((1, 1))), 0, 0)
    rows = zip(areas, scores, strict=True)
    return [tiles._Detection(0, np.zeros(4), score, 0, np.zeros((1, 1)), nothing, area) for area, score in rows]


def merged(areas: list[int], scores: list[float], parts: list = (), joins: list = (), duplicates: list = ()) -> list[list[int]]:
    relations = tiles._Relations(list(parts), list(joins), list(duplicates))
    return sorted(sorted(group) for group in tiles._merge(detections(areas, scores), relations))


def test_a_removed_part_joins_nothing() -> None:
    assert merged([9, 5, 9, 9], [0.9] * 4, parts=[(1, 3)], joins=[(0, 1), (1, 2)]) == [[0], [2], [3]]


def test_a_removed_part_suppresses_nothing() -> None:
    assert merged([9, 5, 9], [0.5, 0.9, 0.9], parts=[(1, 2)], duplicates=[(0, 1), (1, 0)]) == [[0], [2]]


def test_the_smallest_parts_are_removed_first_and_only_by_what_stays() -> None:
    assert merged([10, 5, 8], [0.9] * 3, parts=[(0, 1), (1, 2)]) == [[0], [2]]
    assert merged([5, 8, 10], [0.9] * 3, parts=[(0, 1), (1, 2)]) == [[2]]


def test_a_joined_object_competes_with_its_best_score() -> None:
    assert merged([9, 9, 9], [0.3, 0.9, 0.8], joins=[(0, 1)], duplicates=[(0, 2)]) == [[0, 1]]
    assert merged([9, 9, 9], [0.3, 0.7, 0.8], joins=[(0, 1)], duplicates=[(0, 2)]) == [[2]]


def test_what_a_suppressed_object_overlaps_stays() -> None:
    assert merged([9, 9, 9], [0.9, 0.8, 0.7], duplicates=[(0, 1), (1, 2)]) == [[0], [2]]
    assert merged([9, 9], [0.5, 0.5], duplicates=[(0, 1)]) == [[0]]
