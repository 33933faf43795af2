"""COCO's panoptic format: segments in PNGs as objects and as classes."""

import json

import numpy as np
import pytest
from format_folders import kinds, pixels, rectangle, same_shapes, shapes, write_image, write_mask

from tpuseg.formats import detection, labels
from tpuseg.formats.dataset import Options

# A thing, a crowd of things and stuff; the number of the first needs all three colours.
CAT, CROWD, SKY = 1 + 2 * 256 + 3 * 65536, 300, 7
NUMBERS = SKY * rectangle((0, 4), (0, 12)).astype(np.int32)
NUMBERS[2:6, 3:9], NUMBERS[6:8, 0:2] = CAT, CROWD
CATEGORIES = [
    {"id": 5, "name": "sky", "isthing": 0},
    {"id": 2, "name": "cat", "isthing": 1},
    {"id": 9, "name": "dog", "isthing": 1},
]


def segment(number=CAT, category=2, **more):
    return {"id": number, "category_id": category, "iscrowd": 0, "area": 1, "bbox": [0, 0, 1, 1], **more}


SEGMENTS = [segment(SKY, 5), segment(CAT), segment(CROWD, 9, iscrowd=1)]


def colors(numbers):
    return np.stack([numbers & 255, numbers >> 8 & 255, numbers >> 16], 2).astype(np.uint8)


def write(root, split="val2017", segments=SEGMENTS, categories=CATEGORIES, ending="jpg", numbers=NUMBERS, **more):
    write_image(root / split / f"1.{ending}")
    write_mask(root / "annotations" / f"panoptic_{split}" / "1.png", colors(numbers))
    content = {
        "images": [{"id": 1, "file_name": f"1.{ending}", "height": 8, "width": 12}],
        "annotations": [{"image_id": 1, "file_name": "1.png", "segments_info": segments}],
        "categories": categories,
        **more,
    }
    (root / "annotations" / f"panoptic_{split}.json").write_text(json.dumps(content))


def read(root, **options):
    dataset = detection.read_dataset(str(root), options=Options(**options))
    assert dataset.format == "coco_panoptic"
    return dataset


def test_classes(tmp_path):
    write(tmp_path)
    dataset = read(tmp_path)
    assert dataset.kind == "semantic" and [(one.id, one.name) for one in dataset.categories] == [(0, "cat"), (1, "sky"), (2, "dog")]
    expected = np.full((8, 12), 255)
    expected[0:4], expected[2:6, 3:9], expected[6:8, 0:2] = 1, 0, 2
    assert np.array_equal(pixels(dataset)["val2017/1.jpg"], expected) and dataset.images[0].split == "val"
    assert labels.find_classes(dataset.images[0]) == {0, 1, 2} and dataset.num_images == 1 and not dataset.findings


def test_objects(tmp_path):
    write(tmp_path)
    dataset = read(tmp_path, kind="instances")
    assert [(one.id, one.name) for one in dataset.categories] == [(2, "cat"), (9, "dog")]
    assert same_shapes(shapes(dataset)["val2017/1.jpg"], [("cat", NUMBERS == CAT), ("ignored dog", NUMBERS == CROWD)])


def test_images_that_are_called_like_their_masks(tmp_path):
    write(tmp_path, ending="png")
    assert [one.name for one in read(tmp_path).images] == ["val2017/1.png"]


def test_splits_with_other_numbers(tmp_path):
    write(tmp_path, "train2017")
    write(tmp_path, "val2017", [segment(CAT, 4)], [{"id": 4, "name": "dog", "isthing": 1}])
    dataset = read(tmp_path, kind="instances")
    assert {name: [one for one, _ in found] for name, found in shapes(dataset).items()} == {
        "train2017/1.jpg": ["cat", "ignored dog"],
        "val2017/1.jpg": ["dog"],
    }
    assert "matched by name" in dataset.notes[0] and dataset.splits == ["train", "val"]


def test_segments_that_the_mask_and_the_list_do_not_share(tmp_path):
    write(tmp_path, segments=[segment(CAT), segment(8, 9)])
    for kind in ("semantic", "instances"):
        image = read(tmp_path, kind=kind).images[0]
        found = labels.convert_pixels(image).findings if kind == "semantic" else labels.read_objects(image).findings
        where = {one.kind: one.where.rpartition("1.png: ")[2] for one in found}
        assert where.pop("segment_missing") == "segment 8"
        # 4 rows of 12 of the sky without 2 rows of 6, and 4 of the crowd.
        assert where == ({"segment_unknown": "40 pixels, the first of segment 7"} if kind == "semantic" else {})


@pytest.mark.parametrize(
    ("one", "kind"),
    [
        (segment(0), "segment_unusable"),
        (segment(1 << 24), "segment_unusable"),
        (segment("x"), "segment_unusable"),
        (segment(category=1), "unknown_category"),
        (segment(category=None), "unknown_category"),
    ],
)
def test_segments_that_cannot_be_used(tmp_path, one, kind):
    write(tmp_path, segments=[*SEGMENTS, one])
    dataset = read(tmp_path)
    assert kinds(dataset.findings) == {kind: 1}
    assert dataset.findings[0].where.startswith("annotations/panoptic_val2017.json: annotation of image 1: segment ")


def test_images_without_a_mask(tmp_path):
    write(tmp_path)
    path = tmp_path / "annotations/panoptic_val2017.json"
    content = json.loads(path.read_text())
    for number in (2, 3):
        content["images"].append({"id": number, "file_name": f"{number}.jpg"})
        write_image(tmp_path / "val2017" / f"{number}.jpg")
    given = content["annotations"]
    content["annotations"] = [given[0], given[0], {**given[0], "image_id": 9}, {**given[0], "image_id": 2, "file_name": "2.png"}]
    path.write_text(json.dumps(content))
    dataset = read(tmp_path)
    assert kinds(dataset.findings) == {"annotation_twice": 1, "unknown_image": 1, "mask_missing": 1, "image_without_labels": 2}
    assert [one.name for one in dataset.images] == ["val2017/1.jpg"] and dataset.num_images == 3
    (tmp_path / "annotations/panoptic_val2017/1.png").rename(tmp_path / "annotations/panoptic_val2017/other.png")
    with pytest.raises(ValueError, match=r"no image exists together with its PNG, the first of the reasons is .*there is no 1.png"):
        read(tmp_path)


def test_a_mask_that_is_no_rgb(tmp_path):
    write(tmp_path)
    write_mask(tmp_path / "annotations/panoptic_val2017/1.png", np.zeros((8, 12), np.uint8))
    with pytest.raises(ValueError, match=r"1.png has the mode L; masks of segments are RGB"):
        pixels(read(tmp_path))


def test_damaged_files(tmp_path):
    write(tmp_path, annotations=[{"image_id": 1, "file_name": "1.png", "segments_info": 3}])
    with pytest.raises(ValueError, match="panoptic_val2017.json: the annotation of image 1 has no list called `segments_info`"):
        read(tmp_path)
    write(tmp_path, categories=[{"id": 2, "name": "cat", "isthing": 0}])
    with pytest.raises(ValueError, match="no category has isthing 1, so there are no objects"):
        read(tmp_path, kind="instances")
    with pytest.raises(ValueError, match="has no JSON file with images, annotations, categories, segments_info"):
        detection.read_dataset(str(tmp_path / "val2017"), "coco_panoptic")
