"""COCO files as other programs write them: what is read and counted, what is refused, and what stays inside of the folders."""

import json
import os
import subprocess
import sys
import unicodedata

import coco_folder
import numpy as np
import pytest
from coco_folder import HEIGHT, MASK, POLYGON, WIDTH, annotation, convert, convert_file, image, kinds
from pycocotools import mask as coco_mask

from tpuseg.convert import coco, segmentations
from tpuseg.ops import masks

PAIRS = [POLYGON[place : place + 2] for place in range(0, 8, 2)]
RUNS = {"size": [HEIGHT, WIDTH], "counts": coco_mask.encode(np.asfortranarray(MASK))["counts"].decode()}
COUNTS = masks.decode_counts(RUNS["counts"].encode()).tolist()
# The same mask with all pixels in the order of rows, as a program writes it that takes width for height.
TRANSPOSED = coco_mask.encode(np.asfortranarray(MASK.T))
BY_ROWS = {"size": [WIDTH, HEIGHT], "counts": TRANSPOSED["counts"].decode()}


@pytest.mark.parametrize(
    ("segmentation", "finding"),
    [
        (POLYGON, "segmentation_form"),
        ([[POLYGON]], "segmentation_form"),
        (PAIRS, "segmentation_form"),
        ([PAIRS], "segmentation_form"),
        ([[PAIRS]], "segmentation_form"),
        ([{"x": x, "y": y} for x, y in PAIRS], "segmentation_form"),
        ([RUNS], "segmentation_form"),
        ([RUNS, {"size": [HEIGHT, WIDTH], "counts": COUNTS}], "segmentation_form"),
        ({"size": [WIDTH, HEIGHT], "counts": RUNS["counts"]}, "runs_transposed"),
        ({"size": [WIDTH, HEIGHT], "counts": COUNTS}, "runs_transposed"),
        (BY_ROWS, "runs_transposed"),
        ({"size": [HEIGHT, WIDTH], "counts": [float(count) for count in COUNTS]}, None),
        (json.dumps([POLYGON]), "segmentation_form"),
        (json.dumps(RUNS), "segmentation_form"),
        ({"size": [HEIGHT, WIDTH], "counts": str(RUNS["counts"].encode())}, "segmentation_form"),
        ({"size": [str(HEIGHT), str(WIDTH)], "counts": RUNS["counts"]}, "segmentation_form"),
    ],
    ids=str,
)
@pytest.mark.parametrize("bbox", [[2, 1, 6, 6], ...], ids=["with box", "without box"])
def test_masks_in_other_forms_are_read_and_counted(tmp_path, segmentation, finding, bbox):
    summary, [example] = convert(tmp_path, [annotation(segmentation=segmentation, bbox=bbox)])
    [instance] = example.instances
    assert not instance.is_crowd
    np.testing.assert_array_equal(masks.decode(instance.runs), MASK)
    expected = {finding: 1} if finding else {}
    assert kinds(summary) == ({"box_missing": 1} if bbox is ... else {}) | expected


@pytest.mark.parametrize(
    ("segmentation", "finding", "says"),
    [
        ([[2, 1, 8, 7]], "polygon_unusable", "a polygon has 4 coordinates"),
        ([[value / 12 for value in POLYGON]], "relative_coordinates", "the largest is 0.666667"),
        ([[0, 0, 1e8, 0, 1e8, 1e8]], "polygon_unusable", "coordinates up to 1e\\+08, which are outside any image"),
        ([[0, 0, 1e18, 0, 1e18, 1e18]], "polygon_unusable", "coordinates up to 1e\\+18"),
        ([[0, 0, 10**400, 0, 5, 5]], "polygon_unusable", "not a flat list of numbers"),
        ([[0, 0, 9e5, 0, 0, 9e5, 9e5, 0, 0, 0, 9e5, 9e5]], "polygon_unusable", "which are outside any image"),
        ({"size": [HEIGHT, WIDTH], "counts": [10.5, 20.5, 65]}, "no_mask", "not a list of whole numbers"),
        ({"size": [HEIGHT, WIDTH], "counts": {}}, "no_mask", "not a list of whole numbers"),
        ({"size": [HEIGHT, WIDTH], "counts": [2**62, 2**62, 2**62, 2**62, 96]}, "no_mask", "more than the image"),
        ({"size": [HEIGHT, WIDTH], "counts": [10**30]}, "no_mask", "not a list of whole numbers"),
        ({"size": [HEIGHT, WIDTH], "counts": [[10], [20, 30]]}, "no_mask", "not a list of whole numbers"),
        ({"size": [HEIGHT, WIDTH], "counts": "`0000000"}, "no_mask", "run lengths"),
        ({"size": [None, "x"], "counts": [96]}, "no_mask", "of size"),
        ({"size": 5, "counts": [96]}, "no_mask", "of size"),
        ({"counts": [96]}, "no_mask", "of size"),
        ([[[POLYGON], [POLYGON]]], "polygon_unusable", "not a flat list"),
        (5, "no_mask", "is a int"),
    ],
    ids=str,
)
def test_masks_that_cannot_be_read_become_ignored_regions(tmp_path, segmentation, finding, says):
    rows = [annotation(1, segmentation=segmentation), annotation(2)]
    summary, [example] = convert(tmp_path, rows)
    assert [instance.is_crowd for instance in example.instances] == [True, False]
    assert kinds(summary)[finding] == 1
    [first] = summary["findings"][finding]["first"]
    assert first.startswith("image 1 (a.png), annotation 1: ")
    with pytest.raises(ValueError, match=says):
        convert(tmp_path, rows, options={"strict": True})
    # With nothing beside it, it is an error, and the records of the conversion before it stay.
    with pytest.raises(ValueError, match=r"train.json: no object is left for training; .* .1., "):
        convert(tmp_path, rows[:1])
    assert (tmp_path / "records" / "train.json").exists()


@pytest.mark.parametrize(
    ("value", "is_crowd", "finding"),
    [
        (..., False, None),
        (None, False, None),
        (0, False, None),
        (True, True, None),
        (1.0, True, None),
        ("0", False, "iscrowd_text"),
        ("false", False, "iscrowd_text"),
        (" No ", False, "iscrowd_text"),
        ("1", True, "iscrowd_text"),
        ("True", True, "iscrowd_text"),
        ("perhaps", True, "iscrowd_unclear"),
        (2, True, "iscrowd_unclear"),
        (-1, True, "iscrowd_unclear"),
        (float("nan"), True, "iscrowd_unclear"),
        ([], True, "iscrowd_unclear"),
    ],
)
def test_iscrowd(tmp_path, value, is_crowd, finding):
    summary, [example] = convert(tmp_path, [annotation(1, iscrowd=value), annotation(2)])
    assert [instance.is_crowd for instance in example.instances] == [is_crowd, False]
    assert kinds(summary) == ({finding: 1} if finding else {})


@pytest.mark.parametrize(
    ("value", "area", "finding"),
    [
        (12.5, 12.5, None),
        (0, 0.0, None),
        (-5, 36.0, "area_unusable"),
        (float("nan"), 36.0, "area_unusable"),
        (1e300, 36.0, "area_unusable"),
        (10**400, 36.0, "area_unusable"),
        (True, 36.0, "area_unusable"),
        ([36], 36.0, "area_unusable"),
        ("12.5", 12.5, "number_as_text"),
    ],
)
def test_area(tmp_path, value, area, finding):
    summary, [example] = convert(tmp_path, [annotation(area=value)])
    assert example.instances[0].annotated_area == area
    assert kinds(summary) == ({finding: 1} if finding else {})


@pytest.mark.parametrize(
    ("sides", "finding"),
    [
        ((WIDTH, HEIGHT), None),
        ((None, None), None),
        ((12.9, 8), "image_size_fraction"),
        (("12", "8"), "number_as_text"),
        ((0, 0), "image_size_unusable"),
        ((-12, 8), "image_size_unusable"),
        ((float("nan"), 8), "image_size_unusable"),
        ((12, None), "image_size_unusable"),
        (([12], 8), "image_size_unusable"),
        ((10**400, 8), "image_size_unusable"),
    ],
    ids=str,
)
def test_annotated_sizes(tmp_path, sides, finding):
    summary, [example] = convert(tmp_path, [annotation()], images=[image(width=sides[0], height=sides[1])])
    assert (example.width, example.height) == (WIDTH, HEIGHT)
    assert kinds(summary) == ({finding: 1} if finding else {})


def test_sizes_that_are_swapped_everywhere_leave_nothing(tmp_path):
    with pytest.raises(ValueError, match=r"train.json: no image of 1 is left.* are width and height swapped\?"):
        convert(tmp_path, [annotation()], images=[image(width=HEIGHT, height=WIDTH)])


def corners(row):
    x, y, width, height = row["bbox"]
    return {**row, "bbox": [x, y, x + width, y + height]}


def test_boxes_as_corners_are_decided_for_the_whole_file(tmp_path):
    # The second lies at the origin, where both forms are the same but for a pixel; the third's box fits nothing.
    near = [0, 0, 6, 0, 6, 6, 0, 6]
    far = [3, 2, 9, 2, 9, 7, 3, 7]
    rows = [annotation(1), annotation(2, segmentation=[near], bbox=[0, 0, 6, 6])]
    rows += [annotation(3, bbox=[9, 5, 3, 3]), annotation(4, segmentation=[far], bbox=[3, 2, 6, 5])]
    summary, [example] = convert(tmp_path, [corners(row) for row in rows])
    assert kinds(summary) == {"boxes_as_corners": 4, "box_unlike_mask": 1}
    boxes = [instance.annotated_box.tolist() for instance in example.instances]
    assert boxes == [[2, 1, 6, 6], [0, 0, 6, 6], [2, 1, 6, 6], [3, 2, 6, 5]]
    # One wrong box among right ones is no other form.
    summary, _ = convert(tmp_path, [*rows[:2], rows[3], corners(rows[0] | {"id": 9})])
    assert "boxes_as_corners" not in kinds(summary)


def test_brush_masks_that_are_all_crowds(tmp_path):
    rows = [annotation(number, iscrowd=1, segmentation=RUNS) for number in (1, 2)]
    with pytest.raises(ValueError, match=r"train.json: every annotation has iscrowd 1 .2 of 2.* CVAT .* --crowds=instances"):
        convert(tmp_path, rows)
    assert not (tmp_path / "records").exists()
    summary, [example] = convert(tmp_path, rows, options={"crowds": "instances"})
    assert kinds(summary) == {"crowd_as_instance": 2} and not any(instance.is_crowd for instance in example.instances)
    # Polygons beside brush masks: nothing is lost for certain, so it is only said, and first.
    summary, _ = convert(tmp_path, [*rows, annotation(3)])
    assert coco.describe(summary).startswith("WARNING: 2 of 3 annotations are ignored as their iscrowd is not 0")


def test_the_first_line_says_what_is_lost(tmp_path):
    names = [f"{number}.png" for number in range(10)]
    images = [image(number, name) for number, name in enumerate(names)] + [image(10, "lost.png"), image(11, "gone.png")]
    rows = [annotation(number, image_id=number) for number in range(12)] + [annotation(20, image_id=0, segmentation=[])]
    summary, _ = convert(tmp_path, rows, images=images, files=names)
    assert summary["lost"] == {"images": [2, 12], "annotations": [3, 13]}
    first = coco.describe(summary).splitlines()[0]
    assert first == "WARNING: 2 of 12 images and 3 of 13 annotations are lost, for the reasons below"
    summary, _ = convert(tmp_path, rows[:11], images=images[:11], files=names)
    assert summary["lost"] == {"images": [1, 11], "annotations": [1, 11]}
    assert not coco.describe(summary).startswith("WARNING")


@pytest.mark.parametrize("annotations", [[], [annotation(image_id=2)]], ids=["none", "of a lost image"])
def test_without_an_annotation_there_is_nothing_to_learn(tmp_path, annotations):
    with pytest.raises(ValueError, match=r"train\.json"):
        convert(tmp_path, annotations, images=[image(), image(2, "lost.png")])


def test_roboflow(tmp_path):
    fish = [{"id": 0, "name": "fish", "supercategory": "none"}, {"id": 1, "name": "fish", "supercategory": "fish"}]
    fish += [{"id": 2, "name": "trap", "supercategory": "fish"}]
    train = coco_folder.write(tmp_path, [annotation(category_id=1)], categories=fish, name="train/_annotations.coco.json")
    summary, _ = convert_file(tmp_path, *train)
    assert summary["class_names"] == ["fish", "trap"] and kinds(summary) == {"category_twice": 1}
    assert summary["split"] == "train" and (tmp_path / "records" / "train.json").exists()
    # Without an annotation of a fish, the root is still the one that goes.
    valid = coco_folder.write(tmp_path, [annotation(category_id=2)], categories=fish, name="valid/_annotations.coco.json")
    summary, _ = convert_file(tmp_path, *valid)
    assert [row["id"] for row in summary["categories"]] == [1, 2] and summary["split"] == "valid"
    with pytest.raises(ValueError, match="two categories are called `fish`"):
        convert(tmp_path, [annotation(1, category_id=0), annotation(2, category_id=1)], categories=fish)


def test_a_root_category_with_a_name_of_its_own_is_said(tmp_path):
    things = [{"id": 0, "name": "things-x1", "supercategory": "none"}]
    things += [{"id": 1, "name": "a", "supercategory": "things-x1"}, {"id": 2, "name": "b", "supercategory": "things-x1"}]
    summary, _ = convert(tmp_path, [annotation(category_id=1)], categories=things)
    assert summary["class_names"] == ["things-x1", "a", "b"] and kinds(summary) == {"category_root": 1}
    assert "category 0 (`things-x1`)" in coco.describe(summary)
    # As a class with objects, or above nothing, it is one like all others.
    rows = [annotation(1, category_id=0), annotation(2, category_id=1)]
    assert not kinds(convert(tmp_path, rows, categories=things)[0])
    assert not kinds(convert(tmp_path, [annotation(category_id=1)], categories=[things[0], {"id": 1, "name": "a"}])[0])


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("coco/instances_val2017.json", "val2017"),
        ("mine/train.json", "train"),
        ("mine/valid/_annotations.coco.json", "valid"),
        ("task 1/annotations/instances_default.json", "task_1"),
        ("project-1/result.json", "project-1"),
        ("mine/instances_.json", "instances_"),
    ],
)
def test_names_of_splits(path, split):
    assert coco.split_name(path) == split


@pytest.mark.parametrize("split", ["../x", "/tmp/x", "a/b", "..", "a\\b", "a\nb"])
def test_a_split_is_a_name(tmp_path, split):
    with pytest.raises(ValueError, match="--split="):
        convert(tmp_path, [annotation()], options={"split": split})
    assert not (tmp_path / "records").exists()


def test_a_different_data_set_is_not_replaced(tmp_path):
    options = {"split": "all"}
    convert(tmp_path, [annotation()], options=options)
    convert(tmp_path, [annotation(), annotation(2)], files=("a.png", "b.png"), options=options)  # The same one, grown.
    other = tmp_path / "other"
    images, path = coco_folder.write(other, [annotation()], files=("b.png",))
    coco_folder.write_image(other / "images" / "b.png", (WIDTH, HEIGHT), seed=9)
    (other / "images" / "b.png").write_bytes((other / "images" / "b.png").read_bytes() + b"more")
    with pytest.raises(ValueError, match=r"all.json is of a different data set \(2 images.* --overwrite"):
        convert_file(tmp_path, images, path, **options)
    summary, _ = convert_file(tmp_path, images, path, overwrite=True, **options)
    assert summary["num_examples"] == 1


@pytest.mark.parametrize("counts", [b"\\o3\\", b"`0\\1", b"PP1"])
def test_counts_as_the_text_of_bytes_are_those_bytes(counts):
    runs = {"size": [4, 4], "counts": str(counts)}
    assert segmentations.standard_form(runs)[0] == {"size": [4, 4], "counts": counts.decode()}


def test_a_bitmap_is_no_polygon(tmp_path):
    with pytest.raises(ValueError, match="it is a bitmap with one list per row; write it as run lengths"):
        convert(tmp_path, [annotation(segmentation=MASK.tolist())])


def test_a_name_with_another_ending(tmp_path):
    images = [image(1, "A.jpg"), image(2, "b"), image(3, "v1.2")]
    with pytest.raises(ValueError, match=r"there is no .*A\.jpg; there is .*a\.png: correct the file_name"):
        convert(tmp_path, [annotation()], images=images[:1], files=("a.png",))
    with pytest.raises(ValueError, match=r"there is no .*/b; there is .*b\.png"):
        convert(tmp_path, [annotation(image_id=2)], images=images[1:2], files=("b.png",))
    with pytest.raises(ValueError, match=r"there is no .*/v1\.2; is --images right"):
        convert(tmp_path, [annotation(image_id=3)], images=images[2:], files=("v1.3.png",))


def test_other_spellings_of_file_names(tmp_path):
    files = ["a b.png", unicodedata.normalize("NFD", "Größe.png"), "IMG_1.PNG", "sub/c.png", "d%20e.png"]
    listed = ["a%20b.png", unicodedata.normalize("NFC", "Größe.png"), "img_1.png", "elsewhere/a b.png", "Sub/C.png", "d e.png"]
    images = [image(number, name) for number, name in enumerate(listed, start=1) if number != 4]
    rows = [annotation(row["id"], image_id=row["id"]) for row in images]
    summary, examples = convert(tmp_path, rows, images=images, files=files)
    assert kinds(summary) == {"image_spelled_otherwise": 5} and len(examples) == 5
    assert "a b.png is used" in summary["findings"]["image_spelled_otherwise"]["first"][0]


def test_names_without_their_folders(tmp_path):
    images = [image(1, "train2017\\a.png"), image(2, "/no/such/folder/b.png"), image(3, "../gone/c.png")]
    rows = [annotation(number, image_id=number) for number in (1, 2, 3)]
    summary, examples = convert(tmp_path, rows, images=images, files=["a.png", "b.png", "c.png"])
    assert kinds(summary) == {"image_in_other_folder": 3} and len(examples) == 3


@pytest.mark.parametrize(
    ("listed", "files", "kept"),
    [
        (["one/a.png", "two/a.png", "b.png"], ["a.png", "b.png"], ["b.png"]),
        (["a.png", "other/a.png"], ["a.png"], ["a.png"]),
        (["A.png", "b.png"], ["a.png", "x/../a.PNG", "b.png"], ["b.png"]),
    ],
)
def test_names_that_could_be_several_files_are_refused(tmp_path, listed, files, kept):
    images = [image(number, name) for number, name in enumerate(listed, start=1)]
    rows = [annotation(number, image_id=number) for number in range(1, len(images) + 1)]
    summary, examples = convert(tmp_path, rows, images=images, files=files)
    assert kinds(summary) == {"image_ambiguous": len(listed) - len(kept)}
    assert [example.filename for example in examples] == kept


def test_the_same_file_under_two_ids(tmp_path):
    summary, examples = convert(tmp_path, [annotation()], images=[image(1), image(2)])
    assert kinds(summary) == {"file_twice": 1} and len(examples) == 2


@pytest.mark.parametrize("way", ["parent", "absolute", "link", "folder link"])
def test_names_that_leave_the_folder_are_refused(tmp_path, way):
    coco_folder.write_image(tmp_path / "secret" / "a.png")
    (tmp_path / "images").mkdir()
    names = {"parent": "../secret/a.png", "absolute": str(tmp_path / "secret" / "a.png"), "link": "l.png", "folder link": "f/a.png"}
    os.symlink(tmp_path / "secret" / "a.png", tmp_path / "images" / "l.png")
    os.symlink(tmp_path / "secret", tmp_path / "images" / "f")
    content = {"images": [image(1, names[way])], "files": ()}
    with pytest.raises(ValueError, match=r"train.json: file_name .* is outside of .* --allow_outside"):
        convert(tmp_path, [annotation()], **content)
    assert not (tmp_path / "records").exists()
    _, examples = convert(tmp_path, [annotation()], options={"allow_outside": True}, **content)
    assert len(examples) == 1


def test_a_folder_that_is_itself_a_link(tmp_path):
    images, path = coco_folder.write(tmp_path, [annotation()])
    os.symlink(images, tmp_path / "link")
    assert len(convert_file(tmp_path, str(tmp_path / "link"), path)[1]) == 1


def test_lists_as_dictionaries_and_images_by_their_address(tmp_path):
    rows = {"7": annotation(7), "8": annotation(8)}
    entry = {**image(), "file_name": None, "coco_url": "http://images.example.org/train2017/a.png"}
    summary, [example] = convert(tmp_path, rows, images=[entry])
    assert kinds(summary) == {"list_as_dictionary": 1, "image_name_from_url": 1}
    assert len(example.instances) == 2 and example.filename == "a.png"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_encodings(tmp_path, encoding):
    images, path = coco_folder.write(tmp_path, [annotation()], categories=[{"id": 17, "name": "Größe 大"}])
    text = json.dumps(json.load(open(path)), ensure_ascii=False)
    with open(path, "wb") as file:
        file.write(text.encode(encoding))
    assert convert_file(tmp_path, images, path)[0]["class_names"] == ["Größe 大"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"5", "contains only 5"),
        (b"null", "contains only None"),
        (b'"x"', "contains only x"),
        (b"", "is not valid JSON"),
        (b"\xff\xfe\x00", "is not valid UTF-16"),
        ('{"categories": "Größe"}'.encode("latin-1"), "is it Latin-1"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"images": [' + b"1" * 5000 + b"]}", "is not valid JSON: Exceeds the limit"),
        (b'{"images": [5], "annotations": [], "categories": []}', "an image is 5, not a dictionary"),
        (b'{"images": [{}], "annotations": [], "categories": [{"id": 99999999999999999999, "name": "x"}]}', "beyond 64 bits"),
        (b'{"images": [{}], "annotations": [], "categories": [{"id": NaN, "name": "x"}]}', "needs a whole number as id"),
        (b'{"images": [{}], "annotations": [], "categories": [{"id": 1, "name": ["x"]}]}', "which is not a string"),
        (b'{"images": [{}], "annotations": [], "categories": [{"id": 1, "name": "\\ud800"}]}', "which is not a string"),
        (b'{"images": [{"id": "\\ud800", "file_name": "a.png"}], "annotations": [], "categories": [{"id": 1}]}', "needs an id"),
        (b'{"images": [{"id": [1], "file_name": "a.png"}], "annotations": [], "categories": [{"id": 1}]}', "needs an id"),
        (b'{"images": [{"id": 1, "file_name": ["a"]}], "annotations": [], "categories": [{"id": 1}]}', "and a file_name"),
        (b'{"images": [], "annotations": [], "categories": [{"id": 1}]}', "no image of .* is there .0 of 0."),
    ],
    ids=lambda value: str(value)[:40],
)
def test_files_of_other_kinds_are_one_line_with_their_name(tmp_path, content, message):
    path = tmp_path / "train.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        coco.convert_coco(str(tmp_path), str(path), str(tmp_path / "records"))
    assert str(path) in str(error.value) and len(str(error.value)) < 400


def test_flags_of_the_binary(tmp_path, repository):
    rows = [annotation(1, iscrowd=1), annotation(2, segmentation=POLYGON)]
    images, path = coco_folder.write(tmp_path, rows, name="valid/_annotations.coco.json")
    command = [sys.executable, str(repository / "data" / "coco_to_tfrecord.py"), f"--images={images}", f"--annotations={path}"]
    command += [f"--output={tmp_path}/out", "--num_workers=1", "--crowds=instances", "--exif=ignore", "--overwrite"]
    command += ["--allow_outside"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "2 objects" in done.stdout and "valid-*.tfrecord" in done.stdout
