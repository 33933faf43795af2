"""Merging detections of windows: each rule by hand, and random objects that were cut by windows."""

import numpy as np
import pytest

from tpuseg.maskrcnn.tiles import MergedObjects, ObjectMerger
from tpuseg.ops import masks, windows

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
