"""Merging class scores of windows: against hand-computed averages and against the class map of an undivided image."""

import numpy as np
import pytest

from tpuseg.deeplab.tiles import ClassMerger
from tpuseg.evaluation import miou
from tpuseg.ops import windows


def smooth_scores(size: tuple[int, int], num_classes: int = 3) -> np.ndarray:
    """Scores that are linear in the position within triangles, so that interpolating them again changes nothing."""
    y, x = np.mgrid[: size[0], : size[1]]
    return np.stack([np.sin(y / 40.0 + k) + np.cos(x / 30.0 + 2 * k) for k in range(num_classes)], -1).astype(np.float32)


def add_all(merger: ClassMerger, grid: windows.Grid, scores: np.ndarray, order: list[int]) -> None:
    for number in order:
        window = grid[number]
        cut = scores[window.top : window.bottom, window.left : window.right]
        merger.add(number, {"logits": cut[np.newaxis]}, 0)


@pytest.mark.parametrize("size", [(64, 64), (64, 150), (200, 90), (131, 173)])
@pytest.mark.parametrize("overlap", [0.0, 0.2, 0.7])
def test_windows_of_the_same_scores_give_the_undivided_class_map(size: tuple[int, int], overlap: float) -> None:
    # One score for each pixel: a window's scores are a part of the image's, whatever the weights are.
    scores, grid = smooth_scores(size), windows.Grid(size, windows.Tiling(64, overlap))
    merger = ClassMerger(grid, (64, 64))
    add_all(merger, grid, scores, list(range(len(grid))))
    np.testing.assert_array_equal(merger.finish(), scores.argmax(-1))


def test_windows_can_be_added_in_any_order() -> None:
    scores, grid = smooth_scores((150, 170)), windows.Grid((150, 170), windows.Tiling(64, 0.3))
    merger = ClassMerger(grid, (64, 64))
    add_all(merger, grid, scores, np.random.default_rng(0).permutation(len(grid)).tolist())
    np.testing.assert_array_equal(merger.finish(), scores.argmax(-1))


def test_rows_are_returned_once_and_as_soon_as_they_are_complete() -> None:
    scores, grid = smooth_scores((160, 64)), windows.Grid((160, 64), windows.Tiling(64, 0.25))  # Rows 0..64, 48..112, 96..160.
    merger = ClassMerger(grid, (64, 64))
    taken = []
    for number in range(3):
        add_all(merger, grid, scores, [number])
        taken.append([(top, len(rows)) for top, rows in merger.take_rows()])
    assert taken == [[(0, 48)], [(48, 16), (64, 32)], [(96, 16), (112, 48)]]
    assert not merger.take_rows()


def test_scores_are_forgotten_when_their_rows_are_complete() -> None:
    size = (64 * 20, 64)
    scores, grid = smooth_scores(size), windows.Grid(size, windows.Tiling(64, 0.25))
    merger = ClassMerger(grid, (64, 64))
    held = []
    for number in range(len(grid)):
        add_all(merger, grid, scores, [number])
        merger.take_rows()
        held.append(len(merger._scores))
    assert max(held) <= 2 and held[-1] == 0


def test_scores_in_the_common_part_are_averaged_with_falling_weights() -> None:
    """Two windows of 64 columns share 16. The first says class 0 with a score of 1, the second class 1 with a score of 3."""
    grid = windows.Grid((64, 112), windows.Tiling(64, 0.25))
    merger = ClassMerger(grid, (64, 64))
    first, second = (np.zeros((64, 64, 2), np.float32) for _ in range(2))
    first[..., 0], second[..., 1] = 1.0, 3.0
    merger.add(0, {"logits": first[np.newaxis]}, 0)
    merger.add(1, {"logits": second[np.newaxis]}, 0)
    # At the pixel i of the common part, the weights are 1 - (i + 0.5) / 16 and (i + 0.5) / 16: class 1 wins if
    # 3 (i + 0.5) > 16 - (i + 0.5), so from i = 4 on.
    expected = np.repeat([0, 1], [48 + 4, 112 - 52])
    np.testing.assert_array_equal(merger.finish(), np.tile(expected, (64, 1)))


def test_a_reduced_window_is_interpolated_like_a_reduced_image() -> None:
    """An image in one window gives the same class map as without windows, also if the canvas is smaller than the window."""
    scores = smooth_scores((17, 17))
    grid = windows.Grid((100, 80), windows.Tiling(128))
    merger = ClassMerger(grid, (65, 65))
    merger.add(0, {"logits": scores[np.newaxis]}, 0)
    np.testing.assert_array_equal(merger.finish(), miou.class_map(scores, (65, 65), (100, 80)))


def test_an_enlarged_window_covers_more_of_the_canvas() -> None:
    """With a scale of 2, a window of 32 pixels fills a canvas of 64: every second score belongs to a pixel."""
    scores = smooth_scores((64, 64))
    grid = windows.Grid((32, 32), windows.Tiling(32, scale=2.0))
    merger = ClassMerger(grid, (64, 64))
    merger.add(0, {"logits": scores[np.newaxis]}, 0)
    pairs = scores.reshape(32, 2, 32, 2, 3).mean((1, 3))
    np.testing.assert_array_equal(merger.finish(), pairs.argmax(-1))
