"""Masks in rectangles of their own: the same pixels as at the size of the image."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tpuseg.ops import mask_crops, masks
from tpuseg.ops.mask_crops import Crop
from tpuseg.ops.windows import Window


def crop_of(rows: list[str], top: int, left: int) -> Crop:
    return Crop(masks.encode(np.array([[letter == "#" for letter in row] for row in rows])), top, left)


@pytest.mark.parametrize("origin", [(0, 0), (100, 30)])
def test_paste_has_the_pixels_of_pasting_into_the_image(origin: tuple[int, int]) -> None:
    random = np.random.default_rng(0)
    low = random.uniform(0, 60, (30, 2))
    boxes = np.concatenate([low, np.minimum(low + random.uniform(0.2, 40, (30, 2)), 80)], 1)
    grids = random.uniform(0, 1, (30, 7, 7)).astype(np.float32)
    crops = mask_crops.paste(grids, boxes, origin)
    size = (80 + origin[0], 80 + origin[1])
    expected = [masks.decode(runs) for runs in masks.paste(grids, boxes, (80, 80)).runs]
    placed = [masks.decode(runs) for runs in mask_crops.to_run_lengths(crops, size)]
    for mask, wanted in zip(placed, expected, strict=True):
        np.testing.assert_array_equal(mask[origin[0] :, origin[1] :], wanted)
        assert mask.sum() == wanted.sum()


def test_paste_of_nothing() -> None:
    assert mask_crops.paste(np.zeros((0, 7, 7), np.float32), np.zeros((0, 4))) == []
    assert mask_crops.to_run_lengths([], (5, 5)) == []


def test_pixels_in_a_window() -> None:
    crop = crop_of(["##", "#."], top=3, left=5)
    assert mask_crops.pixels(crop, Window(2, 4, 5, 7)).tolist() == [[False] * 3, [False, True, True], [False, True, False]]
    assert mask_crops.count_pixels(crop, Window(2, 6, 5, 9)) == 1
    assert mask_crops.count_pixels(crop, Window(0, 0, 3, 9)) == 0


def test_shared_pixels() -> None:
    #  columns 5 6 7; the second crop begins one row lower and one column further right
    first, second = crop_of(["###", "###"], 3, 5), crop_of(["#.", "##"], 4, 6)
    assert mask_crops.count_shared_pixels(first, second) == 1
    assert mask_crops.count_shared_pixels(first, crop_of(["#"], 5, 5)) == 0


def test_unite() -> None:
    united = mask_crops.unite([crop_of(["##"], 3, 5), crop_of(["#", "#"], 4, 7)])
    assert (united.top, united.left) == (3, 5)
    assert masks.decode(united.runs).tolist() == [[1, 1, 0], [0, 0, 1], [0, 0, 1]]


def test_to_box_mask_is_the_covered_part_of_each_cell() -> None:
    crop = crop_of(["####", "####", "..##", "...."], top=10, left=20)
    found = mask_crops.to_box_mask(crop, np.array([10.0, 20, 14, 24]), 2)
    np.testing.assert_allclose(found, [[1, 1], [0, 0.5]])


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 10**6), top=st.integers(-3, 12), left=st.integers(-3, 12))
def test_run_lengths_are_those_of_the_whole_mask(seed: int, top: int, left: int) -> None:
    mask = np.random.default_rng(seed).random((6, 4)) < 0.5
    image = np.zeros((30, 30), bool)
    image[10 + top : 16 + top, 10 + left : 14 + left] = mask
    (runs,) = mask_crops.to_run_lengths([Crop(masks.encode(mask), top, left)], (12, 11))
    assert runs == masks.encode(image[10:22, 10:21])


def test_an_image_beyond_the_run_lengths_of_coco_is_one_line() -> None:
    with pytest.raises(ValueError, match="an image of 30000x20000 pixels is too large for COCO's run lengths"):
        mask_crops.to_run_lengths([], (20000, 30000))
    (runs,) = mask_crops.to_run_lengths([crop_of(["#"], 19999, 20000)], (20000, 26000))
    assert masks.area(runs) == 1 and masks.bounding_box(runs).tolist() == [19999, 20000, 20000, 20001]


def test_paste_begins_at_the_pixel_of_the_box() -> None:
    (crop,) = mask_crops.paste(np.ones((1, 7, 7), np.float32), np.array([[3.5, 8.2, 6.5, 9.9]]))
    assert (crop.top, crop.left) == (3, 8) and masks.area(crop.runs) > 0


def test_shared_pixels_are_those_of_both() -> None:
    ring = crop_of(["###", "#.#", "###"], 0, 0)
    assert mask_crops.count_shared_pixels(ring, crop_of(["##", "##"], 1, 1)) == 3
    assert mask_crops.count_shared_pixels(crop_of(["##", "##"], 1, 1), ring) == 3
    assert mask_crops.count_shared_pixels(ring, crop_of(["###"], 3, 0)) == 0  # Below it.


def test_to_box_mask_of_a_box_beside_the_crop() -> None:
    # The box begins 2 rows above and 1 column left of the crop, and has 4 rows and 2 columns.
    found = mask_crops.to_box_mask(crop_of(["##", "##"], top=7, left=3), np.array([5.0, 2, 9, 4]), 2)
    np.testing.assert_allclose(found, [[0, 0], [0, 1]])


def test_the_smallest_image_beyond_the_run_lengths() -> None:
    with pytest.raises(ValueError, match="an image of 32768x16384 pixels is too large"):
        mask_crops.to_run_lengths([], (16384, 32768))
    assert mask_crops.to_run_lengths([], (16383, 32768)) == []
