"""COCO's format into records: all forms of masks and images, the Model Garden's reader, and everything that can be odd."""

import json
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
from pycocotools import mask as coco_mask

from tpuseg.convert import coco, coco_file, objects
from tpuseg.data import instance_records, records
from tpuseg.io import image_files
from tpuseg.ops import masks

# A ring with a hole, in an image of 8 x 10.
RING = np.zeros((8, 10), np.uint8)
RING[1:7, 2:8] = 1
RING[3:5, 4:6] = 0
RUNS = coco_mask.encode(np.asfortranarray(RING))
COUNTS = masks.decode_counts(RUNS["counts"]).tolist()
SQUARE = [[2, 1, 8, 1, 8, 7, 2, 7]]
CATEGORIES = [{"id": 17, "name": "cat"}, {"id": 3, "name": "car"}, {"id": 90, "name": "tooth brush"}]


def annotation(number, image_id=1, category_id=17, **more):
    row = {"id": number, "image_id": image_id, "category_id": category_id, "bbox": [2, 1, 6, 6], "area": 36.0, "iscrowd": 0}
    return {**row, "segmentation": SQUARE, **more}


@pytest.fixture
def convert(tmp_path):
    """Writes files (name to mode) and an annotation file, converts them, and returns the summary and the examples."""

    def run(annotations, files=None, images=None, categories=CATEGORIES, **options):
        folder = tmp_path / "pictures"
        folder.mkdir(exist_ok=True)
        files = {"a.jpg": "RGB"} if files is None else files
        for number, (name, mode) in enumerate(files.items()):
            pixels = np.random.default_rng(number).integers(0, 255, (8, 10, 3)).astype(np.uint8)
            PIL.Image.fromarray(pixels).convert(mode).save(folder / name)
        if images is None:
            images = [
                {"id": number, "file_name": name, "height": 8, "width": 10} for number, name in enumerate(files, start=1)
            ]
        content = {"images": images, "annotations": annotations, "categories": categories}
        path = tmp_path / "instances_train.json"
        path.write_text(json.dumps(content))
        summary = coco.convert_coco(str(folder), str(path), str(tmp_path / "records"), num_shards=2, **options)
        found = [
            instance_records.read_instances(record)
            for name in summary["shards"]
            for record in records.read_raw(str(tmp_path / "records" / name))
        ]
        return summary, found

    return run


def kinds(summary):
    return {kind: finding["count"] for kind, finding in summary["findings"].items()}


def test_all_forms_of_a_mask(convert):
    forms = [SQUARE, [SQUARE[0], [8, 0, 10, 0, 10, 8, 8, 8]], {"size": [8, 10], "counts": COUNTS}]
    forms.append({"size": [8, 10], "counts": RUNS["counts"].decode()})
    summary, [example] = convert([annotation(number, segmentation=form) for number, form in enumerate(forms, start=1)])
    full = np.zeros((8, 10), np.uint8)
    full[1:7, 2:8] = 1
    two = full.copy()
    two[:, 8:] = 1
    for instance, expected in zip(example.instances, [full, two, RING, RING], strict=True):
        np.testing.assert_array_equal(masks.decode(instance.runs), expected)
        assert not instance.is_crowd and instance.category.name == "cat"
    assert summary["findings"] == {} and summary["num_objects"] == 4
    assert example.instances[0].frame.min() == 255
    # The hole: a third of the box, in its middle.
    assert example.instances[2].frame[28, 28] == 0 and example.instances[2].frame[28, 2] == 255


def test_summary_and_order_of_categories(convert):
    rows = [annotation(1), annotation(2, category_id=3), annotation(3, category_id=3), annotation(4, iscrowd=1)]
    summary, [first, second] = convert(rows, {"a.jpg": "RGB", "b.jpg": "RGB"})
    assert summary["categories"] == [{"id": 3, "name": "car"}, {"id": 17, "name": "cat"}, {"id": 90, "name": "tooth brush"}]
    assert summary["objects_per_class"] == {"car": 2, "cat": 1, "tooth brush": 0}
    assert (summary["kind"], summary["split"], summary["num_classes"]) == ("instances", "train", 3)
    assert (summary["num_examples"], summary["num_crowds"], summary["pictures_without_objects"]) == (2, 1, 1)
    assert [instance.class_index for instance in first.instances] == [1, 0, 0, 1]
    assert [instance.is_crowd for instance in first.instances] == [False, False, False, True]
    assert second.instances == []
    text = coco.describe(summary)
    assert "2 images in 2 shards, 3 classes, 3 objects" in text and "  17 cat" in text


def test_images_of_all_kinds(convert):
    images = {"a.jpg": "RGB", "b.jpg": "L", "c.jpg": "CMYK", "d.png": "P", "e.png": "RGBA"}
    summary, examples = convert([annotation(n, image_id=n) for n in range(1, 6)], images)
    assert summary["reencoded"] == {"CMYK colours": 1}
    for example in examples:
        assert records.decode_image(tf.constant(example.image)).shape == (8, 10, 3)
    assert [example.image_format for example in examples] == ["jpeg", "jpeg", "png", "png", "png"]


def _photo(path, orientation, stored_size):
    """Writes a JPEG with an EXIF orientation; returns its stored pixels, [H, W, 3]."""
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    pixels = np.random.default_rng(orientation).integers(0, 255, (*stored_size, 3)).astype(np.uint8)
    PIL.Image.fromarray(pixels).save(path, exif=exif.tobytes())
    with PIL.Image.open(path) as photo:
        return pixels if photo.format == "TIFF" else np.asarray(photo)  # Pillow rotates a TIFF, and it has no losses.


@pytest.mark.parametrize("name", ["photo.jpg", "photo.tif"])
@pytest.mark.parametrize("exif", ["apply", "ignore"])
@pytest.mark.parametrize(
    ("orientation", "stored_size", "annotated_size", "frame"),
    [
        (6, (8, 12), (8, 12), "stored"),
        (8, (8, 12), (12, 8), "rotated"),
        (5, (8, 12), (9, 12), "neither"),
        (6, (10, 10), (10, 10), "both"),
        (3, (8, 12), (8, 12), "both"),
        (6, (8, 12), None, "both"),
        (1, (8, 12), (8, 12), "no orientation"),
        (9, (8, 12), (8, 12), "no orientation"),
    ],
)
def test_the_annotated_size_decides_about_the_exif_orientation(
    convert, tmp_path, orientation, stored_size, annotated_size, frame, exif, name
):
    (tmp_path / "pictures").mkdir()
    stored = _photo(tmp_path / "pictures" / name, orientation, stored_size)
    row = {"id": 2, "file_name": name}
    if annotated_size:
        row |= {"height": annotated_size[0], "width": annotated_size[1]}
    images = [{"id": 1, "file_name": "a.jpg"}, row]
    summary, examples = convert([annotation(1), annotation(2, image_id=2)], images=images, exif=exif)
    kind = {"stored": "exif_not_applied", "neither": "image_size_differs", "both": "exif_ambiguous"}.get(frame)
    assert kinds(summary) == ({kind: 1} if kind else {})
    assert "is probably right" not in coco.describe(summary)
    if frame == "neither":
        assert len(examples) == 1
        return
    decoded = image_files.read_rgb(examples[1].image)
    is_turned = frame == "rotated" or (frame == "both" and exif == "apply")
    turns = {3: 2, 6: 3, 8: 1}
    np.testing.assert_array_equal(decoded, np.rot90(stored, turns[orientation]) if is_turned else stored)
    assert records.decode_image(tf.constant(examples[1].image)).shape == decoded.shape


def test_the_model_garden_reads_the_records(convert, tmp_path):
    from official.vision.dataloaders import tf_example_decoder

    crowd = {"size": [8, 10], "counts": COUNTS}
    rows = [annotation(1), annotation(2, category_id=90, bbox=[0, 0, 5, 4]), annotation(3, iscrowd=1, segmentation=crowd)]
    summary, _ = convert(rows, {"a.jpg": "RGB", "b.jpg": "RGB"})
    decoder = tf_example_decoder.TfExampleDecoder(include_mask=True)
    paths = [str(tmp_path / "records" / name) for name in summary["shards"]]
    first, second = (decoder.decode(record) for record in tf.data.TFRecordDataset(paths))
    assert first["source_id"] == b"1" and first["image"].shape == (8, 10, 3)
    assert first["groundtruth_classes"].numpy().tolist() == [17, 90, 17]  # Category ids, as its own converter writes them.
    assert first["groundtruth_is_crowd"].numpy().tolist() == [False, False, True]
    np.testing.assert_allclose(first["groundtruth_boxes"][0], [1 / 8, 0.2, 7 / 8, 0.8])
    np.testing.assert_array_equal(first["groundtruth_area"], [36, 36, 36])
    np.testing.assert_array_equal(first["groundtruth_instance_masks"][2], RING)
    assert second["groundtruth_boxes"].shape == (0, 4) and second["groundtruth_instance_masks"].shape == (0, 8, 10)


def test_parsing_for_training(convert, tmp_path):
    summary, _ = convert([annotation(1), annotation(2, category_id=90, iscrowd=1)], {"a.jpg": "RGB", "b.jpg": "RGB"})
    paths = [str(tmp_path / "records" / name) for name in summary["shards"]]
    first, second = tf.data.TFRecordDataset(paths).map(instance_records.parse_instances)
    np.testing.assert_allclose(first["boxes"], [[1, 2, 7, 8]] * 2, rtol=1e-6)
    assert first["classes"].numpy().tolist() == [1, 2] and first["is_crowd"].numpy().tolist() == [False, True]
    assert first["masks"].shape == (2, 56, 56) and first["size"].numpy().tolist() == [8, 10] and first["source_id"] == b"1"
    assert second["boxes"].shape == (0, 4) and second["masks"].shape == (0, 56, 56)


ODD = [
    ({"bbox": [2, 1, 0, 6]}, "box_empty", (1, 2, 7, 8)),
    ({"bbox": [float("nan"), 1, 2, 6]}, "box_missing", (1, 2, 7, 8)),
    ({"bbox": None}, "box_missing", (1, 2, 7, 8)),
    ({"bbox": [2, 1, 8, 7], "segmentation": [[2, 1, 4, 1, 4, 3, 2, 3]]}, "box_unlike_mask", (1, 2, 3, 4)),
    ({"bbox": [-4, 1, 12, 6], "segmentation": [[-4, 1, 8, 1, 8, 7, -4, 7]]}, "box_reaches_out", (1, 0, 7, 8)),
    ({"area": None}, "area_missing", (1, 2, 7, 8)),
    ({"segmentation": [*SQUARE, [1, 1, 2, 2]]}, "polygon_unusable", (1, 2, 7, 8)),
]
NO_MASK = [
    [],
    None,
    {"size": [9, 10], "counts": [90]},
    {"size": [8, 10], "counts": [80]},
    [[50, 50, 60, 50, 60, 60, 50, 60]],
    "polygon",
]


@pytest.mark.parametrize(("change", "kind", "box"), ODD, ids=[kind for _, kind, _ in ODD])
def test_what_can_be_repaired(convert, change, kind, box):
    rows = [annotation(1, **change), annotation(2)]
    summary, [example] = convert(rows)
    assert kinds(summary) == {kind: 1}
    assert summary["findings"][kind]["first"][0].startswith("image 1 (a.jpg), annotation 1: ")
    np.testing.assert_allclose(example.instances[0].box, box, rtol=1e-6)
    assert not example.instances[0].is_crowd and len(example.instances) == 2
    with pytest.raises(ValueError, match=r"image 1 \(a.jpg\), annotation 1: .*; without --strict: "):
        convert(rows, strict=True)


@pytest.mark.parametrize("segmentation", NO_MASK, ids=str)
def test_without_a_mask_the_box_is_ignored(convert, segmentation):
    summary, [example] = convert([annotation(1, segmentation=segmentation), annotation(2)])
    assert kinds(summary) == {"no_mask": 1}
    assert [instance.is_crowd for instance in example.instances] == [True, False]
    assert masks.area(example.instances[0].runs) == 36


@pytest.mark.parametrize(
    "change",
    [
        {"segmentation": [], "bbox": [50, 50, 5, 5]},
        {"segmentation": [[50, 50, 60, 50, 60, 60]], "bbox": [50, 50, 10, 10]},
        {"segmentation": [], "bbox": [2, 2, 0, 0]},
        {"segmentation": None, "bbox": None},
    ],
)
def test_what_has_no_pixel_is_left_out_and_listed(convert, change):
    summary, [example] = convert([annotation(1, **change), annotation(2)])
    assert kinds(summary) == {"outside": 1, "no_mask": 1} and len(example.instances) == 1


def test_box_as_corners_is_recognised(convert):
    small = [[6, 4, 9, 4, 9, 7, 6, 7]]
    rows = [annotation(1), annotation(2, bbox=[6, 4, 9, 7], segmentation=small)]
    summary, _ = convert(rows)
    assert "is it x0, y0, x1, y1" in summary["findings"]["box_unlike_mask"]["first"][0]


def test_lists_that_do_not_fit_together(convert, tmp_path):
    images = [
        {"id": 1, "file_name": "a.jpg", "height": 8, "width": 10},
        {"id": 1, "file_name": "b.jpg", "height": 8, "width": 10},
        {"id": 2, "file_name": "lost.jpg", "height": 8, "width": 10},
        {"id": 3, "file_name": "b.jpg", "height": 10, "width": 8},
        {"id": 4, "file_name": "broken.jpg"},
    ]
    rows = [annotation(1), annotation(1), annotation(1, category_id=3), annotation(2, image_id=2), annotation(3, image_id=77)]
    rows += [annotation(4, category_id=55), annotation(5, image_id=3), annotation(6, image_id=4)]
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "broken.jpg").write_bytes(b"no image")
    summary, examples = convert(rows, {"a.jpg": "RGB", "b.jpg": "RGB"}, images)
    expected = {"image_listed_twice": 1, "image_missing": 1, "unknown_image": 1, "unknown_category": 1, "annotation_twice": 1}
    assert kinds(summary) == {**expected, "annotation_id_twice": 1, "image_size_differs": 1, "image_unreadable": 1}
    assert [len(example.instances) for example in examples] == [2]


def test_ids_as_other_programs_write_them(convert):
    images = [{"id": 1.0, "file_name": "somewhere\\else\\a.jpg"}, {"id": "frame-b", "file_name": "b.jpg"}]
    rows = [annotation(1.0, image_id="1", category_id=17.0), annotation(2, image_id="frame-b", category_id="3")]
    for row in rows:
        del row["iscrowd"], row["area"], row["bbox"]
    summary, examples = convert(rows, {"a.jpg": "RGB", "b.jpg": "RGB"}, images)
    assert [example.source_id for example in examples] == ["1", "frame-b"]
    assert kinds(summary) == {"area_missing": 2, "box_missing": 2, "image_in_other_folder": 1}
    assert [example.instances[0].annotated_area for example in examples] == [36.0, 36.0]


@pytest.mark.parametrize("ids", [["000001", "1"], [1, 12], [-1, 0], [5, 2**63 + 1], ["-1", "x-1"], ["12", "\u0661"]], ids=str)
def test_the_record_keeps_type_and_spelling_of_an_image_id(convert, ids):
    images = [{"id": own, "file_name": f"{letter}.jpg"} for own, letter in zip(ids, "ab", strict=True)]
    rows = [annotation(number, image_id=own) for number, own in enumerate(ids)]
    _, examples = convert(rows, {"a.jpg": "RGB", "b.jpg": "RGB"}, images)
    assert [example.image_id for example in examples] == ids
    assert [type(example.image_id) for example in examples] == [type(own) for own in ids]
    assert [len(example.instances) for example in examples] == [1, 1]


def test_records_of_ordinary_ids_have_no_type(convert, tmp_path):
    summary, _ = convert([annotation(1)])
    [record] = records.read_raw(str(tmp_path / "records" / summary["shards"][0]))
    feature = tf.train.Example.FromString(record).features.feature
    assert instance_records.ID_TYPE not in feature
    for kind in (b"float", b"int"):
        feature[instance_records.ID_TYPE].bytes_list.value[:] = [kind]
        feature[records.SOURCE_ID].bytes_list.value[:] = [b"x"]
        message = tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()
        assert "image's id" in instance_records.inspect_instances(message, 3)[1][0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"categories": []}, "lists no categories"),
        ({"categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}, "`a` and `b` have the same id 1"),
        ({"categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "a"}]}, "two categories are called `a`"),
        ({"categories": [{"name": "a"}]}, "it needs a whole number as id"),
        ({"images": [{"id": 1}]}, "it needs an id and a file_name"),
        ({"images": [{"id": 1, "file_name": "x.jpg"}]}, "no image of .* is there .0 of 1., the first is image 1"),
        ({"annotations": [annotation(1, segmentation=[])]}, "no annotation of .* has a segmentation"),
        ({"annotations": [annotation(1, category_id=5)]}, "no annotation of .* belongs to an image and a category"),
    ],
)
def test_files_that_cannot_be_used(convert, changes, message):
    with pytest.raises(ValueError, match=message):
        convert(**{"annotations": [annotation(1)], **changes})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not valid JSON"),
        ("[]", "is a list, as results are"),
        ('{"images": [], "annotations": []}', "no list `categories`"),
        ('{"shapes": []}', "labelme's own files must be exported"),
    ],
)
def test_other_files(tmp_path, text, message):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        coco_file.read_annotations(str(path), str(tmp_path))


def test_inspection_finds_every_fault(convert, tmp_path):
    summary, _ = convert([annotation(1), annotation(2)])
    [record] = records.read_raw(str(tmp_path / "records" / summary["shards"][0]))

    def faults(change):
        example = tf.train.Example.FromString(record)
        change(example.features.feature)
        return instance_records.inspect_instances(example.SerializeToString(), 2)[1]

    def put(key, number, value):
        def change(feature):
            kind = feature[key].WhichOneof("kind")
            getattr(feature[key], kind).value[number] = value

        return change

    assert faults(lambda feature: None) == []
    assert instance_records.inspect_instances(b"nonsense", 2)[1] == ["is not a tf.Example"]
    assert "class index is 2, but the number of classes is 2" in faults(put(instance_records.CLASS, 1, 2))[0]
    assert "is empty" in faults(put(instance_records.XMAX, 0, 0.1))[0]
    assert "reaches out of the image of 10x8" in faults(put(instance_records.XMAX, 0, 1.5))[0]
    assert "the image cannot be decoded" in faults(put(records.IMAGE, 0, b"x"))[0]
    assert "the image is 10x8, the record says 10x9" in faults(put(records.HEIGHT, 0, 9))[0]
    assert "run lengths" in faults(put(instance_records.COUNTS, 0, b"~"))[0]
    empty = coco_mask.encode(np.zeros((8, 10), np.uint8, order="F"))["counts"]
    assert "its mask is empty" in faults(put(instance_records.COUNTS, 0, empty))[0]
    assert "differs from its run lengths" in faults(put(instance_records.COUNTS, 0, RUNS["counts"]))[0]
    assert "the mask cannot be decoded" in faults(put(instance_records.MASK, 0, b"x"))[0]
    assert "cannot be unpacked" in faults(put(instance_records.FRAMES, 0, b"x"))[0]
    assert "different lengths, from 1 to 2" in faults(lambda feature: feature[instance_records.LABEL].int64_list.value.pop())[0]
    for key, message in ((instance_records.FRAMES, "another converter"), (records.HEIGHT, "height and width are missing")):
        assert message in faults(lambda feature, key=key: feature.pop(key))[0]

    def without_masks(feature):
        feature.pop(instance_records.FRAMES)
        feature.pop(instance_records.MASK)

    assert "has objects without masks" in faults(without_masks)[0]


def test_the_binary(convert, tmp_path, repository):
    convert([annotation(1)])
    command = [sys.executable, str(repository / "data" / "coco_to_tfrecord.py"), f"--images={tmp_path / 'pictures'}"]
    command += [f"--annotations={tmp_path / 'instances_train.json'}", f"--output={tmp_path / 'out'}", "--num_workers=1"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "1 image in 1 shard, " in done.stdout and (tmp_path / "out" / "train.json").exists()
    done = subprocess.run([*command, "--images="], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.strip().splitlines()[-1].startswith("error: --images is missing")


def test_the_audit_knows_objects(convert, tmp_path, repository):
    summary, _ = convert([annotation(1), annotation(2, category_id=3, iscrowd=1)], {"a.jpg": "RGB", "b.jpg": "RGB"})
    script = str(repository / "data" / "inspect_records.py")
    command = [sys.executable, script, f"--input={tmp_path}/records/train-*.tfrecord", "--num_workers=1"]
    done = subprocess.run([*command, f"--contact_sheet={tmp_path}/sheet.png"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 object, at most 1 an image: 1 small" in done.stdout and "1 ignored region; 1 image without" in done.stdout
    assert "2 records in 2 files: no faults" in done.stdout
    with PIL.Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 600


def test_statistics_of_a_file(convert, tmp_path):
    rows = [annotation(1), annotation(2, area=2000.0), annotation(3, category_id=3, area=9216), annotation(4, iscrowd=1)]
    summary, _ = convert(rows)
    path = str(tmp_path / "records" / summary["shards"][0])
    assert instance_records.holds_instances(path)
    report = instance_records.inspect_file(path, 3)
    assert report.faults == [] and report.objects == {"cat": 2, "car": 1} and report.images == {"cat": 1, "car": 1}
    assert (report.sizes, report.num_crowds, report.num_empty, report.most_objects) == ([1, 1, 1], 1, 0, 3)
    content = (tmp_path / "records" / summary["shards"][0]).read_bytes()
    broken = tmp_path / "broken.tfrecord"
    broken.write_bytes(content[:-20])
    assert "damaged or truncated at record 0" in instance_records.inspect_file(str(broken), 3).faults[0]
    assert "its class index is 1, but the number of classes is 1" in instance_records.inspect_file(path, 1).faults[0]


def test_the_audit_parses_each_record_once(convert, tmp_path, monkeypatch):
    summary, _ = convert([annotation(1)])
    parse, parsed = tf.train.Example, []
    monkeypatch.setattr(tf.train, "Example", lambda: parsed.append(parse()) or parsed[-1])
    report = instance_records.inspect_file(str(tmp_path / "records" / summary["shards"][0]), 3)
    assert report.faults == [] and report.num_records == len(parsed) == 1 and report.objects == {"cat": 1}


def test_the_documented_example_converts_without_a_finding(tmp_path, repository):
    text = (repository / "docs" / "own_data.md").read_text()
    (tmp_path / "train.json").write_text(text.partition("```json\n")[2].partition("```")[0])
    PIL.Image.new("RGB", (640, 480)).save(tmp_path / "a.jpg")
    summary = coco.convert_coco(str(tmp_path), str(tmp_path / "train.json"), str(tmp_path / "out"), num_shards=1, strict=True)
    assert summary["num_objects"] == 1 and not summary["findings"] and summary["class_names"] == ["bolt", "nut"]


@pytest.mark.parametrize("place", [(0, 0, 1, 1), (7, 11, 8, 12), (2, 3, 6, 9), (0, 0, 8, 12)])
def test_rows_of_masks_are_contiguous_and_complete(place):
    """Masks at the corners and borders of an image of 8 rows and 12 columns."""
    top, left, bottom, right = place
    mask = np.zeros((8, 12), np.uint8)
    mask[top:bottom, left:right] = 1
    mask[top + 1 : bottom - 1, left + 1 : right - 1] = 0  # A frame, so that all four sides count.
    rows = objects._decode_rows(masks.encode(mask))
    assert np.array_equal(rows, mask) and rows.flags.c_contiguous and rows.dtype == np.uint8
