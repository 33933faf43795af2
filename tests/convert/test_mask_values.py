"""What values, colours and palettes of masks mean, and what is refused because nobody can know it."""

import io

import numpy as np
import PIL.Image
import pytest

from tpuseg.convert import label_masks, mask_values, palettes
from tpuseg.convert.mask_values import LabelRules, ValueRules, parse_values
from tpuseg.visualization.drawing import color_map

COLORS = ((0, 0, 0), (250, 50, 83), (51, 221, 255))


def rules(num_classes=3, text="", offset=0, ignored="", **more):
    return LabelRules(num_classes, 255, values=parse_values(text, offset, ignored), **more)


def ids(values, *args, dtype=np.uint8, **more):
    return mask_values.to_ids(np.array([values], dtype), rules(*args, **more), "a.png")[0].tolist()


def test_values_are_ids_unless_something_is_said():
    assert ids([0, 1, 2, 255]) == [0, 1, 2, 255]
    with pytest.raises(ValueError, match="a.png: 2 pixels have the value 3, 128, .*--mask_values=3:ID or 3:ignore"):
        ids([0, 3, 128])


def test_the_first_class_is_one_and_zero_does_not_count():
    assert ids([0, 1, 3, 255], offset=-1, ignored="0") == [255, 0, 2, 255]
    with pytest.raises(ValueError, match="1 pixel has the value 0"):
        ids([0, 1], offset=-1)
    with pytest.raises(ValueError, match="1 pixel has the value 4"):
        ids([4, 1], offset=-1, ignored="0")


def test_mapped_values():
    assert ids([0, 255], 2, "255:1") == [0, 1]
    assert ids([0, 255], 2, "255:ignore") == [0, 255]
    assert ids([7, 8, 300, 65535], 2, "7:0, 8:1, *:ignore", dtype=np.uint16) == [0, 1, 255, 255]
    assert ids([-1, 0], 2, "-1:ignore", dtype=np.int32) == [255, 0]
    assert ids([5, 6], 2, "5:1", offset=-5) == [1, 1]


@pytest.mark.parametrize("value", [-2, 65536, 2**40, -(2**40)])
def test_values_beyond_every_table(value):
    with pytest.raises(ValueError, match=f"1 pixel has the value {value},"):
        ids([value, 0], 2, "7:1", dtype=np.int64)


@pytest.mark.parametrize("text", ["255", "255:", ":1", "a:1", "255:a", "255:256", "70000:1", "-2:1", "255=1", "*:1", "1:1,1:0"])
def test_pairs_that_are_none(text):
    with pytest.raises(ValueError, match="--mask_values"):
        parse_values(text)


def test_other_flags_out_of_range():
    with pytest.raises(ValueError, match="--ignore_value: 'x' is not a number from -1 to 65535"):
        parse_values("", 0, "1,x")
    with pytest.raises(ValueError, match="--id_offset is 70000"):
        parse_values("", 70000)
    with pytest.raises(ValueError, match="--mask_values=5:3: the ids of the 3 classes are 0 to 2"):
        mask_values.check_rules(rules(3, "5:3"))
    with pytest.raises(ValueError, match="--palette is `x`"):
        mask_values.check_rules(rules(palette="x"))
    assert parse_values("") == ValueRules() and not parse_values("").changes_values


def test_a_grey_mask_saved_as_rgb():
    grey = np.array([[[0, 0, 0], [255, 255, 255]]], np.uint8)
    with pytest.raises(ValueError, match="three channels are equal: .*--mask_values=255:1"):
        mask_values.ids_of_colors(grey, rules(2), "a.png")
    assert mask_values.ids_of_colors(grey, rules(2, "255:1"), "a.png").tolist() == [[0, 1]]


def read(image, rules, tmp_path, kind="PNG", **options):
    path = tmp_path / "a.png"
    image.save(path, kind, **options)
    mask = label_masks.read_mask(str(path), rules)
    return mask.ids.tolist(), mask.note


def palette_image(numbers, colors):
    image = PIL.Image.fromarray(np.array([numbers], np.uint8))
    image.putpalette(np.array(colors, np.uint8).tobytes())
    return image


def test_a_palette_in_another_order_than_the_labelmap(tmp_path):
    labelmap = rules(colors=COLORS)
    usual = palette_image([0, 1, 2, 1], COLORS)
    assert read(usual, labelmap, tmp_path) == ([[0, 1, 2, 1]], "")
    smaller = usual.convert("RGB").quantize(3)
    assert np.asarray(smaller)[0].tolist() != [0, 1, 2, 1]
    assert read(smaller, labelmap, tmp_path) == ([[0, 1, 2, 1]], palettes.BY_COLOR)
    assert read(smaller, rules(colors=COLORS, palette="index"), tmp_path) == ([np.asarray(smaller)[0].tolist()], "")


def test_a_palette_that_contradicts_the_labelmap(tmp_path):
    odd = palette_image([0, 1, 2], [(0, 0, 0), (51, 221, 255), (9, 9, 9)])
    with pytest.raises(ValueError, match="index 1 has the colour of class 2; correct the labelmap, .*--palette=index"):
        read(odd, rules(colors=COLORS), tmp_path)
    with pytest.raises(ValueError, match=r"1 pixel has the colour \(9, 9, 9\), which is not that of a class"):
        read(odd, rules(colors=COLORS, palette="colors"), tmp_path)
    other = palette_image([1, 1], [(0, 0, 0), (9, 8, 7), (9, 9, 9)])
    with pytest.raises(ValueError, match=r"index 1 has \(9, 8, 7\), which is not a colour of the labelmap"):
        read(other, rules(colors=COLORS), tmp_path)


@pytest.mark.parametrize("colors", [color_map(), np.repeat(np.arange(256, dtype=np.uint8)[:, np.newaxis], 3, axis=1)])
def test_usual_palettes_hold_ids_whatever_the_labelmap_says(colors, tmp_path):
    assert read(palette_image([0, 2, 1, 255], colors), rules(colors=COLORS), tmp_path) == ([[0, 2, 1, 255]], "")


def test_vocs_colours_in_another_order_without_a_labelmap(tmp_path):
    turned = palette_image([0, 1, 2], color_map()[[2, 0, 1]])
    assert read(turned, rules(), tmp_path) == ([[0, 1, 2]], palettes.BY_NUMBER)
    assert read(turned, rules(palette="colors"), tmp_path) == ([[2, 0, 1]], palettes.BY_COLOR)
    own = palette_image([0, 1, 2], [(128, 0, 0), (0, 0, 0), (1, 2, 3)])
    assert read(own, rules(), tmp_path) == ([[0, 1, 2]], "")


def test_the_ignored_colour_of_a_palette(tmp_path):
    image = palette_image([0, 1, 2], [(250, 50, 83), (224, 224, 192), (0, 0, 0)])
    assert read(image, rules(colors=COLORS), tmp_path)[0] == [[1, 255, 0]]


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "JPEG2000"])
def test_lossy_formats_are_found_by_their_content(kind, tmp_path):
    with pytest.raises(ValueError, match=f"a.png contains {kind} data, .*export the mask as PNG again"):
        read(PIL.Image.new("L", (16, 16)), rules(), tmp_path, kind)


def test_a_tiff_with_jpeg_inside(tmp_path):
    with pytest.raises(ValueError, match="a.png contains TIFF with jpeg compression data"):
        read(PIL.Image.new("L", (16, 16)), rules(), tmp_path, "TIFF", compression="jpeg")
    assert read(PIL.Image.new("L", (2, 1), 1), rules(), tmp_path, "TIFF", compression="tiff_lzw")[0] == [[1, 1]]


@pytest.mark.parametrize("value", [0.5, np.nan, np.inf, 1e12])
def test_pixels_that_are_no_whole_numbers(value, tmp_path):
    with pytest.raises(ValueError, match="a.png has pixels that are not whole numbers"):
        read(PIL.Image.fromarray(np.array([[0, value]], np.float32)), rules(), tmp_path, "TIFF")
    assert read(PIL.Image.fromarray(np.array([[0, 2]], np.float32)), rules(), tmp_path, "TIFF")[0] == [[0, 2]]


def test_a_mask_that_is_cut_off(tmp_path):
    file = io.BytesIO()
    PIL.Image.fromarray(np.random.default_rng(0).integers(0, 3, (64, 64)).astype(np.uint8)).save(file, "PNG")
    (tmp_path / "a.png").write_bytes(file.getvalue()[:-200])
    with pytest.raises(ValueError, match="a.png cannot be read as a mask"):
        label_masks.read_mask(str(tmp_path / "a.png"), rules())
