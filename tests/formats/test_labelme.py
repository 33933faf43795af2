"""labelme: shapes to the pixel, groups, where the images are, and what is odd."""

import base64
import io
import json

import numpy as np
import PIL.Image
import pytest
from format_folders import kinds, pixels, rectangle, same_shapes, shapes, write_image

from tpuseg.formats import detection
from tpuseg.formats.dataset import Options

SQUARE = [[2, 1], [8, 1], [8, 7], [2, 7]]  # Columns 2 to 7, rows 1 to 6.
CORNER = [[0, 4], [6, 4], [6, 8], [0, 8]]


def shape(label="car", points=SQUARE, kind="polygon", **more):
    return {"label": label, "points": points, "group_id": None, "shape_type": kind, "flags": {}, **more}


def write(root, *given, name="a", image="a.jpg", folder="", **more):
    """Writes a labelme file, and its image unless there is one."""
    path = root / folder / f"{name}.json"
    if image and not (path.parent / image.replace("\\", "/")).exists():
        write_image(path.parent / image.replace("\\", "/"))
    content = {"version": "5.4.1", "flags": {}, "shapes": list(given), "imagePath": image, "imageData": None}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**content, "imageHeight": 8, "imageWidth": 12, **more}))
    return path


def read(root, **options):
    dataset = detection.read_dataset(str(root), options=Options(**options))
    assert dataset.format == "labelme"
    return dataset


def png(mask):
    buffer = io.BytesIO()
    PIL.Image.fromarray(mask).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def test_polygons_to_the_pixel(tmp_path):
    write(tmp_path, shape("cat"), shape("car", CORNER))
    dataset = read(tmp_path)
    assert [(one.id, one.name) for one in dataset.categories] == [(1, "car"), (2, "cat")]
    assert same_shapes(shapes(dataset)["a.jpg"], [("cat", rectangle((1, 7), (2, 8))), ("car", rectangle((4, 8), (0, 6)))])
    annotation = dataset.images[0].labels.annotations[0]
    assert annotation.box == (2, 1, 6, 6) and annotation.area == 36 and annotation.name == "shape 1"
    assert dataset.images[0].size == (8, 12) and dataset.num_images == 1 and dataset.num_annotations == 2 and not dataset.findings


def test_semantic_with_a_cut_out_and_an_ignored_region(tmp_path):
    hole, ignored = [[3, 2], [5, 2], [5, 4], [3, 4]], [[9, 0], [12, 0], [12, 2], [9, 2]]
    write(tmp_path, shape("cat"), shape("_background_", hole), shape("__ignore__", ignored))
    dataset = read(tmp_path, kind="semantic")
    assert dataset.class_names == ["background", "cat"]
    expected = rectangle((1, 7), (2, 8))
    expected[2:4, 3:5], expected[0:2, 9:12] = 0, 255
    assert np.array_equal(pixels(dataset)["a.jpg"], expected)
    instances = read(tmp_path)
    assert kinds(instances.findings) == {"shape_of_background": 1} and instances.class_names == ["cat"]
    assert same_shapes(
        shapes(instances)["a.jpg"], [("cat", rectangle((1, 7), (2, 8))), ("ignored cat", rectangle((0, 2), (9, 12)))]
    )


def test_the_order_of_labels_txt(tmp_path):
    write(tmp_path, shape("cat"), shape("dog"))
    (tmp_path / "labels.txt").write_text("__ignore__\n_background_\ncow\ncat\n")
    assert read(tmp_path).class_names == ["cow", "cat", "dog"]
    assert read(tmp_path, kind="semantic").class_names == ["background", "cow", "cat", "dog"]


def test_classes_are_in_natural_order(tmp_path):
    write(tmp_path, *(shape(name) for name in ("t10", "t9", "x", "9")))
    assert read(tmp_path).class_names == ["9", "t9", "t10", "x"]


def test_shapes_of_a_group_are_one_object(tmp_path):
    right = [[10, 0], [12, 0], [12, 3], [10, 3]]
    write(
        tmp_path,
        shape(group_id=1),
        shape("cat", CORNER, group_id=1),
        shape(points=right, group_id=1),
        shape(points=right, group_id=0),
    )
    both = rectangle((1, 7), (2, 8)) + rectangle((0, 3), (10, 12))
    expected = [("car", both), ("cat", rectangle((4, 8), (0, 6))), ("car", rectangle((0, 3), (10, 12)))]
    dataset = read(tmp_path)
    assert same_shapes(shapes(dataset)["a.jpg"], expected) and dataset.num_annotations == 3


def test_masks(tmp_path):
    part = np.zeros((3, 4), np.uint8)
    part[1, :] = part[:, 2] = 255
    write(tmp_path, shape(points=[[5, 2], [8, 4]], kind="mask", mask=png(part)))
    expected = np.zeros((8, 12), np.uint8)
    expected[2:5, 5:9] = part > 0
    assert same_shapes(shapes(read(tmp_path))["a.jpg"], [("car", expected)])


def test_a_mask_and_a_polygon_of_one_group(tmp_path):
    part = np.full((2, 2), 255, np.uint8)
    write(tmp_path, shape(group_id=3), shape(points=[[10, 0], [11, 1]], kind="mask", mask=png(part), group_id=3))
    expected = rectangle((1, 7), (2, 8)) + rectangle((0, 2), (10, 12))
    assert same_shapes(shapes(read(tmp_path))["a.jpg"], [("car", expected)])


def test_circles_and_rectangles(tmp_path):
    circle = shape(points=[[6, 4], [6, 1]], kind="circle")
    write(tmp_path, circle, shape("box", [[8, 7], [2, 1]], "rectangle"), shape("turned", SQUARE, "oriented_rectangle"))
    found = shapes(read(tmp_path, boxes_are_masks=True))["a.jpg"]
    rows, columns = np.mgrid[0:8, 0:12] + 0.5
    inside = (np.hypot(rows - 4, columns - 6) < 3).astype(np.uint8)
    assert np.abs(found[0][1].astype(int) - inside).sum() <= 4 and found[0][1].sum() > 24
    assert same_shapes(found[1:], [("box", rectangle((1, 7), (2, 8))), ("turned", rectangle((1, 7), (2, 8)))])
    found = shapes(read(tmp_path))["a.jpg"]
    assert [name for name, _ in found] == ["car", "ignored box", "ignored turned"]


def test_only_rectangles(tmp_path):
    write(tmp_path, shape(points=[[8, 7], [2, 1]], kind="rectangle"))
    with pytest.raises(ValueError, match=r"all 1 shapes are boxes.*--boxes_are_masks"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("image", "folder", "label_folder"),
    [
        ("a.jpg", "", ""),
        ("../images/a.jpg", "images", "labels"),
        ("..\\images\\a.jpg", "images", "labels"),
        ("C:\\x\\a.jpg", "pics", "l"),
    ],
)
def test_where_the_image_is(tmp_path, image, folder, label_folder):
    write_image(tmp_path / folder / "a.jpg")
    path = write(tmp_path, shape(), image=None, folder=label_folder)
    path.write_text(path.read_text().replace('"imagePath": null', f'"imagePath": {json.dumps(image)}'))
    assert [one.name for one in read(tmp_path).images] == [f"{folder}/a.jpg".lstrip("/")]


def test_images_of_one_name_are_those_nearby(tmp_path):
    for split in ("train", "val"):
        write(tmp_path, shape(), folder=split)
    dataset = read(tmp_path)
    assert [(one.name, one.split) for one in dataset.images] == [("train/a.jpg", "train"), ("val/a.jpg", "val")]


def test_images_without_a_file_and_files_without_an_image(tmp_path):
    write(tmp_path, shape())
    write(tmp_path, shape(), name="b", image=None, imageData="aGk=")
    write_image(tmp_path / "c.jpg")
    dataset = read(tmp_path)
    assert kinds(dataset.findings) == {"image_missing": 1, "image_without_labels": 1} and dataset.num_images == 3
    assert dataset.findings[0].where == "b.json: the image None does not exist; imageData contains its pixels: write them to a file"
    assert dataset.findings[1].where == "c.jpg"


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        (shape(points=[[1, 1]], kind="point"), "shape_without_area"),
        (shape(kind="linestrip"), "shape_without_area"),
        (shape(kind="spiral"), "shape_unusable"),
        (shape(points=[[1, 1]], kind="circle"), "shape_unusable"),
        (shape(points=[[1, 1], [2, 2], [3, 3]], kind="rectangle"), "shape_unusable"),
        (shape(points=[[1, 1], [2, "x"], [3, 3]]), "shape_unusable"),
        (shape(points=[[1, 1], [2, 1e300], [3, 3]]), "shape_unusable"),
        (shape(points=[[1, 1], [2]]), "shape_unusable"),
        (shape(points=[]), "shape_unusable"),
        (shape(label=" "), "shape_unusable"),
        (shape(label=None), "shape_unusable"),
        ("text", "shape_unusable"),
        (shape(points=[[1, 1], [2, 2]], kind="mask", mask="no base64!"), "shape_unusable"),
        (shape(points=[[1, 1], [2, 2]], kind="mask", mask="aGk="), "shape_unusable"),
        (shape(points=[[11, 7], [12, 8]], kind="mask", mask=png(np.full((2, 2), 255, np.uint8))), "shape_unusable"),
        (shape(points=[[-1, 0], [0, 1]], kind="mask", mask=png(np.full((2, 2), 255, np.uint8))), "shape_unusable"),
    ],
)
def test_shapes_that_cannot_be_used_are_named(tmp_path, row, kind):
    write(tmp_path, row, shape())
    dataset = read(tmp_path)
    assert kinds(dataset.findings) == {kind: 1} and dataset.findings[0].where.startswith("a.json, shape 1: ")
    assert len(shapes(dataset)["a.jpg"]) == 1


def test_without_a_size_that_of_the_image_is_used(tmp_path):
    write(tmp_path, shape(), imageHeight=None, imageWidth=True)
    dataset = read(tmp_path)
    assert dataset.images[0].size is None and same_shapes(shapes(dataset)["a.jpg"], [("car", rectangle((1, 7), (2, 8)))])


def test_damaged_files_name_themselves(tmp_path):
    write(tmp_path, shape())
    path = tmp_path / "b.json"
    for content, message in (
        ('{"shapes": 1, "imagePath": ""}', "has no list called `shapes`"),
        ('["shapes", "imagePath"]', "has no list called"),
        ('{"shapes" "imagePath"}', "is not valid JSON"),
    ):
        path.write_text(content)
        with pytest.raises(ValueError, match=f"b.json.*{message}"):
            read(tmp_path)


def test_nothing_that_can_be_used(tmp_path):
    write(tmp_path, shape(kind="line"))
    with pytest.raises(
        ValueError, match=r"none of the 1 images has a shape with an area; 1 were left out, the first is a.json, shape 1: line"
    ):
        read(tmp_path)
    with pytest.raises(ValueError, match="has no JSON file with shapes and imagePath"):
        (tmp_path / "a.json").unlink()
        detection.read_dataset(str(tmp_path), "labelme")
