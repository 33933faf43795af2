"""What people should look at: duplicates, rare classes, images without labels."""

import shutil

import coco_folder
import numpy as np
import PIL.Image
import pytest

from tpuseg.convert import images
from tpuseg.formats import detection, splits
from tpuseg.planning import audit, conversion
from tpuseg.planning.conversion import ImageContents
from tpuseg.planning.fingerprint import Fingerprint


def contents(name, classes=(), split="train", pixels=()):
    counts = np.zeros(256, np.int64)
    for value, count in pixels:
        counts[value] = count
    return ImageContents(name, split, (8, 12), np.zeros((len(classes), 4), np.float32), np.array(classes, np.int32), counts)


def test_rare_classes_of_objects():
    images = (contents("a", [0] * 9 + [1]), contents("b", [1] * 9), contents("c", [0] * 5, "val"))
    found = audit.rare_classes(Fingerprint("instances", ("cat", "dog"), images, {}))
    assert found == [audit.Problem("class cat has 9 training objects, but 10 is a minimum to learn something", ("a",))]


def test_rare_classes_of_pixels():
    images = tuple(contents(str(number), pixels=[(0, 90), *([(1, 6)] if number < 2 else [])]) for number in range(10))
    found = audit.rare_classes(Fingerprint("semantic", ("road", "pole"), images, {}))
    assert found == [audit.Problem("class pole has 2 training images, but 10 is a minimum to learn something", ("0", "1"))]


def test_images_without_labels():
    objects = Fingerprint("instances", (), (contents("a", [0]), contents("b")), {})
    assert audit.find_problems(objects) == [audit.Problem("1 image without objects: they only show background", ("b",))]
    images = (contents("a", pixels=[(3, 1), (255, 95)]), contents("b", pixels=[(255, 96)]))
    pixels = Fingerprint("semantic", (), images, {})
    assert audit.find_problems(pixels) == [audit.Problem("1 image whose pixels are all ignored: they teach nothing", ("b",))]


def test_duplicates(tmp_path):
    """b has the pixels of a; d those of c, in the other split; e has one object twice."""
    names = [f"{letter}.png" for letter in "abcde"]
    rows = [coco_folder.annotation(number, image_id=number) for number in range(1, 6)]
    rows.append(coco_folder.annotation(6, image_id=5, area=35.0))
    coco_folder.write(tmp_path, rows, files=names, name="annotations.json")
    with PIL.Image.open(tmp_path / "images" / "a.png") as image:
        image.save(tmp_path / "images" / "b.png", compress_level=1)  # Other bytes.
    shutil.copy(tmp_path / "images" / "c.png", tmp_path / "images" / "d.png")
    dataset = detection.read_dataset(str(tmp_path), "coco")
    prefix = dataset.images[0].name.removesuffix("a.png")
    (tmp_path / "train.txt").write_text("".join(f"{prefix}{name}\n" for name in names if name != "d.png"))
    (tmp_path / "val.txt").write_text(f"{prefix}d.png\n")
    dataset = splits.read_lists(dataset, str(tmp_path))
    written = conversion.write(dataset, str(tmp_path / "out"), conversion.Options(num_shards=1))
    names = tuple(dataset.class_names)
    found = audit.find_problems(Fingerprint("instances", names, tuple(written.images), written.num_bytes))
    across, within, *_, twins = found  # Between them are the rare classes.
    assert across.what.startswith("2 files contain only 1 different image and are in several splits")
    assert across.images == (f"{prefix}c.png (train) = {prefix}d.png (val)",)
    assert within.images == (f"{prefix}a.png (train) = {prefix}b.png (train)",) and within.what.endswith("within a split")
    assert twins.what == "1 object with the mask and class of another one"
    assert twins.images == (f"{prefix}e.png: objects 1 and 2, cat",)


@pytest.mark.parametrize("num_channels", [1, 3])
def test_digests_of_pixels(tmp_path, num_channels):
    """Equal for the same pixels in other files, also re-encoded ones; other pixels and other sizes give other digests."""
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8)).astype(np.uint8)

    def digest(name, values):
        PIL.Image.fromarray(values).save(tmp_path / name)
        return images.read_image(str(tmp_path / name), num_channels=num_channels, with_digest=True).digest

    first = digest("a.png", pixels)
    assert first and first == digest("a.bmp", pixels) == digest("b.png", np.repeat(pixels[..., np.newaxis], 3, axis=2))
    other = pixels.copy()
    other[3, 3] ^= 1
    assert len({first, digest("c.png", other), digest("d.png", pixels.reshape(8, 6)), digest("e.png", pixels[:5])}) == 4
    assert images.read_image(str(tmp_path / "a.png"), num_channels=num_channels).digest == b""
