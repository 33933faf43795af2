"""VOC's layout into records: the labels byte for byte, and every fault named."""

import io
import json

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
from voc_folder import make_voc

from tpuseg.convert import images, labelmap, shapes, voc, voc_instances
from tpuseg.data import records, semantic_records
from tpuseg.data.examples import SemanticExample
from tpuseg.io import image_files

NAMES = ["background", "road", "car"]


def convert(root, **options):
    return voc.convert_voc(str(root), "train", str(root / "out"), class_names=NAMES, num_shards=1, num_workers=1, **options)


def read(root):
    dataset = tf.data.TFRecordDataset(sorted(map(str, (root / "out").glob("train-*.tfrecord"))))
    return [semantic_records.parse_semantic(record) for record in dataset]


IDS = np.array([[0, 1, 2, 255], [2, 2, 1, 0], [0, 0, 255, 1]], np.uint8).repeat(4, 0).repeat(4, 1)


def test_palette_rgb_and_id_masks_give_the_same_bytes(tmp_path):
    make_voc(tmp_path, {"a": (IDS, "palette"), "b": (IDS, "rgb"), "c": (IDS, "ids")})
    summary = convert(tmp_path)
    parsed = read(tmp_path)
    assert [example["source_id"].numpy() for example in parsed] == [b"a", b"b", b"c"]
    assert len({example["labels"].numpy() for example in parsed}) == 1
    np.testing.assert_array_equal(semantic_records.decode_labels(parsed[0]["labels"]), IDS)
    assert summary["pixels_per_class"] == {"background": 3 * 64, "road": 3 * 48, "car": 3 * 48}
    assert summary["ignored_share"] == pytest.approx(2 / 12)
    assert json.loads((tmp_path / "out" / "train.json").read_text()) == summary


def test_images_pass_through_undecoded(tmp_path):
    make_voc(tmp_path, {"a": (IDS, "ids")})
    convert(tmp_path)
    assert read(tmp_path)[0]["image"].numpy() == (tmp_path / "JPEGImages/a.jpg").read_bytes()


def test_what_the_reader_cannot_take_is_reencoded_and_said(tmp_path):
    make_voc(tmp_path, {"a": (IDS, "ids")})
    PIL.Image.new("CMYK", IDS.shape[::-1], (10, 20, 30, 40)).save(tmp_path / "JPEGImages/a.jpg")
    assert convert(tmp_path)["reencoded"] == {"CMYK colours": 1}
    assert records.decode_image(read(tmp_path)[0]["image"]).shape == (*IDS.shape, 3)


def test_exif_rotation_is_applied(tmp_path):
    make_voc(tmp_path, {"a": (IDS, "ids")})
    image = PIL.Image.new("RGB", IDS.shape)  # Lying; its EXIF data says to turn it upright.
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "JPEGImages/a.jpg", exif=exif)
    assert convert(tmp_path)["reencoded"] == {"rotated according to its EXIF data": 1}


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_exif_rotation_can_be_ignored(tmp_path, orientation):
    image = PIL.Image.linear_gradient("L").resize((12, 8)).convert("RGB")
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(tmp_path / "a.jpg", exif=exif)
    with PIL.Image.open(tmp_path / "a.jpg") as file:
        image = file.convert("RGB")
    stored = images.read_image(str(tmp_path / "a.jpg"), exif="ignore")
    raw = (tmp_path / "a.jpg").read_bytes()
    assert stored.reencoded == "" and (stored.data == raw if orientation == 1 else b"Exif" not in stored.data)
    # Whoever reads the record finds the stored pixels, also with a reader that applies EXIF data.
    np.testing.assert_array_equal(image_files.read_rgb(stored.data), np.asarray(image))
    assert (stored.height, stored.width, stored.orientation) == (8, 12, orientation)
    turned = images.read_image(str(tmp_path / "a.jpg"))
    assert (turned.height, turned.width) == ((12, 8) if orientation == 6 else (8, 12)) and turned.orientation == orientation
    with pytest.raises(ValueError, match="exif is `no`, but must be one of apply, ignore"):
        images.read_image(str(tmp_path / "a.jpg"), exif="no")


def test_the_bytes_do_not_depend_on_the_number_of_workers(tmp_path):
    make_voc(tmp_path, {f"p{number}": (IDS, "ids") for number in range(5)})
    written = []
    for workers in (1, 2):
        out = tmp_path / f"out{workers}"
        voc.convert_voc(str(tmp_path), "train", str(out), class_names=NAMES, num_shards=2, num_workers=workers)
        written.append([path.read_bytes() for path in sorted(out.glob("*.tfrecord"))])
    assert written[0] == written[1] and len(written[0]) == 2


def test_shards_of_an_earlier_conversion_go(tmp_path, capsys):
    make_voc(tmp_path, {f"p{number}": (IDS, "ids") for number in range(4)})
    for count in (4, 2):
        voc.convert_voc(str(tmp_path), "train", str(tmp_path / "out"), class_names=NAMES, num_shards=count, num_workers=1)
    assert len(list((tmp_path / "out").glob("*.tfrecord"))) == 2
    assert "removed 4 files of an earlier conversion" in capsys.readouterr().out


def convert_objects(root, **options):
    (root / "SegmentationObject").mkdir(exist_ok=True)
    for path in (root / "SegmentationClass").glob("*.png"):
        (root / "SegmentationObject" / path.name).write_bytes(path.read_bytes())
    return voc_instances.convert_voc_instances(str(root), "train", str(root / "out"), class_names=NAMES, num_workers=1, **options)


def test_records_of_other_images_are_not_replaced(tmp_path):
    make_voc(tmp_path, {"a": (IDS, "ids")})
    convert(tmp_path)
    make_voc(tmp_path, {"a": (IDS, "ids"), "b": (IDS, "ids")})
    convert(tmp_path)  # The same data set, grown.
    make_voc(tmp_path, {"c": (IDS, "ids")})
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    with pytest.raises(ValueError, match=r"train.json is of a different data set \(2 images, none .*; choose another --output, or"):
        convert(tmp_path)
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    assert convert(tmp_path, overwrite=True)["num_examples"] == 1


@pytest.mark.parametrize(
    ("first", "second", "held"), [(convert, convert_objects, "a class"), (convert_objects, convert, "objects")]
)
def test_records_of_the_other_kind_are_not_replaced(tmp_path, first, second, held):
    make_voc(tmp_path, {"a": (IDS, "ids")})
    first(tmp_path)
    with pytest.raises(ValueError, match=f"different data set .its records contain {held}"):
        second(tmp_path)
    second(tmp_path, overwrite=True)
    second(tmp_path)


def test_objects_of_other_images_are_not_replaced(tmp_path):
    make_voc(tmp_path, {"a": (IDS, "ids")})
    convert_objects(tmp_path)
    make_voc(tmp_path, {"b": (IDS, "ids")})
    with pytest.raises(ValueError, match="none of which is among these"):
        convert_objects(tmp_path)


def test_a_value_that_is_no_class(tmp_path):
    wrong = IDS.copy()
    wrong[0, :3] = 128
    make_voc(tmp_path, {"a": (wrong, "ids")})
    with pytest.raises(ValueError, match=r"a.png: 3 pixels have the value 128, which is neither one of the 3 classes nor"):
        convert(tmp_path)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_mask_that_was_resized_with_interpolation(tmp_path):
    sharp = PIL.Image.fromarray((IDS == 1).astype(np.uint8) * np.uint8(255))
    make_voc(tmp_path, {"a": (np.asarray(sharp.resize((13, 9), PIL.Image.Resampling.BILINEAR)), "ids")})
    with pytest.raises(ValueError, match=r"a.png: \d+ pixels have \d+ values .*resized .*--mask_values=0:0,255:1,\*:ignore"):
        convert(tmp_path)


def test_a_colour_of_no_class(tmp_path):
    make_voc(tmp_path, {"a": (IDS, "ids")})
    PIL.Image.new("RGB", IDS.shape[::-1], (1, 2, 3)).save(tmp_path / "SegmentationClass/a.png")
    with pytest.raises(ValueError, match=r"192 pixels have colours of no class, the first at row 0, column 0: \(1, 2, 3\)"):
        convert(tmp_path)


def test_sizes_must_agree(tmp_path):
    make_voc(tmp_path, {"a": (IDS, "ids")}, size=(10, 20))
    with pytest.raises(ValueError, match="a.png is 16x12 pixels, but the image .*a.jpg is 20x10"):
        convert(tmp_path)


def test_missing_files_and_lists(tmp_path):
    make_voc(tmp_path, {"a": (IDS, "ids")})
    with pytest.raises(ValueError, match=r"no list .*trainval.txt \(existing lists: train\)"):
        voc.convert_voc(str(tmp_path), "trainval", str(tmp_path / "out"))
    (tmp_path / "JPEGImages/a.jpg").write_bytes(b"no image")
    with pytest.raises(ValueError, match="a.jpg cannot be read as an image: it is none of JPEG, PNG, BMP"):
        convert(tmp_path)
    (tmp_path / "SegmentationClass/a.png").unlink()
    with pytest.raises(ValueError, match="there is no mask .*a.png; 1 of 1 is missing"):
        convert(tmp_path)
    (tmp_path / "JPEGImages/a.jpg").unlink()
    with pytest.raises(ValueError, match=r"there is no image .*a \(.jpg, .*\), which is listed in .*, line 1; 1 is missing"):
        convert(tmp_path)
    (tmp_path / "ImageSets/Segmentation/train.txt").write_text("a\na\n")
    with pytest.raises(ValueError, match="lists a twice"):
        convert(tmp_path)


def test_shapes_have_both_layouts_and_agree(tmp_path):
    config = shapes.ShapesConfig(num_train=4, num_val=2)
    shapes.make_shapes(str(tmp_path / "s"), config)
    assert (tmp_path / "s/ImageSets/Segmentation/train.txt").read_text().split() == [f"train_{n:06d}" for n in range(4)]
    coco = json.loads((tmp_path / "s/annotations/instances_train.json").read_text())
    assert [category["id"] for category in coco["categories"]] == [3, 7, 8, 20, 41]
    from pycocotools import mask as coco_mask

    names = {category["id"]: category["name"] for category in coco["categories"]}
    agreeing = total = 0
    for image in coco["images"]:
        labels = np.asarray(PIL.Image.open(tmp_path / "s/SegmentationClass" / image["file_name"].replace(".jpg", ".png")))
        for row in (row for row in coco["annotations"] if row["image_id"] == image["id"]):
            segmentation = row["segmentation"]
            rle = coco_mask.frPyObjects(segmentation, image["height"], image["width"])
            mask = coco_mask.decode(coco_mask.merge(rle) if isinstance(rle, list) else rle).astype(bool) & (labels != 255)
            agreeing += (labels[mask] == shapes.CLASS_NAMES.index(names[row["category_id"]])).sum()
            total += mask.sum()
    assert agreeing / total > 0.98  # Polygons and pixels differ along the borders.


def test_shapes_are_seeded_image_by_image(tmp_path):
    for name, count in (("a", 2), ("b", 3)):
        shapes.make_shapes(str(tmp_path / name), shapes.ShapesConfig(num_train=count, num_val=0))
    first, second = ((tmp_path / name / "JPEGImages/train_000001.jpg").read_bytes() for name in "ab")
    assert first == second


def test_inspection_finds_every_fault():
    def png(array):
        buffer = io.BytesIO()
        PIL.Image.fromarray(array).save(buffer, "PNG")
        return buffer.getvalue()

    def faults(image, labels):
        example = SemanticExample(image, "png", 12, 16, "p1", "p1.png", labels)
        return semantic_records.inspect_semantic(semantic_records.encode_semantic(example), 3, 255)[1]

    pixels, ids = np.zeros((12, 16, 3), np.uint8), IDS.copy()
    assert faults(png(pixels), png(ids)) == []
    assert faults(png(pixels), b"") == ["the mask is missing"]
    assert "the image cannot be decoded" in faults(png(pixels)[:-30], png(ids))[0]
    assert faults(png(pixels[:5]), png(ids)) == ["the mask is 16x12, the image 16x5"]
    ids[0, 0] = 9
    assert "has 1 pixel of value 9" in faults(png(pixels), png(ids))[0]


def test_colours_of_a_labelmap(tmp_path):
    (tmp_path / "labelmap.txt").write_text(
        "# label:color_rgb:parts:actions\nbackground:0,0,0::\nroad:128,64,128::\ncar:64,0,128:wheel,door:parked\n"
    )
    names, colors = labelmap.read(str(tmp_path / "labelmap.txt"))
    assert list(names) == NAMES and colors == ((0, 0, 0), (128, 64, 128), (64, 0, 128))
    make_voc(tmp_path, {"a": (IDS, "ids")})
    table = np.zeros((256, 3), np.uint8)
    table[:3], table[255] = colors, (224, 224, 192)
    PIL.Image.fromarray(table[IDS]).save(tmp_path / "SegmentationClass" / "a.png")
    convert(tmp_path, class_colors=colors)
    np.testing.assert_array_equal(semantic_records.decode_labels(read(tmp_path)[0]["labels"]), IDS)
    with pytest.raises(ValueError, match=r"a.png: \d+ pixels .* no class, .*\(128, 64, 128\); RGB masks use VOC's colours"):
        convert(tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "contains no classes"),
        ("road\n", "line 1: `road` is not `name:red,green,blue:parts:actions`"),
        ("road:1,2,300::\n", "line 1: `road:1,2,300::` is not"),
        ("#\nroad:1,2,3::\ncar:1,2,3::\n", "line 3: car has the same colour as road"),
    ],
)
def test_a_broken_labelmap(text, said, tmp_path):
    (tmp_path / "labelmap.txt").write_text(text)
    with pytest.raises(ValueError, match=said):
        labelmap.read(str(tmp_path / "labelmap.txt"))
