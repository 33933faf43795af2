"""CVAT for images 1.1: shapes to the pixel, their order, and what is odd."""

import numpy as np
import pytest
from format_folders import kinds, pixels, rectangle, same_shapes, shapes, write_image

from tpuseg.formats import detection
from tpuseg.formats.dataset import Options

SQUARE = (
    '<polygon label="cat" source="manual" occluded="0" points="2.00,1.00;8.00,1.00;8.00,7.00;2.00,7.00" z_order="{}"></polygon>'
)
CORNER = '<polygon label="car" points="0,4;6,4;6,8;0,8" z_order="{}"/>'
LABELS = "".join(
    f"<label><name>{name}</name><color>#ff0000</color><type>{kind}</type><attributes></attributes></label>"
    for name, kind in (("cat", "any"), ("car", "polygon"), ("spot", "points"))
)


def write(root, *images, labels=LABELS, path="annotations.xml", more=""):
    """Writes the file: images are pairs of attributes (None for the usual ones) and shapes."""
    rows = []
    for number, (attributes, content) in enumerate(images):
        attributes = attributes or f'name="{number}.jpg" width="12" height="8"'
        rows.append(f'<image id="{number}" {attributes}>{content}</image>')
    meta = f"<meta><task><labels>{labels}</labels></task></meta>"
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(
        f'<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version>{meta}{"".join(rows)}{more}</annotations>'
    )


def read(root, **options):
    dataset = detection.read_dataset(str(root), options=Options(**options))
    assert dataset.format == "cvat"
    return dataset


@pytest.fixture
def root(tmp_path):
    write_image(tmp_path / "images" / "0.jpg")
    return tmp_path


def test_polygons_to_the_pixel(root):
    write(root, (None, SQUARE.format(1) + CORNER.format(0)))
    dataset = read(root)
    assert [(one.id, one.name) for one in dataset.categories] == [(1, "cat"), (2, "car")]
    # The car is below the cat.
    expected = [("car", rectangle((4, 8), (0, 6))), ("cat", rectangle((1, 7), (2, 8)))]
    assert same_shapes(shapes(dataset)["images/0.jpg"], expected) and not dataset.findings
    assert dataset.images[0].source_id == "0" and dataset.images[0].size == (8, 12) and dataset.num_annotations == 2
    drawn = 2 * expected[0][1]
    drawn[1:7, 2:8] = 1
    assert np.array_equal(pixels(read(root, kind="semantic"))["images/0.jpg"], drawn)


def test_masks_run_along_the_rows_of_their_box(root):
    # Rows 0111, 1100, 0001 from column 3 and row 2 on.
    write(root, (None, '<mask label="cat" rle="1, 5, 5, 1" left="3" top="2" width="4" height="3" z_order="0"/>'))
    expected = np.zeros((8, 12), np.uint8)
    expected[2:5, 3:7] = [[0, 1, 1, 1], [1, 1, 0, 0], [0, 0, 0, 1]]
    assert same_shapes(shapes(read(root))["images/0.jpg"], [("cat", expected)])


def test_a_mask_that_begins_on_the_object(root):
    write(root, (None, '<mask label="cat" rle="0,3,1" left="8" top="6" width="2" height="2"/>'))
    expected = np.zeros((8, 12), np.uint8)
    expected[6:8, 8:10] = [[1, 1], [1, 0]]
    assert same_shapes(shapes(read(root))["images/0.jpg"], [("cat", expected)])


def test_boxes_and_ellipses(root):
    box = '<box label="car" xtl="2" ytl="3" xbr="10" ybr="5" rotation="{}"/>'
    ellipse = '<ellipse label="cat" cx="6" cy="4" rx="2" ry="3.5" rotation="90"/>'
    write(root, (None, box.format("0.00") + ellipse))
    found = shapes(read(root))["images/0.jpg"]
    assert [name for name, _ in found] == ["ignored car", "cat"]
    rows, columns = np.mgrid[0:8, 0:12] + 0.5
    inside = (((columns - 6) / 3.5) ** 2 + ((rows - 4) / 2) ** 2 < 1).astype(np.uint8)
    assert np.abs(found[1][1].astype(int) - inside).sum() <= 4 and found[1][1].sum() > 16
    assert same_shapes(shapes(read(root, boxes_are_masks=True))["images/0.jpg"][:1], [("car", rectangle((3, 5), (2, 10)))])
    write(root, (None, box.format("90")))  # Turned around its centre (6, 4): columns 5 and 6, rows 0 to 7.
    assert same_shapes(shapes(read(root, boxes_are_masks=True))["images/0.jpg"], [("car", rectangle((0, 8), (5, 7)))])


def test_groups(root):
    shapes_of_group = SQUARE.format(0).replace('z_order="0"', 'group_id="4"') + SQUARE.format(0).replace("2.00,", "10.0,").replace(
        'z_order="0"', 'group_id="4"'
    )
    write(root, (None, shapes_of_group + CORNER.format(0).replace("/>", ' group_id="0"/>') + CORNER.format(0)))
    assert [name for name, _ in shapes(read(root))["images/0.jpg"]] == ["cat", "car", "car"]


def test_subsets_and_folders(tmp_path):
    for split in ("Train", "Validation"):
        write_image(tmp_path / "images" / split / "a.jpg")
    rows = [(f'name="{split}/a.jpg" subset="{split}" width="12" height="8"', CORNER.format(0)) for split in ("Train", "Validation")]
    write(tmp_path, *rows)
    assert [(one.name, one.split) for one in read(tmp_path).images] == [
        ("images/Train/a.jpg", "train"), ("images/Validation/a.jpg", "val"),
    ]  # fmt: skip


def test_several_files(tmp_path):
    for task, name in (("one", "a"), ("two", "b")):
        write_image(tmp_path / task / f"{name}.jpg")
        write(tmp_path, (f'name="{name}.jpg" width="12" height="8"', CORNER.format(0)), path=f"{task}/annotations.xml")
    dataset = read(tmp_path)
    assert [one.name for one in dataset.images] == ["one/a.jpg", "two/b.jpg"] and dataset.num_images == 2


def test_images_without_shapes_are_images_without_objects(root):
    write_image(root / "images" / "1.jpg")
    write_image(root / "images" / "2.jpg")
    write(root, (None, CORNER.format(0)), (None, ""), ('name="none.jpg"', CORNER.format(0)))
    dataset = read(root)
    assert shapes(dataset)["images/1.jpg"] == [] and dataset.num_images == 4
    assert kinds(dataset.findings) == {"image_missing": 1, "image_without_labels": 1}
    assert dataset.findings[0].where == "annotations.xml: the image none.jpg does not exist"


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ('<points label="spot" points="1,1"/>', "shape_without_area"),
        ('<tag label="spot"/>', "shape_without_area"),
        ('<skeleton label="spot"><points label="x" points="1,1"/></skeleton>', "shape_without_area"),
        ('<blob label="cat"/>', "shape_unusable"),
        ('<polygon points="0,4;6,4;6,8"/>', "shape_unusable"),
        ('<polygon label="cat" points="0,4;6,4;6"/>', "shape_unusable"),
        ('<polygon label="cat" points="0,4;6,4;6,nan"/>', "shape_unusable"),
        ('<polygon label="cat"/>', "shape_unusable"),
        ('<box label="cat" xtl="1" ytl="2" xbr="x" ybr="4"/>', "shape_unusable"),
        ('<ellipse label="cat" cx="1" cy="2" rx="3"/>', "shape_unusable"),
        ('<ellipse label="cat" cx="1" cy="2" rx="3" ry="3" rotation="x"/>', "shape_unusable"),
        ('<mask label="cat" rle="1,2" left="0" top="0" width="2" height="2"/>', "shape_unusable"),
        ('<mask label="cat" rle="1,x" left="0" top="0" width="2" height="2"/>', "shape_unusable"),
        ('<mask label="cat" rle="1,3" left="11" top="0" width="2" height="2"/>', "shape_unusable"),
        ('<mask label="cat" rle="1,3" left="-1" top="0" width="2" height="2"/>', "shape_unusable"),
        ('<mask label="cat" rle="1,3" left="0" top="7" width="2" height="2"/>', "shape_unusable"),
        ('<mask label="cat" rle="1,3" left="0" top="0" width="0" height="2"/>', "shape_unusable"),
        ('<mask label="cat" rle="1,3" top="0" width="2" height="2"/>', "shape_unusable"),
    ],
)
def test_shapes_that_cannot_be_used_are_named(root, row, kind):
    write(root, (None, row + CORNER.format(0)))
    dataset = read(root)
    assert kinds(dataset.findings) == {kind: 1}
    assert dataset.findings[0].where.startswith(f"annotations.xml, image 0.jpg, shape 1 ({row[1:].split()[0]})")
    assert [name for name, _ in shapes(dataset)["images/0.jpg"]] == ["car"]


def test_a_mask_needs_the_images_size(root):
    write(root, ('name="0.jpg"', '<mask label="cat" rle="1,3" left="0" top="0" width="2" height="2"/>' + CORNER.format(0)))
    dataset = read(root)
    assert dataset.images[0].size is None and kinds(dataset.findings) == {"shape_unusable": 1}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<annotations><image", r"annotations.xml:1: is not valid XML"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotations><image/>&b;</annotations>', "annotations.xml:1: declares an entity"),
        ("<annotations><image_set/></annotations>", "annotations.xml has no images in <annotations>"),
        ("<annotations><track id='0'/><!-- <image --></annotations>", "it is `CVAT for video`; export the task as"),
        ("<annotations><image/>" + "<a>" * 200 + "</a>" * 200 + "</annotations>", "is nested too deeply to be a label file"),
        ("<annotations><image name='0.jpg'/></annotations>", "none of the 1 images has a shape with an area"),
    ],
)
def test_damaged_files(root, content, message):
    (root / "annotations.xml").write_text(content)
    with pytest.raises(ValueError, match=message):
        read(root)


def test_no_file(root):
    with pytest.raises(ValueError, match="has no XML file with annotations of images"):
        detection.read_dataset(str(root), "cvat")
