"""Data sets of any format into records: the same records and summaries as those of the converters."""

import json
import os

import coco_folder
import numpy as np
import pytest

from tpuseg.convert import coco
from tpuseg.data import instance_records, records
from tpuseg.formats import detection, splits
from tpuseg.formats.dataset import Options
from tpuseg.planning import conversion

FILES = ("a.png", "b.png", "c.png")


@pytest.fixture
def folder(tmp_path):
    """Three images: a car and a cat, two cats, nothing."""
    rows = [(1, 1, 3), (2, 1, 17), (3, 2, 17), (4, 2, 17)]
    annotations = [
        coco_folder.annotation(number, image_id=image, category_id=category, segmentation=[[number, 1, 8, 1, 8, 7, number, 7]])
        for number, image, category in rows
    ]
    coco_folder.write(tmp_path / "data", annotations, files=FILES, name="annotations.json")
    return tmp_path / "data"


def read(folder, kind="instances"):
    dataset = detection.read_dataset(str(folder), "coco", Options(kind=kind))
    return splits.split(dataset, splits.Options(val_share=0.34), splits.find_classes(dataset))


def test_objects_become_the_records_of_the_converter(folder, tmp_path):
    dataset = read(folder)
    output = tmp_path / "out"
    written = conversion.write(dataset, str(output), conversion.Options(num_shards=1))
    coco.convert_coco(str(folder / "images"), str(folder / "annotations.json"), str(tmp_path / "all"), num_shards=1, split="all")
    expected = read_examples(tmp_path / "all", "all")
    found = {}
    for split in ("train", "val"):
        summary = json.loads((output / f"{split}.json").read_text())
        assert summary == written.summaries[split] and summary["class_names"] == ["car", "cat"]
        found |= read_examples(output, split)
        assert written.num_bytes[split] == (output / f"{split}-00000-of-00001.tfrecord").stat().st_size
    assert found == expected and set(found) == {"1", "2", "3"}


def read_examples(folder, split):
    """Returns the image, its size and its objects by the image's id."""
    found = {}
    for record in records.read_raw(str(folder / f"{split}-00000-of-00001.tfrecord")):
        example = instance_records.read_instances(record)
        rows = [(one.category, one.is_crowd, one.annotated_area, one.box.tolist(), one.png) for one in example.instances]
        found[example.source_id] = (example.image, example.height, example.width, rows)
    return found


def test_contents_of_objects(folder, tmp_path):
    written = conversion.write(read(folder), str(tmp_path / "out"), conversion.Options(num_shards=1))
    contents = {os.path.basename(image.name): image for image in written.images}
    image = contents["a.png"]
    assert image.size == (8, 12) and image.classes.tolist() == [0, 1]
    assert image.boxes.tolist() == [[1, 2, 7, 8], [1, 2, 7, 8]]
    assert contents["c.png"].boxes.shape == (0, 4)
    assert {one.name: one.split for one in written.images} == {image.name: image.split for image in read(folder).images}
    summaries = written.summaries.values()
    assert sum(summary["num_objects"] for summary in summaries) == 4
    assert sum(summary["lost"]["annotations"][1] for summary in summaries) == 4


def test_ignored_regions_are_no_objects(tmp_path):
    rows = [coco_folder.annotation(number, image_id=number) for number in (1, 2)]
    crowd = coco_folder.annotation(3, image_id=1, iscrowd=1, segmentation=[[0, 0, 3, 0, 3, 3]], bbox=[0, 0, 3, 3])
    coco_folder.write(tmp_path / "data", [*rows, crowd], files=FILES[:2], name="annotations.json")
    written = conversion.write(read(tmp_path / "data"), str(tmp_path / "out"), conversion.Options(num_shards=1))
    assert sum(summary["num_crowds"] for summary in written.summaries.values()) == 1
    assert [image.classes.tolist() for image in written.images] == [[1], [1]]


def test_objects_as_pixels(folder, tmp_path):
    dataset = read(folder, "semantic")
    written = conversion.write(dataset, str(tmp_path / "out"), conversion.Options(num_shards=1))
    assert all(summary["class_names"] == ["background", "car", "cat"] for summary in written.summaries.values())
    image = {os.path.basename(image.name): image for image in written.images}["b.png"]
    # Columns 3 to 7 of rows 1 to 6 are of one or both cats.
    assert image.pixels[:3].tolist() == [96 - 30, 0, 30] and image.pixels.shape == (256,)
    total = sum(np.array(list(summary["pixels_per_class"].values())) for summary in written.summaries.values())
    assert total.tolist() == sum(image.pixels[:3] for image in written.images).tolist()
    assert "background" in conversion.describe(written.summaries["train"])


def test_findings_of_the_lists_and_the_images(folder, tmp_path):
    content = json.loads((folder / "annotations.json").read_text())
    content["images"].append(coco_folder.image(9, "missing.png"))
    content["annotations"][0].pop("area")
    (folder / "annotations.json").write_text(json.dumps(content))
    written = conversion.write(read(folder), str(tmp_path / "out"), conversion.Options(num_shards=1))
    assert {"image_missing", "area_missing"} <= {finding.kind for finding in written.findings}
