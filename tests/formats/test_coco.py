"""COCO and LVIS: where programs put the files and images, and how the splits come together."""

import json

import coco_folder
import numpy as np
import pytest
from format_folders import pixels, same_shapes, shapes, write_image

from tpuseg.formats import detection, image_folders
from tpuseg.formats.dataset import Options
from tpuseg.formats.listing import Listing

CAT, CAR = [coco_folder.annotation(1)], [coco_folder.annotation(1, category_id=3)]


def write(root, path, files, annotations=CAT, categories=coco_folder.CATEGORIES, folder=None):
    """Writes an annotation file for images of some names, and the images into a folder."""
    rows = [coco_folder.image(number, file) for number, file in enumerate(files, start=1)]
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(json.dumps({"images": rows, "annotations": annotations, "categories": categories}))
    for file in files:
        write_image(root / (folder or "") / file)


def names(dataset):
    return [(image.name, image.split) for image in dataset.images]


@pytest.mark.parametrize(
    ("path", "folder", "split"),
    [
        ("annotations/instances_train2017.json", "train2017", "train"),
        ("annotations/instances_train2017.json", "images/train2017", "train"),
        ("annotations/instances_default.json", "images", ""),
        ("annotations.json", "", ""),
        ("result.json", "images", ""),
        ("valid/_annotations.coco.json", "valid", "val"),
    ],
)
def test_the_usual_places(tmp_path, path, folder, split):
    write(tmp_path, path, ["a.png"], folder=folder)
    dataset = detection.read_dataset(str(tmp_path))
    assert dataset.format == "coco" and dataset.kind == "instances"
    assert names(dataset) == [(f"{folder}/a.png".lstrip("/"), split)]
    assert same_shapes(shapes(dataset)[dataset.images[0].name], [("cat", coco_folder.MASK)])
    assert dataset.images[0].size == (8, 12) and dataset.num_images == dataset.num_annotations == 1


def test_folders_in_the_names(tmp_path):
    write(tmp_path, "annotations.json", ["JPEGImages/a.png"])
    assert names(detection.read_dataset(str(tmp_path))) == [("JPEGImages/a.png", "")]


def test_names_with_folders_of_another_machine(tmp_path):
    write(tmp_path, "result.json", ["a.png"], folder="images")
    text = (tmp_path / "result.json").read_text().replace('"a.png"', json.dumps("..\\media\\upload\\a.png"))
    (tmp_path / "result.json").write_text(text)
    dataset = detection.read_dataset(str(tmp_path))
    assert names(dataset) == [("images/a.png", "")] and [one.kind for one in dataset.findings] == ["image_in_other_folder"]


def test_one_file_for_each_split(tmp_path):
    for folder in ("train", "valid", "test"):
        write(tmp_path, f"{folder}/_annotations.coco.json", ["a.png", "b.png"], folder=folder)
    dataset = detection.read_dataset(str(tmp_path))
    assert sorted(names(dataset)) == sorted(
        (f"{folder}/{name}", split)
        for folder, split in (("train", "train"), ("valid", "val"), ("test", "test"))
        for name in ("a.png", "b.png")
    )
    assert dataset.splits == ["train", "val", "test"] and dataset.num_images == 6 and dataset.num_annotations == 3


def test_images_of_the_same_name_are_those_beside_the_file(tmp_path):
    write(tmp_path, "train.json", ["a.png"], folder="train/images")
    write(tmp_path, "val.json", ["a.png"], folder="val/images")
    assert sorted(names(detection.read_dataset(str(tmp_path)))) == [("train/images/a.png", "train"), ("val/images/a.png", "val")]


def test_cocos_captions_and_key_points_are_other_tasks(tmp_path):
    write(tmp_path, "annotations/instances_val2017.json", ["a.png"], folder="val2017")
    write(tmp_path, "annotations/person_keypoints_val2017.json", ["a.png"], folder="val2017")
    assert len(detection.read_dataset(str(tmp_path)).images) == 1


def test_categories_of_two_files_are_matched_by_name(tmp_path):
    write(tmp_path, "train.json", ["a.png"], CAT, folder="train")
    write(tmp_path, "val.json", ["b.png"], CAT, [{"id": 3, "name": "cat"}, {"id": 17, "name": "car"}], folder="val")
    dataset = detection.read_dataset(str(tmp_path))
    assert [(category.id, category.name) for category in dataset.categories] == [(1, "car"), (2, "cat")]
    found = {name: [one for one, _ in found] for name, found in shapes(dataset).items()}
    assert found == {"train/a.png": ["cat"], "val/b.png": ["car"]}
    assert dataset.notes == ("train.json and val.json have different category ids: categories are matched by name and get new ids",)


def test_a_category_that_one_file_does_not_list(tmp_path):
    write(tmp_path, "train.json", ["a.png"], CAT, folder="train")
    write(tmp_path, "val.json", ["b.png"], CAT, coco_folder.CATEGORIES[1:], folder="val")
    dataset = detection.read_dataset(str(tmp_path))
    assert [(category.id, category.name) for category in dataset.categories] == [(3, "car"), (17, "cat")] and not dataset.notes
    assert [image.labels.annotations[0].class_index for image in dataset.images] == [1, 1]


def test_an_empty_file_of_another_split_is_an_error(tmp_path):
    write(tmp_path, "train.json", ["a.png"], folder="train")
    write(tmp_path, "val.json", ["b.png"], [], folder="val")
    with pytest.raises(ValueError, match="val.json has no annotations"):
        detection.read_dataset(str(tmp_path))


def test_the_source_is_the_file_or_the_folder(tmp_path):
    write(tmp_path, "train.json", ["a.png"], [*CAT, coco_folder.annotation(2, category_id=9)], folder="train")
    dataset = detection.read_dataset(str(tmp_path))
    assert dataset.source == str(tmp_path / "train.json") and dataset.findings[0].where.startswith("image 1")
    write(tmp_path, "val.json", ["b.png"], folder="val")
    assert detection.read_dataset(str(tmp_path)).source == str(tmp_path)


def test_the_folder_with_most_images_and_then_the_nearest(tmp_path):
    for path in ("x/a.png", "x/b.png", "y/a.png", "y/b.png", "y/z/a.png", "y/z/b.png", "w/a.png"):
        write_image(tmp_path / path)
    listing = Listing(str(tmp_path))
    names = ["a.png", "b.png"]
    assert image_folders.find_image_folder(listing, "y/labels.json", names) == "y"
    assert image_folders.find_image_folder(listing, "y/z/labels.json", names) == "y/z"
    assert image_folders.find_image_folder(listing, "labels.json", names) == "x"
    assert image_folders.find_image_folder(listing, "x/labels.json", names, "x") == "y"
    assert image_folders.find_image_folder(listing, "labels.json", ["z/a.png", "z/b.png"]) == "y"
    assert image_folders.find_image_folder(listing, "labels.json", ["/x/a.png"]) == ""


def test_the_split_of_the_file_before_its_place(tmp_path):
    for path in ("labels/val/a.png", "train/a.png"):
        write_image(tmp_path / path)
    assert image_folders.find_image_folder(Listing(str(tmp_path)), "labels/train.json", ["a.png"]) == "train"
    assert image_folders.find_image_folder(Listing(str(tmp_path)), "labels/all.json", ["a.png"]) == "labels/val"


def test_names_from_all_over_the_file_are_looked_for(tmp_path):
    for number in range(60, 120):
        write_image(tmp_path / "here" / f"{number}.png")
    names = [f"{number}.png" for number in range(120)]
    assert image_folders.find_image_folder(Listing(str(tmp_path)), "all.json", names) == "here"


def test_findings_name_the_file(tmp_path):
    for split in ("train", "val"):
        write(tmp_path, f"{split}.json", ["a.png"], [*CAT, coco_folder.annotation(2, category_id=9)], folder=split)
    findings = detection.read_dataset(str(tmp_path)).findings
    assert [one.where.partition(":")[0] for one in findings] == ["train.json", "val.json"]


def test_files_that_do_not_belong_together(tmp_path):
    write(tmp_path, "train.json", ["a.png"])
    write(tmp_path, "all.json", ["a.png"])
    with pytest.raises(ValueError, match="2 annotation files, and the name of all.json contains neither train, val nor test"):
        detection.read_dataset(str(tmp_path))
    (tmp_path / "all.json").rename(tmp_path / "train2.json")
    with pytest.raises(ValueError, match="train.json and train2.json are both for train"):
        detection.read_dataset(str(tmp_path))


def test_a_test_split_without_annotations_is_left_out(tmp_path):
    write(tmp_path, "train.json", ["a.png"], folder="train")
    write(tmp_path, "test.json", ["b.png"], [], folder="test")
    dataset = detection.read_dataset(str(tmp_path))
    assert names(dataset) == [("train/a.png", "train")] and dataset.notes == ("test.json has no annotations and is left out",)
    (tmp_path / "train.json").unlink()
    with pytest.raises(ValueError, match="test.json has no annotations"):
        detection.read_dataset(str(tmp_path))


def test_images_that_are_nowhere(tmp_path):
    write(tmp_path, "train.json", ["a.png"])
    (tmp_path / "a.png").rename(tmp_path / "b.png")
    with pytest.raises(ValueError, match=r"train.json: none of its 1 images, such as `a.png`, is in .*; copy them there"):
        detection.read_dataset(str(tmp_path))


def test_a_spelling_of_another_program(tmp_path):
    write(tmp_path, "train.json", ["some image.png"], folder="images")
    text = (tmp_path / "train.json").read_text().replace("some image.png", "Some%20Image.PNG")
    (tmp_path / "train.json").write_text(text)
    assert names(detection.read_dataset(str(tmp_path))) == [("images/some image.png", "train")]


def test_semantic(tmp_path):
    inner = coco_folder.annotation(2, category_id=3, segmentation=[[3, 2, 5, 2, 5, 4, 3, 4]], bbox=[3, 2, 2, 2], area=4)
    write(tmp_path, "train.json", ["a.png"], [inner, *CAT])
    dataset = detection.read_dataset(str(tmp_path), options=Options(kind="semantic"))
    assert dataset.class_names == ["background", "car", "cat"]
    expected = 2 * coco_folder.MASK
    expected[2:4, 3:5] = 1  # The smaller object is above, although it comes first.
    assert np.array_equal(pixels(dataset)["a.png"], expected)


def test_crowds_as_instances(tmp_path):
    write(tmp_path, "train.json", ["a.png"], [coco_folder.annotation(1, iscrowd=1)])
    with pytest.raises(ValueError, match="iscrowd 1 .*--crowds=instances"):
        detection.read_dataset(str(tmp_path))
    dataset = detection.read_dataset(str(tmp_path), options=Options(crowds_are_instances=True))
    assert [name for name, _ in shapes(dataset)["a.png"]] == ["cat"]


def test_ways_out_of_the_folder(tmp_path):
    write(tmp_path / "data", "train.json", ["a.png", "../b.png"])
    with pytest.raises(ValueError, match=r"file_name `../b.png`: .*is outside of"):
        detection.read_dataset(str(tmp_path / "data"))
    assert len(detection.read_dataset(str(tmp_path / "data"), options=Options(allow_outside=True)).images) == 2


def test_lvis(tmp_path):
    rows = []
    for number, folder in enumerate(("train2017", "val2017"), start=1):
        write_image(tmp_path / folder / f"{number:012d}.jpg")
        address = f"http://images.cocodataset.org/{folder}/{number:012d}.jpg"
        lists = {"neg_category_ids": [], "not_exhaustive_category_ids": []}
        rows.append({"id": number, "coco_url": address, "width": 12, "height": 8, **lists})
    categories = [{"id": 17, "name": "cat", "synset": "cat.n.01", "frequency": "f"}]
    content = {"images": rows, "annotations": CAT, "categories": categories}
    (tmp_path / "lvis_v1_val.json").write_text(json.dumps(content))
    dataset = detection.read_dataset(str(tmp_path))
    assert dataset.format == "lvis" and not dataset.findings
    assert names(dataset) == [("train2017/000000000001.jpg", "val"), ("val2017/000000000002.jpg", "val")]
    assert same_shapes(shapes(dataset)["train2017/000000000001.jpg"], [("cat", coco_folder.MASK)])


def test_images_that_no_list_names_are_counted(tmp_path):
    write(tmp_path, "annotations.json", ["a.png"], folder="images")
    for other in ("images/b.png", "elsewhere/c.png"):
        write_image(tmp_path / other)
    dataset = detection.read_dataset(str(tmp_path))
    assert [(one.kind, one.where) for one in dataset.findings] == [("image_unused", "images/b.png")]
