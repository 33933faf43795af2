"""Cityscapes and ADE20K as they are downloaded."""

import numpy as np
import pytest
from format_folders import kinds, pixels, rectangle, same_shapes, shapes, write_image, write_mask

from tpuseg.formats import detection
from tpuseg.formats.dataset import Options

CITY = "aachen/aachen_000000_000019"
# Road, a car, a group of cars, a trailer (which does not count), and what is out of the picture.
LABELS = np.full((8, 12), 7, np.uint8)
LABELS[0], LABELS[2:4, 2:6], LABELS[5:7, 8:10], LABELS[7, 0] = 3, 26, 26, 30
OBJECTS = LABELS.astype(np.uint16)
OBJECTS[2:4, 2:6], OBJECTS[7, 0] = 26001, 30000


def write_city(root, split="train", name=CITY, **masks):
    write_image(root / "leftImg8bit" / split / f"{name}_leftImg8bit.png")
    for ending, ids in masks.items():
        write_mask(root / "gtFine" / split / f"{name}_gtFine_{ending}.png", ids)


def test_cityscapes_classes(tmp_path):
    write_city(tmp_path / "cityscapes", labelIds=LABELS, instanceIds=OBJECTS)
    dataset = detection.read_dataset(str(tmp_path))
    assert (dataset.format, dataset.kind) == ("cityscapes", "semantic") and len(dataset.categories) == 19
    name = f"cityscapes/leftImg8bit/train/{CITY}_leftImg8bit.png"
    assert [(one.name, one.split, one.source_id) for one in dataset.images] == [(name, "train", "aachen_000000_000019")]
    expected = np.zeros((8, 12), np.uint8)
    expected[0], expected[2:4, 2:6], expected[5:7, 8:10], expected[7, 0] = 255, 13, 13, 255
    assert np.array_equal(pixels(dataset)[name], expected)
    assert [dataset.class_names[place] for place in (0, 13, 18)] == ["road", "car", "bicycle"]


def test_cityscapes_train_ids(tmp_path):
    write_city(tmp_path, labelTrainIds=np.where(LABELS == 26, 13, 255).astype(np.uint8))
    (only,) = pixels(detection.read_dataset(str(tmp_path))).values()
    assert np.array_equal(only, np.where(LABELS == 26, 13, 255))


def test_cityscapes_objects(tmp_path):
    write_city(tmp_path, labelIds=LABELS, instanceIds=OBJECTS)
    dataset = detection.read_dataset(str(tmp_path), options=Options(kind="instances"))
    assert [one.id for one in dataset.categories] == [24, 25, 26, 27, 28, 31, 32, 33]
    (only,) = shapes(dataset).values()
    assert same_shapes(only, [("ignored car", rectangle((5, 7), (8, 10))), ("car", rectangle((2, 4), (2, 6)))])


def test_cityscapes_without_labels(tmp_path):
    write_city(tmp_path, labelIds=LABELS)
    write_city(tmp_path, name="bonn/bonn_1")
    write_city(tmp_path, "test", "berlin/berlin_1", labelIds=LABELS)
    dataset = detection.read_dataset(str(tmp_path))
    assert len(dataset.images) == 1 and kinds(dataset.findings) == {"image_without_labels": 1} and dataset.num_images == 2
    assert dataset.notes == ("1 images of test are left out, as their labels are not published",)
    with pytest.raises(ValueError, match="has no labels for --task=instances; it has labels for semantic"):
        detection.read_dataset(str(tmp_path), options=Options(kind="instances"))
    (tmp_path / f"gtFine/train/{CITY}_gtFine_labelIds.png").rename(tmp_path / "gtFine/train/aachen/x_gtFine_labelIds.png")
    with pytest.raises(
        ValueError, match=r"gtFine has no labels of the images, such as leftImg8bit/train/aachen/aachen_000000_000019"
    ):
        detection.read_dataset(str(tmp_path))
    with pytest.raises(ValueError, match="has no leftImg8bit with images and gtFine with labels"):
        detection.read_dataset(str(tmp_path / "gtFine"), "cityscapes")


# ADE20K

IDS = rectangle((1, 4), (2, 7)) + 149 * rectangle((5, 7), (0, 3)).astype(np.uint8) * 1
IDS[5:7, 0:3] = 150


def write_ade(root, names=True):
    for folder, name in (("training", "ADE_train_00000001"), ("validation", "ADE_val_00000001")):
        write_image(root / "images" / folder / f"{name}.jpg")
        write_mask(root / "annotations" / folder / f"{name}.png", IDS)
    if names:
        rows = [f"{number}\t0.1\t10\t20\tthing {number}, other name" for number in range(1, 151)]
        rows[14], rows[50] = "15  0.1  10  20  door, double door", "51\t0.1\t1\t2\tdoor; screen door"
        (root / "objectInfo150.txt").write_text("\n".join(["Idx\tRatio\tTrain\tVal\tName", *rows]))


def test_ade20k(tmp_path):
    write_ade(tmp_path / "ADEChallengeData2016")
    write_image(tmp_path / "ADEChallengeData2016/images/training/ADE_train_2.jpg")
    dataset = detection.read_dataset(str(tmp_path))
    assert (dataset.format, dataset.kind) == ("ade20k", "semantic") and dataset.splits == ["train", "val"]
    assert kinds(dataset.findings) == {"image_without_labels": 1} and dataset.num_images == 3
    assert dataset.class_names[:2] == ["thing 1", "thing 2"] and len(dataset.class_names) == 150
    assert dataset.class_names[14] == "door, double door" and dataset.class_names[50] == "door; screen door"
    for ids in pixels(dataset).values():
        expected = np.full((8, 12), 255)
        expected[1:4, 2:7], expected[5:7, 0:3] = 0, 149
        assert np.array_equal(ids, expected)


def test_ade20k_without_names(tmp_path):
    write_ade(tmp_path, names=False)
    dataset = detection.read_dataset(str(tmp_path))
    assert dataset.class_names[149] == "class_150" and dataset.notes[0].startswith("there is no objectInfo150.txt")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\n7\t0.1\t10\t20\tthing 7, other name", "", "must have a line for each of the classes 1 to 150"),
        ("thing 7, other", "thing 8, other", "has the class `thing 8, other name` twice"),
    ],
)
def test_damaged_names(tmp_path, old, new, message):
    write_ade(tmp_path)
    path = tmp_path / "objectInfo150.txt"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(ValueError, match=f"objectInfo150.txt {message}"):
        detection.read_dataset(str(tmp_path))


def test_no_ade20k(tmp_path):
    with pytest.raises(ValueError, match="has no images/training/ADE_"):
        detection.read_dataset(str(tmp_path), "ade20k")
