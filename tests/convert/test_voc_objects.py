"""Objects of images in VOC's layout, above all how their numbers are stored."""

import numpy as np
import PIL.Image
import pytest

from tpuseg.convert import voc_objects
from tpuseg.convert.label_masks import Files
from tpuseg.convert.mask_values import LabelRules

RULES = voc_objects.Rules(("background", "cell"), LabelRules(2, 255))


def read(folder, numbers, classes=None):
    """Reads the objects of an image whose object file is an array or an image."""
    image = numbers if isinstance(numbers, PIL.Image.Image) else PIL.Image.fromarray(numbers)
    classes = (np.asarray(numbers) > 0).astype(np.uint8) if classes is None else classes
    kind = "tif" if image.mode == "I" else "png"
    image.save(folder / f"objects.{kind}")
    PIL.Image.fromarray(classes).save(folder / "classes.png")
    files = Files("a", str(folder / "a.png"), str(folder / "classes.png"), str(folder / f"objects.{kind}"))
    return voc_objects.read_annotations(files, RULES)


def test_more_than_254_objects_in_16_bits(tmp_path):
    numbers = np.arange(20 * 20, dtype=np.uint16).reshape(20, 20).repeat(2, 0).repeat(2, 1)
    numbers[0, 2:4] = 65535  # The border: of number 1, two pixels are left.
    annotations, findings, size = read(tmp_path, numbers)
    assert size == (40, 40) and not findings
    assert [annotation.name for annotation in annotations] == [f"object {number}" for number in range(1, 400)]
    assert [annotation.area for annotation in annotations] == [2.0] + [4.0] * 398
    assert annotations[254].box == (30.0, 24.0, 2.0, 2.0)  # Number 255 is an object there.


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_up_to_254_objects_255_is_the_border(tmp_path, kind):
    annotations, _, _ = read(tmp_path, np.array([[0, 1, 1, 255, 254]], kind), np.array([[0, 1, 1, 1, 1]], np.uint8))
    assert [annotation.name for annotation in annotations] == ["object 1", "object 254"]


def test_numbers_beyond_16_bits_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"objects.tif has the values 0 to 70000; objects are numbered from 1 to 65534"):
        read(tmp_path, np.array([[0, 70000]], np.int32))


def test_colors_of_no_number_have_a_way_out(tmp_path):
    colors = np.zeros((1, 2, 3), np.uint8)
    colors[0, 1] = (1, 2, 3)
    with pytest.raises(ValueError, match=r"objects.png: 1 pixel has a colour of no class.*RGB files .* 16 bits for more than 254"):
        read(tmp_path, colors, np.zeros((1, 2), np.uint8))
