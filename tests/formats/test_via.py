"""VGG Image Annotator: shapes to the pixel, and which attribute is the class."""

import json

import numpy as np
import pytest
from format_folders import kinds, rectangle, same_shapes, shapes, write_image

from tpuseg.formats import detection
from tpuseg.formats.dataset import Options


def polygon(x=(2, 8, 8, 2), y=(1, 1, 7, 7)):
    return {"name": "polygon", "all_points_x": list(x), "all_points_y": list(y)}


def region(attributes=None, shape=None):
    return {
        "shape_attributes": polygon() if shape is None else shape,
        "region_attributes": {"class": "cat"} if attributes is None else attributes,
    }


def write(root, *regions, filename="a.jpg", name="via.json", project=False, numbered=False):
    given = {str(number): one for number, one in enumerate(regions)} if numbered else list(regions)
    content = {f"{filename}123": {"filename": filename, "size": 123, "regions": given, "file_attributes": {}}}
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(json.dumps({"_via_settings": {}, "_via_img_metadata": content} if project else content))


def read(root, **options):
    dataset = detection.read_dataset(str(root), options=Options(**options))
    assert dataset.format == "via"
    return dataset


@pytest.fixture
def root(tmp_path):
    write_image(tmp_path / "a.jpg")
    return tmp_path


@pytest.mark.parametrize("form", [{}, {"project": True}, {"numbered": True}])
def test_polygons_to_the_pixel(root, form):
    write(root, region(), region({"class": "car"}, polygon((0, 6, 6, 0), (4, 4, 8, 8))), **form)
    dataset = read(root)
    assert same_shapes(shapes(dataset)["a.jpg"], [("cat", rectangle((1, 7), (2, 8))), ("car", rectangle((4, 8), (0, 6)))])
    assert dataset.notes == ("the attribute `class` of the regions is their class",) and not dataset.findings


def test_other_shapes(root):
    rows, columns = np.mgrid[0:8, 0:12] + 0.5
    box = {"name": "rect", "x": 3, "y": 2, "width": 6, "height": 4}
    circle = {"name": "circle", "cx": 6, "cy": 4, "r": 3}
    ellipse = {"name": "ellipse", "cx": 6, "cy": 4, "rx": 4, "ry": 2, "theta": np.pi / 2}
    write(root, *(region(shape=one) for one in (box, circle, ellipse)))
    found = shapes(read(root, boxes_are_masks=True))["a.jpg"]
    assert same_shapes(found[:1], [("cat", rectangle((2, 6), (3, 9)))])
    for (_, mask), inside in zip(
        found[1:], (np.hypot(rows - 4, columns - 6) < 3, ((columns - 6) / 2) ** 2 + ((rows - 4) / 4) ** 2 < 1), strict=True
    ):
        assert np.abs(mask.astype(int) - inside).sum() <= 4 and mask.sum() > 18
    assert [name for name, _ in shapes(read(root))["a.jpg"]] == ["ignored cat", "cat", "cat"]


@pytest.mark.parametrize(
    ("attributes", "names", "note"),
    [
        ([{"kind": "cat"}, {"kind": "dog"}], ["cat", "dog"], "the attribute `kind` of the regions is their class"),
        ([{"kind": {"cat": True}}, {"kind": {"dog": True, "cat": False}}], ["cat", "dog"], "the attribute `kind`"),
        (
            [{"a": "x", "name": "cat"}, {"a": "y", "name": "dog"}],
            ["cat", "dog"],
            "`name` of the regions is their class (others are a)",
        ),
        ([{"name": "", "a": "x"}, {"a": "y"}], ["x", "y"], "the attribute `a`"),
        ([{}, {}], ["object"], "no region has an attribute, so all regions are of one class, `object`"),
    ],
)
def test_which_attribute_is_the_class(root, attributes, names, note):
    write(root, *map(region, attributes))
    dataset = read(root)
    assert dataset.class_names == names and note in dataset.notes[0] and len(shapes(dataset)["a.jpg"]) == 2


def test_a_file_for_each_split(tmp_path):
    for split in ("train", "val"):
        write_image(tmp_path / split / "a.jpg")
        write(tmp_path, region(), name=f"{split}/via_region_data.json")
    assert [(one.name, one.split) for one in read(tmp_path).images] == [("train/a.jpg", "train"), ("val/a.jpg", "val")]


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        (region(shape={"name": "point", "cx": 1, "cy": 2}), "shape_without_area"),
        (region(shape={"name": "polyline"}), "shape_without_area"),
        (region(shape={"name": "blob"}), "shape_unusable"),
        (region(shape={}), "shape_unusable"),
        (region(shape=polygon((1, 2, 3), (1, 2))), "shape_unusable"),
        (region(shape=polygon((1, 2, "x"), (1, 2, 3))), "shape_unusable"),
        (region(shape={"name": "polygon"}), "shape_unusable"),
        (region(shape={"name": "circle", "cx": 1, "cy": 2}), "shape_unusable"),
        (region(shape={"name": "ellipse", "cx": 1, "cy": 2, "rx": 1, "ry": 1, "theta": "x"}), "shape_unusable"),
        (region(shape=[1]), "shape_unusable"),
        (region({"other": "x"}), "shape_unusable"),
        (region({"class": {"a": True, "b": True}}), "shape_unusable"),
        ("text", "shape_unusable"),
    ],
)
def test_regions_that_cannot_be_used_are_named(root, row, kind):
    write(root, row, region(), region())
    dataset = read(root)
    assert kinds(dataset.findings) == {kind: 1} and dataset.findings[0].where.startswith("via.json, image a.jpg, region 1: ")
    assert [name for name, _ in shapes(dataset)["a.jpg"]] == ["cat", "cat"]


def test_images_that_are_not_there(root):
    write(root, region(), name="one.json")
    write(root, region(), filename="b.jpg", name="two.json")
    dataset = read(root)
    assert (
        kinds(dataset.findings) == {"image_missing": 1} and dataset.findings[0].where == "two.json: the image b.jpg does not exist"
    )
    assert dataset.num_images == 2


def test_damaged_files(root):
    with pytest.raises(ValueError, match="has no JSON file with regions"):
        detection.read_dataset(str(root), "via")
    (root / "via.json").write_text(json.dumps({"x": {"filename": "a.jpg", "regions": {}, "shape_attributes": 1}}))
    with pytest.raises(ValueError, match="none of the 1 images has a shape with an area"):
        read(root)
    for rows in ({"filename": 1, "regions": {}, "shape_attributes": 1}, ["filename", "regions", "shape_attributes"]):
        (root / "via.json").write_text(json.dumps({"x": rows}))
        with pytest.raises(ValueError, match="via.json is not an export of VIA 1 or 2"):
            read(root)
