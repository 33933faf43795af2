"""The same objects in every format become the same records, to the pixel."""

import json

import numpy as np
import pytest
from format_folders import rectangle, write_image, write_mask

from tpuseg.convert import coco, objects
from tpuseg.data import instance_records, records
from tpuseg.formats import detection, labels
from tpuseg.formats.dataset import Options
from tpuseg.ops import masks
from tpuseg.visualization.drawing import color_map

# Corners of two objects that do not touch, on 12x8 pixels, and their pixels.
OBJECTS = {"cat": [2, 1, 7, 1, 7, 4, 2, 4], "dog": [8, 3, 12, 3, 12, 8, 8, 8]}
MASKS = {"cat": rectangle((1, 4), (2, 7)), "dog": rectangle((3, 8), (8, 12))}
IDS = MASKS["cat"] + 2 * MASKS["dog"]


def pairs(polygon):
    return [[x, y] for x, y in zip(polygon[0::2], polygon[1::2], strict=True)]


def write_coco(root, **more):
    rows = [
        {
            "id": number,
            "image_id": 1,
            "category_id": number,
            "segmentation": [polygon],
            "area": 1,
            "iscrowd": 0,
            "bbox": box(polygon),
        }
        for number, polygon in enumerate(OBJECTS.values(), start=1)
    ]
    image = {"id": 1, "file_name": "a.png", "height": 8, "width": 12, **more}
    categories = [{"id": number, "name": name} for number, name in enumerate(OBJECTS, start=1)]
    (root / "all.json").write_text(json.dumps({"images": [image], "annotations": rows, "categories": categories}))


def box(polygon):
    return [
        min(polygon[0::2]),
        min(polygon[1::2]),
        max(polygon[0::2]) - min(polygon[0::2]),
        max(polygon[1::2]) - min(polygon[1::2]),
    ]


def write_panoptic(root):
    write_mask(root / "all" / "a.png", np.stack([IDS, 0 * IDS, 0 * IDS], 2))
    (root / "images").mkdir()
    (root / "a.png").rename(root / "images" / "a.png")
    categories = [{"id": number, "name": name, "isthing": 1} for number, name in enumerate(OBJECTS, start=1)]
    segments = [{"id": number, "category_id": number} for number in (1, 2)]
    rows = [{"image_id": 1, "file_name": "a.png", "segments_info": segments}]
    (root / "all.json").write_text(
        json.dumps({"images": [{"id": 1, "file_name": "a.png"}], "annotations": rows, "categories": categories})
    )


def write_voc(root):
    write_image(root / "JPEGImages" / "a.png")
    (root / "a.png").unlink()
    for folder in ("SegmentationClass", "SegmentationObject"):
        write_mask(root / folder / "a.png", IDS, color_map().ravel())
    (root / "labelmap.txt").write_text("background:0,0,0::\ncat:128,0,0::\ndog:0,128,0::\n")


def write_yolo(root):
    lines = [
        f"{number} " + " ".join(f"{x / 12:.9f} {y / 8:.9f}" for x, y in pairs(polygon))
        for number, polygon in enumerate(OBJECTS.values())
    ]
    (root / "a.txt").write_text("\n".join(lines))
    (root / "data.yaml").write_text("train: .\nval: .\nnames: [cat, dog]\n")


def write_labelme(root):
    shapes = [{"label": name, "points": pairs(polygon), "shape_type": "polygon"} for name, polygon in OBJECTS.items()]
    (root / "a.json").write_text(json.dumps({"shapes": shapes, "imagePath": "a.png", "imageHeight": 8, "imageWidth": 12}))


def write_cvat(root):
    shapes = "".join(
        f'<polygon label="{name}" points="{";".join(f"{x}.0,{y}.0" for x, y in pairs(polygon))}"/>'
        for name, polygon in OBJECTS.items()
    )
    (root / "annotations.xml").write_text(
        f'<annotations><image id="0" name="a.png" width="12" height="8">{shapes}</image></annotations>'
    )


def write_label_studio(root):
    size = {"original_width": 12, "original_height": 8}
    results = [
        {
            "type": "polygonlabels",
            "value": {"points": [[x / 0.12, y / 0.08] for x, y in pairs(polygon)], "polygonlabels": [name]},
            **size,
        }
        for name, polygon in OBJECTS.items()
    ]
    (root / "all.json").write_text(json.dumps([{"id": 1, "data": {"image": "a.png"}, "annotations": [{"result": results}]}]))


def write_via(root):
    regions = [
        {
            "shape_attributes": {"name": "polygon", "all_points_x": polygon[0::2], "all_points_y": polygon[1::2]},
            "region_attributes": {"class": name},
        }
        for name, polygon in OBJECTS.items()
    ]
    (root / "via.json").write_text(json.dumps({"a.png1": {"filename": "a.png", "regions": regions}}))


def write_lvis(root):
    write_coco(root, neg_category_ids=[], not_exhaustive_category_ids=[])


WRITERS = {
    "coco": write_coco, "coco_panoptic": write_panoptic, "cvat": write_cvat, "label_studio": write_label_studio,
    "labelme": write_labelme, "lvis": write_lvis, "via": write_via, "voc": write_voc, "yolo": write_yolo,
}  # fmt: skip


@pytest.mark.parametrize("name", WRITERS)
def test_records_of_objects(tmp_path, name):
    write_image(tmp_path / "data" / "a.png")
    WRITERS[name](tmp_path / "data")
    dataset = detection.read_dataset(str(tmp_path / "data"), options=Options(kind="instances"))
    assert dataset.format == name and dataset.class_names == ["cat", "dog"]
    tally = coco.Tally(
        list(dataset.categories), list(dataset.findings), dataset.source, dataset.num_images, dataset.num_annotations
    )
    converted = [labels.convert_objects(image, objects.Options()) for image in dataset.images]
    summary = coco.write(converted, len(converted), tally, str(tmp_path / "records"), "train", 1)
    (record,) = records.read_raw(str(tmp_path / "records" / summary["shards"][0]))
    example = instance_records.read_instances(record)
    found = {instance.category.name: masks.decode(instance.runs) for instance in example.instances}
    assert found.keys() == MASKS.keys() and all(np.array_equal(found[name], mask) for name, mask in MASKS.items())
    assert summary["lost"] == {"images": [0, 1], "annotations": [0, 2]} and not summary["findings"]


@pytest.mark.parametrize("name", WRITERS)
def test_classes_of_pixels(tmp_path, name):
    write_image(tmp_path / "a.png")
    WRITERS[name](tmp_path)
    dataset = detection.read_dataset(str(tmp_path), options=Options(kind="semantic"))
    ids = dataset.images[0].labels.read((8, 12)).ids
    found = [dataset.class_names[number] for number in np.unique(ids) if number >= 0]
    assert found == (["cat", "dog"] if name == "coco_panoptic" else ["background", "cat", "dog"])
    for label, mask in MASKS.items():
        assert np.array_equal(ids == dataset.class_names.index(label), mask > 0)
