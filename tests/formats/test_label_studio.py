"""Label Studio: shapes in per cent to the pixel, brush strokes, and which of several annotations counts."""

import json

import numpy as np
import pytest
from format_folders import kinds, rectangle, same_shapes, shapes, write_image

from tpuseg.formats import brush_runs, detection
from tpuseg.formats.dataset import Options

# Written by label-studio-converter 0.0.59 (`brush.mask2rle`) for this mask of 7x5 pixels.
BRUSHED = [0, 0, 0, 140, 57, 27, 252, 127, 248, 124, 2, 127, 252, 190, 0]
BRUSH = rectangle((0, 1), (0, 1), (5, 7)) + rectangle((1, 2), (2, 4), (5, 7))


def region(kind="polygonlabels", label="cat", size=(8, 12), **value):
    row = {
        "id": "x",
        "type": kind,
        "value": {**value, kind: [label]},
        "image_rotation": 0,
        "from_name": "label",
        "to_name": "image",
    }
    return {**row, "original_height": size[0], "original_width": size[1]}


# Columns 3 to 8, rows 2 to 5 of 12x8 pixels.
SQUARE = region(points=[[25, 25], [75, 25], [75, 75], [25, 75]], closed=True)
CORNER = region(label="car", points=[[0, 50], [50, 50], [50, 100], [0, 100]])


def annotation(*results, **more):
    return {"id": 1, "result": list(results), "was_cancelled": False, "ground_truth": False, **more}


def task(*annotations, image="/data/upload/1/0123abcd-a.jpg", **more):
    return {"id": 7, "data": {"image": image}, "annotations": list(annotations), "predictions": [], **more}


def write(root, *tasks, name="export.json"):
    (root / name).write_text(json.dumps(list(tasks)))


def read(root, **options):
    dataset = detection.read_dataset(str(root), options=Options(**options))
    assert dataset.format == "label_studio"
    return dataset


@pytest.fixture
def root(tmp_path):
    write_image(tmp_path / "a.jpg")
    return tmp_path


def test_polygons_to_the_pixel(root):
    write(root, task(annotation(SQUARE, CORNER)))
    dataset = read(root)
    assert same_shapes(shapes(dataset)["a.jpg"], [("cat", rectangle((2, 6), (3, 9))), ("car", rectangle((4, 8), (0, 6)))])
    assert [(one.id, one.name) for one in dataset.categories] == [(1, "car"), (2, "cat")] and not dataset.findings
    assert dataset.images[0].size == (8, 12) and dataset.images[0].source_id == "7" and dataset.num_annotations == 2


def test_brush_strokes(tmp_path):
    write_image(tmp_path / "a.jpg", 7, 5)
    write(tmp_path, task(annotation(region("brushlabels", size=(5, 7), format="rle", rle=BRUSHED))))
    assert same_shapes(shapes(read(tmp_path))["a.jpg"], [("cat", BRUSH)])


def test_rectangles_turn_around_their_corner_and_ellipses_around_their_centre(root):
    turned = region("rectanglelabels", "box", x=50, y=25, width=25, height=25, rotation=90)
    ellipse = region("ellipselabels", x=50, y=50, radiusX=100 / 3, radiusY=25, rotation=90)
    write(root, task(annotation(turned, ellipse)))
    found = shapes(read(root, boxes_are_masks=True))["a.jpg"]
    # From (6, 2), three to the right and two down; turned clockwise three down and two to the left.
    assert same_shapes(found[:1], [("box", rectangle((2, 5), (4, 6)))])
    rows, columns = np.mgrid[0:8, 0:12] + 0.5
    inside = (((columns - 6) / 2) ** 2 + ((rows - 4) / 4) ** 2 < 1).astype(np.uint8)
    assert np.abs(found[1][1].astype(int) - inside).sum() <= 4 and found[1][1].sum() > 18
    assert [name for name, _ in shapes(read(root))["a.jpg"]] == ["ignored box", "cat"]


@pytest.mark.parametrize(
    "image",
    [
        "/data/upload/1/0123abcd-a.jpg",
        "a.jpg",
        "s3://bucket/folder/a.jpg",
        "https://example.org/x/a.jpg?token=1",
        "/data/local-files/?d=folder/a.jpg",
        "/data/upload/1/A.JPG",
    ],
)
def test_addresses_of_images(root, image):
    write(root, task(annotation(SQUARE), image=image))
    assert [one.name for one in read(root).images] == ["a.jpg"]


def test_the_name_with_its_prefix_comes_first(root):
    write_image(root / "images" / "0123abcd-a.jpg")
    write(root, task(annotation(SQUARE)))
    assert [one.name for one in read(root).images] == ["images/0123abcd-a.jpg"]


def test_which_annotation_counts(root):
    write(root, task(annotation(was_cancelled=True), annotation(SQUARE), annotation(CORNER)))
    dataset = read(root)
    assert [name for name, _ in shapes(dataset)["a.jpg"]] == ["cat"] and kinds(dataset.findings) == {"annotation_of_others": 1}
    write(root, task(annotation(SQUARE), annotation(CORNER, ground_truth=True)))
    assert [name for name, _ in shapes(read(root))["a.jpg"]] == ["car"]


def test_older_files(root):
    old = task(annotation(SQUARE))
    old["completions"] = old.pop("annotations")
    write(root, old)
    assert len(shapes(read(root))["a.jpg"]) == 1


def test_tasks_without_labels(root):
    for name in ("b.jpg", "c.jpg"):
        write_image(root / name)
    write(
        root,
        task(annotation(SQUARE)),
        task(image="b.jpg"),
        task(annotation(), image="c.jpg"),
        task(annotation(SQUARE), image="d.jpg"),
    )
    dataset = read(root)
    assert kinds(dataset.findings) == {"task_without_annotation": 1, "image_missing": 1, "image_without_labels": 1}
    assert [finding.where for finding in dataset.findings][:2] == [
        "export.json, task 7 (b.jpg)", "export.json, task 7: the image d.jpg does not exist",
    ]  # fmt: skip
    assert shapes(dataset)["c.jpg"] == []  # Somebody looked and found nothing.


@pytest.mark.parametrize(
    ("row", "kind", "message"),
    [
        ({"type": "choices", "value": {"choices": ["good"]}}, "shape_without_area", "'choices'"),
        (region("keypointlabels", x=1, y=1, width=1), "shape_without_area", "'keypointlabels'"),
        ("text", "shape_unusable", "'text'"),
        ({"type": "polygonlabels"}, "shape_unusable", "polygonlabels"),
        (region(points=[[0, 0], [1, "x"]]), "shape_unusable", "polygonlabels"),
        (region("ellipselabels", x=1, y=1, radiusX=2), "shape_unusable", "ellipselabels"),
        (region("rectanglelabels", x=1, y=1, width=2, height=2, rotation="x"), "shape_unusable", "rectanglelabels"),
        ({**SQUARE, "original_width": None}, "shape_unusable", "original_width and original_height are missing"),
        ({**SQUARE, "image_rotation": 90}, "shape_unusable", "the image was rotated by 90 degrees"),
        (region(label=" ", points=SQUARE["value"]["points"]), "shape_unusable", "labels"),
        (region("brushlabels", rle="x"), "shape_unusable", "rle is not a list"),
        (region("brushlabels", rle=BRUSHED), "shape_unusable", "have 140 values, the image 384"),
    ],
)
def test_regions_that_cannot_be_used_are_named(root, row, kind, message):
    write(root, task(annotation(row, CORNER)))
    dataset = read(root)
    assert kinds(dataset.findings) == {kind: 1} and message in dataset.findings[0].where
    assert dataset.findings[0].where.startswith("export.json, task 7, region 1: ")
    assert [name for name, _ in shapes(dataset)["a.jpg"]] == ["car"]


def test_two_labels_of_one_region(root):
    write(root, task(annotation({**SQUARE, "value": {**SQUARE["value"], "polygonlabels": ["a", "b"]}}, CORNER)))
    assert "labels ['a', 'b'] instead of one label" in read(root).findings[0].where


def test_damaged_files(root):
    for content, message in (
        ({"data": 1, "result": 2, "original_width": 3}, "export.json is not a list of tasks; export the project as JSON"),
        ([["data", "result", "original_width"]], "is not a list of tasks"),
        ([{"data": 1, "result": 2, "original_width": 3}], "none of the 1 images has a shape with an area; 1 were left out"),
    ):
        (root / "export.json").write_text(json.dumps(content))
        with pytest.raises(ValueError, match=message):
            read(root)
    (root / "export.json").unlink()
    with pytest.raises(ValueError, match="has no JSON file with data, result, original_width"):
        detection.read_dataset(str(root), "label_studio")


# Packed runs


def bits(*pairs):
    """Returns the bytes of numbers with so many bits each."""
    text = "".join(f"{value:0{size}b}" for value, size in pairs)
    text += "0" * (-len(text) % 8)
    return [int(text[place : place + 8], 2) for place in range(0, len(text), 8)]


def header(count, width=8, sizes=(3, 4, 8, 16)):
    return [(count, 32), (width - 1, 5), *((size - 1, 4) for size in sizes)]


def test_the_example_of_the_format():
    packed = bits(*header(4), (1, 1), (0, 2), (2, 3), (0, 8), (1, 1), (0, 2), (0, 3), (255, 8))
    assert brush_runs.decode(packed, 4).tolist() == [0, 0, 0, 255]


def test_values_one_by_one_and_all_sizes_of_runs():
    packed = bits(
        *header(25),
        (0, 1),
        (1, 2),
        (2, 4),
        (9, 8),
        (8, 8),
        (7, 8),
        (1, 1),
        (2, 2),
        (19, 8),
        (5, 8),
        (0, 1),
        (3, 2),
        (1, 16),
        (1, 8),
        (2, 8),
    )
    assert brush_runs.decode(packed, 25).tolist() == [9, 8, 7, *[5] * 20, 1, 2]


@pytest.mark.parametrize(
    ("packed", "message"),
    [
        ([], "are truncated"),
        (bits(*header(4), (1, 1), (0, 2), (2, 3)), "are truncated"),
        (bits(*header(4), (0, 1), (0, 2), (2, 3), (0, 8)), "are truncated"),
        (bits(*header(5)), "have 5 values, the image 4"),
        (bits(*header(4, 9)), "have values of 9 bits"),
        (bits(*header(4), (1, 1), (0, 2), (4, 3), (0, 8)), "have a run up to value 5 of 4"),
        ([256], "are not a list of numbers from 0 to 255"),
        ([0.5], "are not a list of numbers"),
        (["1"], "are not a list of numbers"),
    ],
)
def test_damaged_runs(packed, message):
    with pytest.raises(ValueError, match=message):
        brush_runs.decode(packed, 4)
