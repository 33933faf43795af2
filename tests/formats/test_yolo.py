"""YOLO's format of segmentation: names, splits, label files, and coordinates to the pixel."""

import numpy as np
import pytest
from format_folders import kinds, pixels, rectangle, same_shapes, shapes, write_image

from tpuseg.formats import detection
from tpuseg.formats.dataset import Options

# On 12x8 pixels: columns 3 to 8 and rows 2 to 5; a triangle; columns 0 to 5 and rows 4 to 7.
RECTANGLE = "1 0.25 0.25 0.75 0.25 0.75 0.75 0.25 0.75"
CORNER = "0 0 0.5 0.5 0.5 0.5 1 0 1"
BOX = "0 0.5 0.5 0.5 0.25"
YAML = "train: images/train\nval: images/val\nnames: [car, cat]\n"


def write(root, labels, yaml=YAML, start="images"):
    """Writes an image for each path, its label file (None for none), and data.yaml."""
    for path, text in labels.items():
        write_image(root / start / f"{path}.jpg")
        if text is not None:
            target = root / start.replace("images", "labels") / f"{path}.txt"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
    if yaml:
        (root / "data.yaml").write_text(yaml)


def read(root, **options):
    dataset = detection.read_dataset(str(root), options=Options(**options))
    assert dataset.format == "yolo"
    return dataset


def names(dataset):
    return [(image.name, image.split) for image in dataset.images]


def test_polygons_to_the_pixel(tmp_path):
    write(tmp_path, {"train/a": f"{RECTANGLE}\n{CORNER}\n", "val/b": CORNER})
    dataset = read(tmp_path)
    assert names(dataset) == [("images/train/a.jpg", "train"), ("images/val/b.jpg", "val")]
    assert [(one.id, one.name) for one in dataset.categories] == [(0, "car"), (1, "cat")]
    found = shapes(dataset)
    expected = [("cat", rectangle((2, 6), (3, 9))), ("car", rectangle((4, 8), (0, 6)))]
    assert same_shapes(found["images/train/a.jpg"], expected) and same_shapes(found["images/val/b.jpg"], expected[1:])
    annotation = dataset.images[0].labels.annotations[0]
    assert annotation.box == (3, 2, 6, 4) and annotation.area == 24 and annotation.segmentation == [[3, 2, 9, 2, 9, 6, 3, 6]]
    assert dataset.num_annotations == 3 and dataset.num_images == 2 and not dataset.findings


def test_semantic(tmp_path):
    write(tmp_path, {"train/a": f"{RECTANGLE}\n{CORNER}\n"}, YAML.replace("val: images/val\n", ""))
    dataset = read(tmp_path, kind="semantic")
    expected = 2 * rectangle((2, 6), (3, 9))
    expected[4:8, 0:6] = 1  # As large as the other, and after it in the file.
    assert dataset.class_names == ["background", "car", "cat"] and np.array_equal(pixels(dataset)["images/train/a.jpg"], expected)


def test_shares_are_those_of_the_image_as_it_is_seen(tmp_path):
    write(tmp_path, {"train/a": CORNER}, "train: images/train\nnames: [car]")
    write_image(tmp_path / "images/train/a.jpg", 8, 12, orientation=6)  # Upright it is 12 wide and 8 high.
    dataset = read(tmp_path)
    assert dataset.images[0].size == (8, 12) and same_shapes(
        shapes(dataset)["images/train/a.jpg"], [("car", rectangle((4, 8), (0, 6)))]
    )


@pytest.mark.parametrize(
    ("yaml", "start"),
    [
        ("path: ../datasets/mine\ntrain: images/train\nval: images/val\nnames: {0: car, 1: cat}", "images"),
        ("train: ../train/images\nval: ../valid/images\nnc: 2\nnames: ['car', 'cat']", None),  # Roboflow.
        ("train: /content/mine/images/train\nval: [/content/mine/images/val]\nnames: [car, cat]", "images"),
        ("train: ./images/train/\nval: images\\val\nnames: [car, cat]", "images"),
    ],
)
def test_folders_as_programs_write_them(tmp_path, yaml, start):
    if start:
        write(tmp_path, {"train/a": RECTANGLE, "val/b": CORNER}, yaml, start)
    else:
        write(tmp_path / "train", {"a": RECTANGLE}, "")
        write(tmp_path / "valid", {"b": CORNER}, "")
        (tmp_path / "data.yaml").write_text(yaml)
    dataset = read(tmp_path)
    assert [split for _, split in names(dataset)] == ["train", "val"] and dataset.class_names == ["car", "cat"]
    assert [len(found) for found in shapes(dataset).values()] == [1, 1]


def test_lists_of_images(tmp_path):
    write(tmp_path, {"train/a": RECTANGLE, "train/b": CORNER}, "train: train.txt\nval: val.txt\nnames: [car, cat]")
    (tmp_path / "train.txt").write_text("data/images/train/a.jpg\n\ndata/images/train/a.jpg\n")
    (tmp_path / "val.txt").write_text("./images/train/b.jpg\nimages/train/none.jpg\n")
    assert names(read(tmp_path)) == [("images/train/a.jpg", "train"), ("images/train/b.jpg", "val")]


def test_numbers_with_gaps_keep_them(tmp_path):
    write(tmp_path, {"train/a": "7 0 0.5 0.5 0.5 0.5 1 0 1"}, "train: images/train\nnames:\n  2: car\n  7: cat\n")
    dataset = read(tmp_path)
    assert [(one.id, one.name) for one in dataset.categories] == [(2, "car"), (7, "cat")]
    assert [name for name, _ in shapes(dataset)["images/train/a.jpg"]] == ["cat"]


def test_names_in_a_text_file(tmp_path):
    write(tmp_path, {"a": RECTANGLE}, "")  # As Label Studio writes it.
    (tmp_path / "classes.txt").write_text("car\ncat\n")
    (tmp_path / "notes.json").write_text("{}")
    dataset = read(tmp_path)
    assert names(dataset) == [("images/a.jpg", "")] and [name for name, _ in shapes(dataset)["images/a.jpg"]] == ["cat"]
    assert dataset.notes == ("there is no YAML file: the class names come from classes.txt",)


def test_labels_beside_the_images(tmp_path):
    write(tmp_path, {"train/a": None}, "train: photos\nnames: [car, cat]", "photos")
    (tmp_path / "photos/train/a.txt").write_text(RECTANGLE)
    assert [name for name, _ in shapes(read(tmp_path))["photos/train/a.jpg"]] == ["cat"]


def test_what_is_odd_is_counted_and_named(tmp_path):
    lines = [
        "2 0 0 1 0 1 1",
        "0 0 0 1 0 1",
        "0 0 0 1 0 1 x",
        "0 0 0 1 0 1 nan",
        "0.5 0 0 1 0 1 1",
        "0 0 0 120 0 120 80",
        BOX,
        CORNER,
    ]
    write(tmp_path, {"train/a": "\n".join(lines), "train/b": None, "train/c": ""}, "train: images/train\nnames: [car, cat]")
    (tmp_path / "images/train/d.jpg").write_bytes(b"no image")
    dataset = read(tmp_path)
    counts = {"unknown_category": 1, "label_line_unusable": 4, "coordinates_not_relative": 1}
    assert kinds(dataset.findings) == {**counts, "label_file_missing": 1, "image_unreadable": 1}
    where = {finding.kind: finding.where for finding in dataset.findings}
    assert where["unknown_category"] == "labels/train/a.txt, line 1: class 2"
    assert where["coordinates_not_relative"] == "labels/train/a.txt, line 6: 120"
    assert where["label_file_missing"] == "images/train/b.jpg: labels/train/b.txt does not exist"
    assert "d.jpg cannot be read as an image" in where["image_unreadable"]
    assert dataset.num_annotations == 8 and dataset.num_images == 4
    expected = [("ignored car", rectangle((3, 5), (3, 9))), ("car", rectangle((4, 8), (0, 6)))]
    assert same_shapes(shapes(dataset)["images/train/a.jpg"], expected) and shapes(dataset)["images/train/b.jpg"] == []


def test_boxes(tmp_path):
    write(tmp_path, {"train/a": BOX}, "train: images/train\nnames: [car, cat]")
    with pytest.raises(ValueError, match=r"data.yaml: all 1 labels are boxes .*--boxes_are_masks"):
        read(tmp_path)
    assert same_shapes(shapes(read(tmp_path, boxes_are_masks=True))["images/train/a.jpg"], [("car", rectangle((3, 5), (3, 9)))])


def test_the_same_images_for_both_splits_are_split_anew(tmp_path):
    write(tmp_path, {"train/a": CORNER}, "train: images/train\nval: images/train\nnames: [car]")
    dataset = read(tmp_path)
    assert names(dataset) == [("images/train/a.jpg", "")] and "a new split is made" in dataset.notes[0]


def test_a_test_split_that_is_not_there(tmp_path):
    write(tmp_path, {"train/a": CORNER}, "train: images/train\ntest: images/test\nnames: [car]")
    assert read(tmp_path).notes == ("data.yaml: `test: images/test` has no images and is left out",)


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("train: images/train\nval: images/none\nnames: [car]", "`val: images/none` has no images in"),
        ("train: 3\nnames: [car]", "`train: 3` has no images"),
        ("train:\nval: images/train\nnames: [car]", "has no value for `train`"),
        ("train: images/train\nnames: car", "`names` is car; it must be a list"),
        ("train: images/train\nnames: []", "it must be a list"),
        ("train: images/train\nnames: {x: car}", "`names` has x: car, which is not a class number with a name"),
        ("train: images/train\nnames: {0: [car]}", "not a class number with a name"),
        ("train: images/train\nnames: [car, car]", "`names` has `car` twice"),
        ("train: images/train\nval: images/train\nvalid: images/train\nnames: [car]", "has both `val` and `valid`"),
        ("train: images\nval: images/train\nnames: [car]", "images/train/a.jpg is in train and in val"),
        ("train: images/train\nnames: [car", "is not valid YAML"),
    ],
)
def test_damaged_yaml(tmp_path, yaml, message):
    write(tmp_path, {"train/a": CORNER, "other/b": CORNER}, yaml)
    with pytest.raises(ValueError, match=f"data.yaml.*{message}"):
        read(tmp_path)


def test_no_label_can_be_used(tmp_path):
    write(tmp_path, {"train/a": None}, "train: images/train\nnames: [car]")
    with pytest.raises(
        ValueError,
        match=r"none of the images has a label file, such as labels/train/a.txt; label files must be in the folder labels",
    ):
        read(tmp_path)
    write(tmp_path, {"train/a": "0 1 2"}, "")
    with pytest.raises(
        ValueError, match=r"no line of the 1 label files can be used, the first is labels/train/a.txt, line 1: `0 1 2`"
    ):
        read(tmp_path)


def test_two_yaml_files(tmp_path):
    write(tmp_path, {"train/a": CORNER})
    (tmp_path / "other.yml").write_text(YAML)
    with pytest.raises(ValueError, match="has data.yaml and other.yml, each with names and train"):
        read(tmp_path)
