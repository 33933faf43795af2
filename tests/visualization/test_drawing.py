"""Images for people: VOC's colours, classes laid over images, legends, sheets, palette PNGs."""

import numpy as np
import PIL.Image
import PIL.ImageFont
import pytest

from tpuseg.visualization import drawing

NAMES = ["sky", "road", "car"]


def test_the_colours_are_vocs():
    # As in VOC's development kit: background, aeroplane, bicycle, bird, boat, bottle; person; tvmonitor; the border.
    first = [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], [0, 0, 128], [128, 0, 128]]
    colors = drawing.color_map()
    assert colors[:6].tolist() == first and colors.shape == (256, 3) and colors.dtype == np.uint8
    assert colors[[15, 20, 255]].tolist() == [[192, 128, 128], [0, 64, 128], [224, 224, 192]]
    assert len(np.unique(colors, axis=0)) == 256
    np.testing.assert_array_equal(drawing.color_map(21), colors[:21])


def test_labels_as_colours():
    colors = drawing.colorize(np.array([[0, 1], [2, 7]]), ignore_label=7)
    assert colors.tolist() == [[[0, 0, 0], [128, 0, 0]], [[0, 128, 0], list(drawing.IGNORE_COLOR)]]


def test_an_overlay_mixes_colours_and_leaves_the_background():
    image = np.full((1, 3, 3), 100, np.uint8)
    mixed = drawing.overlay(image, np.array([[0, 1, 255]]), ignore_label=255, alpha=0.5)
    assert mixed.tolist() == [[[100, 100, 100], [114, 50, 50], [162, 162, 146]]] and mixed.dtype == np.uint8
    np.testing.assert_array_equal(drawing.overlay(image, np.array([[1, 2, 3]]), alpha=0.0), image)


def colors_of(strip):
    return {tuple(color) for color in strip.reshape(-1, 3).tolist()}


def test_a_legend_shows_the_classes_that_occur():
    strip = drawing.legend(np.array([[1, 1], [2, 255]]), NAMES, 300, ignore_label=255)
    assert strip.shape == (24, 300, 3) and strip.dtype == np.uint8
    assert {(128, 0, 0), (0, 128, 0), drawing.IGNORE_COLOR} <= colors_of(strip)
    assert (128, 0, 0) not in colors_of(drawing.legend(np.array([2]), NAMES, 300))


def test_a_legend_goes_on_in_another_row():
    narrow = drawing.legend(np.arange(3), NAMES, 60)
    assert narrow.shape == (24 + 2 * 20, 60, 3) and drawing.legend(np.arange(3), NAMES, 600).shape == (24, 600, 3)


LONG = "Traffic sign, warning (yellow diamond) with supplementary plate below"


@pytest.mark.parametrize(("width", "size"), [(240, 12), (320, 12), (1280, 45)])
def test_long_names_go_on_in_another_line(width, size):
    strip = drawing.names_with_colors([("sky", (255, 0, 0)), (LONG, (0, 0, 255)), ("road", (0, 255, 0))], width, size)
    # The same names in a strip so wide that nothing has to be broken: as much ink, so nothing is cut off.
    whole = drawing.names_with_colors([("sky", (255, 0, 0)), (LONG, (0, 0, 255)), ("road", (0, 255, 0))], 5000, size)
    ink, wanted = ((255 - pixels.astype(float)).sum() for pixels in (strip, whole))
    assert ink == pytest.approx(wanted, rel=0.02) and strip.shape[0] > whole.shape[0]
    assert (strip[:, -2:] == 255).all()
    blue = np.argwhere((strip == (0, 0, 255)).all(-1))[:, 0]
    green = np.argwhere((strip == (0, 255, 0)).all(-1))[:, 0]
    assert green.min() > blue.max() + size  # Below all lines of the long one.


def test_a_name_without_words_is_broken_anywhere_and_ends_with_dots():
    font = PIL.ImageFont.load_default(12)
    lines = drawing._split_into_lines("x" * 400, font, 100)
    assert len(lines) == 4 and lines[-1].endswith("x...") and max(map(font.getlength, lines)) <= 100
    assert drawing._split_into_lines("guard_rail-left side", font, 70) == ["guard_rail-", "left side"]
    assert drawing._split_into_lines("", font, 70) == [""]


def test_small_images_are_enlarged_for_their_legend():
    image, ids = np.arange(48, dtype=np.uint8).reshape(4, 4, 3), np.arange(16).reshape(4, 4)
    assert drawing.enlargement_factor((4, 300, 3)) == 60 and drawing.enlargement_factor((240, 500)) == 1
    assert drawing.enlarge(image).shape == (240, 240, 3) and drawing.enlarge(ids)[59, 60:121:60].tolist() == [1, 2]
    panel = drawing.panel(image, ids, ids, [f"a long name {number}" for number in range(16)], 255)
    assert panel.shape[1] == 3 * 240 + 2 * 4


def test_a_class_without_a_name_is_shown_by_its_number():
    with_name, without = drawing.legend(np.array([2]), NAMES, 80), drawing.legend(np.array([2]), NAMES[:1], 80)
    assert with_name.shape == without.shape and not np.array_equal(with_name, without)


def test_a_panel_has_image_truth_and_prediction():
    image = np.full((240, 250, 3), 200, np.uint8)
    truth, prediction = np.zeros((240, 250), np.uint8), np.ones((240, 250), np.uint8)
    panel = drawing.panel(image, truth, prediction, NAMES, 255)
    assert panel.shape[1] == 3 * 250 + 2 * 4 and panel.shape[0] >= 240 + 18 + 20
    middle = panel[18 + 120]
    assert middle[125].tolist() == middle[254 + 125].tolist() == [200, 200, 200]  # Class 0 leaves the image as it is.
    assert middle[508 + 125].tolist() == drawing.overlay(image, prediction)[0, 0].tolist() != [200, 200, 200]


@pytest.mark.parametrize(
    ("sizes", "columns", "expected"),
    [
        ([(10, 20)], 4, (5 + 4, 10 + 4)),
        ([(10, 20)] * 3, 2, (2 * (5 + 4), 2 * (10 + 4))),
        ([(10, 20), (40, 20), (10, 20)], 2, ((20 + 4) + (5 + 4), 2 * (10 + 4))),  # A row is as high as its highest image.
        ([(1, 100)], 4, (1 + 4, 10 + 4)),
    ],
)
def test_the_size_of_a_contact_sheet(sizes, columns, expected):
    images = [np.full((*size, 3), 50 + number, np.uint8) for number, size in enumerate(sizes)]
    sheet = drawing.contact_sheet(images, columns, width=10)
    assert sheet.shape == (*expected, 3)
    assert sheet[0, 0].tolist() == [50, 50, 50] and sheet[-1, -1].tolist() == [255, 255, 255]


def test_a_palette_png_holds_ids_and_shows_colours(tmp_path):
    ids = np.array([[0, 1, 2], [20, 255, 7]], np.uint8)
    path = tmp_path / "folder" / "mask.png"
    drawing.write_png(str(path), ids, palette=drawing.color_map())
    with PIL.Image.open(path) as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(np.asarray(image), ids)
        np.testing.assert_array_equal(np.asarray(image.convert("RGB")), drawing.color_map()[ids])
    assert [file.name for file in path.parent.iterdir()] == ["mask.png"]  # Nothing unfinished stays.


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 3)])
def test_images_and_ids_come_back_as_they_were(tmp_path, shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    drawing.write_png(str(tmp_path / "a.png"), pixels)
    np.testing.assert_array_equal(np.asarray(PIL.Image.open(tmp_path / "a.png")), pixels)


def test_a_title_stands_above_the_image():
    image = np.zeros((10, 60, 3), np.uint8)
    titled = drawing.add_title(image, "truth")
    np.testing.assert_array_equal(titled[-10:], image)
    assert titled.shape == (28, 60, 3) and titled[:18].min() < 128
