"""Run lengths and pasting against pycocotools and a full-size drawing; masks in boxes' frames against answers by hand."""

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from tpuseg.ops import masks

# A ring: 1 pixel wide, with a hole, in an image of 5 x 6.
RING = np.array([[0, 0, 0, 0, 0, 0], [0, 1, 1, 1, 1, 0], [0, 1, 0, 0, 1, 0], [0, 1, 1, 1, 1, 0], [0, 0, 0, 0, 0, 0]], np.uint8)
# Column by column: 6 beside, 3 on, 3 beside (2 + 1), 1 on, 1 beside, 1 on, and so on.
RING_COUNTS = [6, 3, 2, 1, 1, 1, 2, 1, 1, 1, 2, 3, 6]


def drawn(mask, box, size):
    """A mask pasted the plain way, every pixel of the image: bilinear at the centres, zeros around, one half and more."""

    def weights(start, stop, num_pixels, side):
        places = (np.arange(num_pixels) + 0.5 - start) / (stop - start) * side - 0.5
        return np.maximum(1 - np.abs(places[:, np.newaxis] - np.arange(side)), 0)

    rows = weights(box[0], box[2], size[0], mask.shape[0])
    columns = weights(box[1], box[3], size[1], mask.shape[1])
    return rows @ mask.astype(np.float64) @ columns.T >= 0.5


class TestRunLengths:
    def test_uncompressed_compressed_and_bytes_are_the_same(self):
        expected = coco_mask.encode(np.asfortranarray(RING))
        for counts in (RING_COUNTS, expected["counts"], expected["counts"].decode()):
            assert masks.run_lengths({"size": [5, 6], "counts": counts}, 5, 6) == expected
        np.testing.assert_array_equal(masks.decode(expected), RING)
        assert masks.area(expected) == 10
        np.testing.assert_array_equal(masks.bounding_box(expected), [1, 1, 4, 5])

    def test_polygons_are_united(self):
        left, right = [0, 0, 2, 0, 2, 4, 0, 4], [4, 1, 6, 1, 6, 3, 4, 3]
        drawn = masks.decode(masks.run_lengths([left, right], 4, 6))
        np.testing.assert_array_equal(drawn, [[1, 1, 0, 0, 0, 0], [1, 1, 0, 0, 1, 1], [1, 1, 0, 0, 1, 1], [1, 1, 0, 0, 0, 0]])

    def test_no_polygon_is_an_empty_mask(self):
        assert masks.area(masks.run_lengths([], 4, 6)) == 0

    @pytest.mark.parametrize(
        ("segmentation", "message"),
        [
            ([[1, 2, 3, 4]], "a polygon has 4 coordinates; it needs an even number of at least 6"),
            ([[1, 2, 3, 4, 5, 6, 7]], "a polygon has 7 coordinates"),
            ([[1, 2, 3, 4, 5, float("nan")]], "not finite"),
            ([1, 2, 3, 4, 5, 6], "a polygon is 1, not a flat list"),
            ([[[1, 2], [3, 4], [5, 6]]], "not a flat list of numbers"),
            ("abc", "the segmentation is a str"),
            ({"size": [5, 6]}, "run lengths are of size"),
            ({"size": [6, 5], "counts": [30]}, r"of size \[6, 5\], the image is \[5, 6\]"),
            ({"size": [5, 6], "counts": [20]}, "add up to 20 pixels, the image has 30"),
            ({"size": [5, 6], "counts": [40, -10]}, "run lengths add up to"),
            ({"size": [5, 6], "counts": "~~"}, "damaged"),
            ({"size": "x" * 50, "counts": [30]}, f"of size {'x' * 40}, the image"),
            ({"size": [5, 6], "counts": "P"}, "damaged"),
            ({"size": [5, 6], "counts": "0P"}, "damaged"),
            # Characters stand for 0 ("0") to 63 ("o"): one below, beside a valid one, and one above.
            ({"size": [5, 6], "counts": b"\x0f1"}, "damaged"),
            ({"size": [5, 6], "counts": "p0"}, "damaged"),
        ],
    )
    def test_invalid_segmentations_are_errors(self, segmentation, message):
        with pytest.raises(ValueError, match=message):
            masks.run_lengths(segmentation, 5, 6)

    def test_the_union_of_parts(self):
        left, right = (masks.encode(np.array([[first, 0, second]], np.uint8)) for first, second in ((1, 0), (0, 1)))
        assert masks.union([left]) == left
        np.testing.assert_array_equal(masks.decode(masks.union([left, right])), [[1, 0, 1]])

    def test_sizes(self):
        assert masks.has_size({"size": [5, 6]}, 5, 6) and masks.has_size({"size": (5, 6)}, 5, 6)
        for size in (None, 5, [5], [5, 6, 1], [4, 6], [5, 7], "56"):
            assert not masks.has_size({"size": size}, 5, 6)

    def test_run_lengths_beyond_the_image(self):
        assert masks.area(masks.run_lengths({"size": [5, 6], "counts": [0, 30]}, 5, 6)) == 30
        for counts, longest in (([0, 31], 31), ([20, -5, 15], 20), ([40, -10], 40), ([31, 0], 31), ([-1, 0], -1)):
            with pytest.raises(ValueError, match=f"add up to more than the image: a run has {longest} pixels, the image 30"):
                masks.run_lengths({"size": [5, 6], "counts": counts}, 5, 6)

    @pytest.mark.parametrize("kind", [tuple, np.array, lambda counts: list(map(float, counts))])
    def test_whole_numbers_of_any_kind(self, kind):
        np.testing.assert_array_equal(masks.decode(masks.run_lengths({"size": [5, 6], "counts": kind(RING_COUNTS)}, 5, 6)), RING)

    @pytest.mark.parametrize(
        "counts",
        [
            30,
            {30},
            [6.5, 23.5],
            [6.5, 23.5, 0.0],
            [2.0**53, 1.0],
            [[15, 15]],
            [[15.0, 15.0]],
            [[1], [2, 3]],
            ["30"],
            [True],
            [2.0**53],
            [1, None],
            [float("inf")],
        ],
    )
    def test_counts_that_are_no_list_of_whole_numbers(self, counts):
        with pytest.raises(ValueError, match="not a list of whole numbers or their compressed form"):
            masks.run_lengths({"size": [5, 6], "counts": counts}, 5, 6)

    def test_counts_of_random_masks(self):
        random = np.random.default_rng(0)
        for density in (0.0, 0.01, 0.5, 0.99, 1.0):
            mask = np.asfortranarray(random.uniform(size=(40, 50)) < density).astype(np.uint8)
            counts = masks.decode_counts(coco_mask.encode(mask)["counts"])
            flat = np.repeat(np.arange(len(counts)) % 2, counts)
            np.testing.assert_array_equal(flat.reshape(50, 40).T, mask)


# Its sides pass 3, 4, 5 and 9 pixels.
QUAD = [0, 0, 3, 0, 3, 4, 0, 9]


class TestLimits:
    def test_an_outline_is_measured_along_the_longer_direction_of_each_side(self):
        assert masks._outline(QUAD) == 3 + 4 + 5 + 9

    def test_coordinates(self, monkeypatch):
        monkeypatch.setattr(masks, "_MAX_COORDINATE", 100)
        for polygon in ([0, 0, 100, 0, 0, 1], [0, 0, -100, 0, 0, 1]):
            assert masks.check_polygon(polygon) == polygon
        for polygon in ([0, 0, 101, 0, 0, 1], [0, 0, -101, 0, 0, 1]):
            with pytest.raises(ValueError, match="coordinates up to 101"):
                masks.check_polygon(polygon)

    def test_outlines(self, monkeypatch):
        monkeypatch.setattr(masks, "_MAX_OUTLINE", 21)
        assert masks.check_polygon(QUAD) == QUAD
        monkeypatch.setattr(masks, "_MAX_OUTLINE", 20)
        with pytest.raises(ValueError, match="coordinates up to 9"):
            masks.check_polygon(QUAD)

    def test_characters_of_a_count(self):
        assert masks.decode_counts(b"PPPPP0").tolist() == [0]
        for counts in (b"PPPPPP0", b"0PPPPPP0"):
            with pytest.raises(ValueError, match="damaged"):
                masks.decode_counts(counts)

    def test_boxes_that_polygons_fit(self, monkeypatch):
        square = [0, 0, 10, 0, 10, 10, 0, 10]
        assert masks.fit_frame([square], np.array([0.0, 0, 1, 1])) and not masks.fit_frame([square], np.array([0.0, 0, 1, 0.9]))
        # In the frame of a box of 5 x 10 pixels, 224 x 224 places: 10 pixels are 448 places along y, and 224 along x.
        box = np.array([0.0, 0, 5, 10])
        for limit, fits in ((448, True), (447, False)):
            monkeypatch.setattr(masks, "_MAX_COORDINATE", limit)
            assert masks.fit_frame([square], box) == fits
            assert masks.fit_frame([square, [0, 0, 1, 0, 1, 1]], box) == masks.fit_frame([[0, 0, 1, 0, 1, 1], square], box) == fits
            # The same along x, and on the other side of the box.
            assert masks.fit_frame([square], box[[1, 0, 3, 2]]) == fits
            assert masks.fit_frame([[value - 5 for value in square]], np.array([0.0, -5, 5, 5])) == (limit == 448)
        monkeypatch.setattr(masks, "_MAX_COORDINATE", 1e6)
        # 40 pixels of outline, at most 44.8 places each.
        for limit, fits in ((1792, True), (1791, False)):
            monkeypatch.setattr(masks, "_MAX_OUTLINE", limit)
            assert masks.fit_frame([square], box) == fits

    @pytest.mark.parametrize(
        ("polygon", "farthest"),
        [
            ([30, 40, 31, 500, 32, 41], 490),  # Below: 500 - 10.
            ([30, 40, 31, -300, 32, 41], 534),  # Above: 234 + 300.
            ([30, 40, 500, 41, 32, 42], 480),  # On the right: 500 - 20.
            ([30, 40, -300, 41, 32, 42], 544),  # On the left: 244 + 300.
        ],
    )
    def test_the_distance_of_a_polygon_is_measured_from_the_opposite_side_of_the_box(self, polygon, farthest, monkeypatch):
        # A box of 224 x 224 pixels: a pixel is one place of the frame.
        box = np.array([10.0, 20, 234, 244])
        monkeypatch.setattr(masks, "_MAX_COORDINATE", farthest)
        assert masks.fit_frame([polygon], box)
        monkeypatch.setattr(masks, "_MAX_COORDINATE", farthest - 1)
        assert not masks.fit_frame([polygon], box)

    def test_the_outline_of_a_long_polygon_is_not_scaled_by_the_side_across_it(self, monkeypatch):
        # One place per pixel along y, and 100 along x: the distance is 224 places, and 4 corners are at most 8 x 224 = 1792 apart,
        # though the outline of 402 pixels would be 40,200 places at the scale of x.
        polygon, box = [0, 0, 1, 0, 1, 200, 0, 200], np.array([0.0, 0, 224, 2.24])
        for limit, fits in ((2000, True), (1792, True), (1791, False)):
            monkeypatch.setattr(masks, "_MAX_OUTLINE", limit)
            assert masks.fit_frame([polygon], box) == fits


class TestPaste:
    def test_by_hand(self):
        # A mask of 2 x 2 over a box of 4 x 4: the four pixel centres have 3/4, 3/4, 1/4 and 0 of the value of the first cell.
        mask = np.array([[[1.0, 0.0], [0.0, 0.0]]])
        pasted = masks.paste(mask, np.array([[1.0, 1.0, 5.0, 5.0]]), (6, 6))
        expected = np.zeros((6, 6), np.uint8)
        # The product for row and column is at least one half only for 3/4 x 3/4 = 9/16; 3/4 x 1/4 is 3/16.
        expected[1:3, 1:3] = 1
        np.testing.assert_array_equal(masks.decode(pasted.runs[0]), expected)
        assert pasted.areas.tolist() == [4]

    def test_the_example_in_the_docstring(self):
        pasted = masks.paste(np.array([[[0.9, 0.2], [0.55, 0.2]]]), np.array([[1.0, 1.0, 5.0, 5.0]]), (6, 6))
        assert masks.decode(pasted.runs[0])[1:5, 1:5].tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]
        assert masks.decode_counts(pasted.runs[0]["counts"]).tolist() == [7, 2, 4, 3, 20]
        # The column x = 1, at the two rows of the mask and at the padding above and below.
        owner, columns = masks._columns(np.array([[1.0, 1.0, 5.0, 5.0]]), (6, 6))
        values = masks._interpolate_columns(np.array([[[0.9, 0.2], [0.55, 0.2]]]), np.array([[1.0, 1, 5, 5]]), owner, columns)
        np.testing.assert_allclose(values[0], [0, 0.675, 0.4125, 0], atol=1e-6)

    def test_exactly_one_half_is_on_the_object(self):
        pasted = masks.paste(np.full((1, 1, 1), 0.5), np.array([[0.5, 0.5, 1.5, 1.5]]), (3, 3))
        # Centres at the border of the box get half of the mask's value, or a quarter.
        assert pasted.areas.tolist() == [0]
        full = masks.paste(np.ones((1, 1, 1)), np.array([[0.0, 0.5, 1.0, 1.5]]), (3, 3))
        assert masks.decode(full.runs[0]).tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 0]]

    @pytest.mark.parametrize("seed", range(4))
    def test_against_drawing_every_pixel(self, seed):
        random = np.random.default_rng(seed)
        wrong = total = 0
        for side in (1, 3, 14, 28):
            size = tuple(random.integers(4, 90, 2))
            sides = np.exp(random.uniform(np.log(0.3), np.log(250), (40, 2)))
            centres = random.uniform(-0.2, 1.2, (40, 2)) * size
            boxes = np.concatenate([centres - sides / 2, centres + sides / 2], 1)
            boxes[::3] = np.clip(boxes[::3], 0, [*size, *size])
            boxes[1::6] = np.round(boxes[1::6])
            values = random.uniform(size=(40, side, side)).astype(np.float32)
            values[::4] = values[::4] > 0.5
            values[2::4] = np.clip(values[2::4] * 1.5, 0, 1)
            pasted = masks.paste(values, boxes, size)
            for mask, box, runs, area in zip(values, boxes, *pasted, strict=True):
                found = masks.decode(runs)
                assert area == found.sum()
                # The bytes are those of pycocotools, so other programs read the same mask.
                assert runs == coco_mask.encode(np.asfortranarray(found))
                if (box[2:] > box[:2]).all():
                    wrong += (found != drawn(mask, box, size)).sum()
                    total += found.size
                else:
                    assert area == 0
        # Values of exactly one half may be rounded to either side.
        assert wrong <= 2 and total > 50_000

    def test_runs_of_consecutive_masks_are_not_merged(self):
        # The first mask covers the last pixel of the image and the second the first pixel: their runs must stay separate.
        pasted = masks.paste(np.ones((3, 28, 28)), np.array([[0, 0, 4, 5], [0, 0, 4, 2], [-9, -9, 20, 30]], np.float32), (4, 5))
        assert [masks.decode_counts(runs["counts"]).tolist() for runs in pasted.runs] == [[0, 20], [0, 8, 12], [0, 20]]

    def test_nothing_to_paste(self):
        assert masks.paste(np.zeros((0, 28, 28)), np.zeros((0, 4)), (10, 10)).runs == []
        boxes = np.array([[20, 20, 30, 30], [5, 5, 5, 9], [5, 9, 7, 5], [2.6, 2.6, 3.4, 3.4]])
        pasted = masks.paste(np.ones((4, 28, 28)), boxes, (10, 10))
        assert pasted.areas.tolist() == [0] * 4  # Outside, empty, negative width, and between the centres of pixels.
        assert all(runs["counts"] == coco_mask.encode(np.zeros((10, 10), np.uint8, order="F"))["counts"] for runs in pasted.runs)

    @pytest.mark.parametrize(
        "box",
        [
            [2.5, 1, 2.5, 4],  # No height, at the centres of a row.
            [1, 2.5, 4, 2.5],  # No width, at the centres of a column.
            [2.6, 1, 3.4, 2],  # One column, between the centres of two rows: a run that begins and ends at the same pixel.
        ],
    )
    def test_boxes_without_the_centre_of_a_pixel(self, box):
        pasted = masks.paste(np.ones((1, 28, 28)), np.array([box]), (10, 10))
        assert pasted.areas.tolist() == [0] and masks.decode_counts(pasted.runs[0]["counts"]).tolist() == [100]

    @pytest.mark.parametrize("what", ["boxes", "masks"])
    def test_nan_is_an_error(self, what):
        given = {"boxes": np.ones((1, 4)), "masks": np.ones((1, 28, 28))}
        given[what][0, 0] = np.nan
        with pytest.raises(ValueError, match=f"the {what} have values that are not finite"):
            masks.paste(given["masks"], given["boxes"], (9, 9))


class TestFrames:
    def test_frame_of_a_polygon_that_covers_the_left_half(self):
        box = np.array([10.0, 20.0, 30.0, 60.0])
        frame = masks.frame_of_polygons([[20, 10, 40, 10, 40, 30, 20, 30]], box)
        expected = np.zeros((56, 56))
        expected[:, :28] = 255
        np.testing.assert_array_equal(frame, expected)

    def test_frame_of_pixels_that_cover_the_left_half(self):
        mask = np.zeros((40, 80), np.uint8)
        mask[10:30, 20:40] = 1
        runs = coco_mask.encode(np.asfortranarray(mask))
        frame = masks.frame_of_runs(runs, np.array([10.0, 20.0, 30.0, 60.0]))
        np.testing.assert_array_equal(frame[:, :28], 255)
        np.testing.assert_array_equal(frame[:, 28:], 0)

    def test_a_half_covered_cell_has_half_of_the_value(self):
        # 112 pixels in 56 cells: two pixels per cell. The object's border lies in the middle of the eleventh cell.
        mask = np.zeros((112, 112), np.uint8)
        mask[:, :21] = 1
        frame = masks.frame_of_runs(coco_mask.encode(np.asfortranarray(mask)), np.array([0.0, 0.0, 112.0, 112.0]))
        assert frame[5, 8:13].tolist() == [255, 255, 128, 0, 0] and frame.shape == (56, 56)

    def test_polygons_are_drawn_with_four_rows_and_columns_to_a_cell(self):
        frame = masks.frame_of_polygons([[0, 0, 10.5, 0, 10.5, 56, 0, 56]], np.array([0.0, 0.0, 56.0, 56.0]))
        assert frame[5, 9:12].tolist() == [255, 128, 0]


class TestPackedFrames:
    FRAMES = np.arange(5, dtype=np.uint8)[:, None, None] + np.zeros((5, 56, 56), np.uint8)

    def test_packed_frames_are_unpacked(self):
        np.testing.assert_array_equal(masks.read_frames(masks.pack_frames(list(self.FRAMES)), 5), self.FRAMES)

    def test_no_frame_is_no_byte(self):
        assert masks.pack_frames([]) == b"" and masks.read_frames(b"", 0).shape == (0, 56, 56)

    def test_one_frame_more_than_expected_is_unpacked_at_most(self):
        np.testing.assert_array_equal(masks.read_frames(masks.pack_frames(list(self.FRAMES)), 2), self.FRAMES[:3])

    def test_damaged_and_truncated_frames(self):
        # Without the last four bytes, a checksum, all values are there, but not the end of the data.
        for packed in (b"abc", masks.pack_frames(list(self.FRAMES))[:-4]):
            with pytest.raises(ValueError, match=r"box masks \(image/object/mask/frames\) cannot be unpacked"):
                masks.read_frames(packed, 5)
