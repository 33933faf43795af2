"""Large images as windows, through the converters: records, counts, the choice of empty windows, and bad input."""

import io
import json
import pathlib

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
import tifffile

from tpuseg.convert import coco, image_windows, tiling, voc, voc_instances
from tpuseg.data import examples, instance_records, records, semantic_records
from tpuseg.data.tile_rules import TileRules
from tpuseg.ops import masks

# 3 x 2 windows of 32 pixels without overlap.
SIZE = (64, 96)
RULES = TileRules(32, 0.0, 0.3, 1.0)


def pixels_of(seed=0, size=SIZE, channels=3):
    return np.random.default_rng(seed).integers(0, 255, (*size, channels)).astype(np.uint8)


def square(number, x, y, side=10, image_id=1, **more):
    polygon = [x, y, x + side, y, x + side, y + side, x, y + side]
    row = {"id": number, "image_id": image_id, "category_id": 3, "bbox": [x, y, side, side], "area": side * side, "iscrowd": 0}
    return {**row, "segmentation": [polygon], **more}


@pytest.fixture
def convert(tmp_path):
    """Writes images (name to pixels) and annotations, converts them, and returns the summary and the examples by id."""

    def run(annotations, files=None, rules=RULES, output="records", listed=(), **options):
        files = {"a.png": pixels_of()} if files is None else files
        (tmp_path / "images").mkdir(exist_ok=True)
        images = []
        for number, (name, pixels) in enumerate(files.items(), start=1):
            if isinstance(pixels, bytes):
                (tmp_path / "images" / name).write_bytes(pixels)
            elif name.endswith(".tif"):
                tifffile.imwrite(tmp_path / "images" / name, pixels, photometric="minisblack", planarconfig="contig")
            else:
                PIL.Image.fromarray(pixels).save(tmp_path / "images" / name)
            images.append({"id": number, "file_name": name})
        for row, more in zip(images, listed, strict=False):
            row |= more
        path = tmp_path / "train.json"
        path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": [{"id": 3, "name": "car"}]}))
        options = {"num_shards": 2, "tiles": rules, **options}
        summary = coco.convert_coco(str(tmp_path / "images"), str(path), str(tmp_path / output), **options)
        return summary, read(tmp_path / output, summary)

    return run


def raw_records(folder, summary):
    return [record for name in summary["shards"] for record in records.read_raw(str(folder / name))]


def read(folder: pathlib.Path, summary):
    found = [instance_records.read_instances(record) for record in raw_records(folder, summary)]
    num_classes = summary["num_classes"]
    assert all(not instance_records.inspect_instances(record, num_classes, None)[1] for record in raw_records(folder, summary))
    return {example.source_id: example for example in found}


def decoded(example):
    return records.decode_image(tf.constant(example.image), example.num_channels).numpy()


def test_windows_their_names_and_origins(convert):
    pixels = pixels_of()
    summary, found = convert([square(1, 2, 2), square(2, 25, 40), square(3, 70, 50, iscrowd=1)])
    assert list(found) == [f"1@{top},{left}" for top in (0, 32) for left in (0, 32, 64)]
    for name, example in found.items():
        top, left = (int(value) for value in name.partition("@")[2].split(","))
        assert example.origin == examples.Origin("1", top, left, 64, 96) and example.filename == "a.png"
        assert (example.height, example.width, example.image_format, example.image_id) == (32, 32, "png", name)
        np.testing.assert_array_equal(decoded(example), pixels[top : top + 32, left : left + 32])
    # Square 2 is cut: 7 of 10 columns in one window, 3 in the next; with 0.3 both are instances.
    assert [instance.annotated_area for instance in found["1@32,0"].instances] == [70]
    assert [instance.annotated_area for instance in found["1@32,32"].instances] == [30]
    assert [instance.is_crowd for instance in found["1@32,64"].instances] == [True]
    assert summary["num_examples"] == 6 and summary["num_objects"] == 3 and summary["most_crowds"] == 1
    assert summary["lost"] == {"images": [0, 1], "annotations": [0, 3]} and not summary["reencoded"]
    counts = summary["tiles"]
    assert (counts["images"], counts["windows"], counts["empty_windows"], counts["left_out_windows"]) == (1, 6, 3, 0)
    assert (counts["cut_instances"], counts["ignored_instances"], counts["never_instances"]) == (2, 0, 0)
    assert counts["annotated_crowds"] == 1 and counts["size"] == 32
    text = coco.describe(summary)
    assert "1 image larger than 32 pixels cut into 6 windows; neighbours share at least 0%" in text
    assert text.startswith("WARNING: 1 of 3 annotations are ignored")
    assert "2 instances cut at borders of windows, and 0 instances of which less than 30% is visible" in text


def test_ignored_instances_are_counted_and_no_background(convert):
    summary, found = convert([square(1, 25, 40)], rules=TileRules(32, 0.0, 0.31, 1.0))
    assert [instance.is_crowd for instance in found["1@32,32"].instances] == [True]
    assert summary["num_objects"] == 1 and summary["num_crowds"] == 1 and summary["most_crowds"] == 1
    assert (summary["tiles"]["cut_instances"], summary["tiles"]["ignored_instances"]) == (1, 1)
    assert "WARNING" not in coco.describe(summary)


def test_small_images_stay_as_they_are(convert, tmp_path):
    files = {"a.png": pixels_of(), "b.png": pixels_of(1, (32, 20))}
    rows = [square(1, 2, 2), square(2, 3, 4, image_id=2), square(3, 1, 1, image_id=2, iscrowd=1)]
    cut, found = convert(rows, files)
    whole, _ = convert(rows, files, TileRules(), "whole")
    assert raw_records(tmp_path / "records", cut)[-1] == raw_records(tmp_path / "whole", whole)[-1]
    assert found["2"].origin is None and "tiles" not in whole
    assert cut["lost"] == whole["lost"] == {"images": [0, 2], "annotations": [0, 3]}
    assert cut["tiles"]["images"] == 1 and cut["tiles"]["windows"] == 6 and cut["num_examples"] == 7
    assert cut["tiles"]["annotated_crowds"] == 1


@pytest.mark.parametrize(
    ("share", "kept"),
    # One window of six has an instance: E / (E + 1) <= share.
    [(0.0, 0), (0.49, 0), (0.5, 1), (0.66, 1), (0.67, 2), (0.75, 3), (0.99, 5), (1.0, 5)],
)
def test_the_share_of_empty_windows(convert, share, kept):
    summary, found = convert([square(1, 2, 2)], rules=TileRules(32, 0.0, 0.3, share))
    assert len(found) == 1 + kept and "1@0,0" in found
    assert (summary["tiles"]["empty_windows"], summary["tiles"]["left_out_windows"]) == (kept, 5 - kept)


def test_the_choice_of_empty_windows_does_not_depend_on_workers_or_order(convert, tmp_path):
    files = {name: pixels_of(seed) for seed, name in enumerate(("a.png", "b.png", "c.png"))}
    rows = [square(number, 2, 2, image_id=number) for number in (1, 2, 3)]
    rules = TileRules(32, 0.0, 0.3, 0.5)
    one, first = convert(rows, files, rules)
    two, second = convert(rows, files, rules, "two", num_workers=2)
    assert raw_records(tmp_path / "records", one) == raw_records(tmp_path / "two", two) and len(first) == 6
    _, third = convert(rows[::-1], files, rules, "three")
    assert set(first) == set(second) == set(third)
    # A random choice, not the first windows of the first image.
    empty = [name for name in first if not first[name].instances]
    assert len({name[0] for name in empty}) > 1 and empty != ["1@0,32", "1@0,64", "1@32,0"]


def test_windows_in_several_tasks(convert, monkeypatch, tmp_path):
    rows = [square(1, 2, 2), square(2, 25, 40), square(3, 70, 50, segmentation=[])]
    one, _ = convert(rows)
    monkeypatch.setattr(tiling, "_PIXELS_PER_TASK", 2 * 32 * 32)
    two, _ = convert(rows, output="two")
    assert raw_records(tmp_path / "records", one) == raw_records(tmp_path / "two", two)
    assert one == two
    assert one["findings"]["no_mask"]["count"] == 1 and one["lost"]["annotations"] == [1, 3]


def test_other_numbers_of_channels_and_formats(convert):
    pixels = pixels_of(channels=5)
    summary, found = convert([square(1, 2, 2)], {"a.tif": pixels}, num_channels=5)
    np.testing.assert_array_equal(decoded(found["1@32,64"]), pixels[32:, 64:])
    np.testing.assert_allclose(summary["pixel_mean"], pixels.mean((0, 1)), atol=0.01)
    assert summary["reencoded"] == {"TIFF format": 1}


def test_upright_pixels_of_a_photo(convert):
    # A JPEG whose orientation turns it by a right angle; its annotated size is the upright one.
    exif, buffer, stored = PIL.Image.Exif(), io.BytesIO(), pixels_of(size=(96, 64))
    exif[0x0112] = 6
    PIL.Image.fromarray(stored).save(buffer, "JPEG", exif=exif.tobytes())
    summary, found = convert([square(1, 2, 2)], {"a.jpg": buffer.getvalue()}, listed=[{"height": 64, "width": 96}])
    upright = np.rot90(np.asarray(PIL.Image.open(buffer)), -1)
    np.testing.assert_array_equal(decoded(found["1@32,64"]), upright[32:, 64:])
    assert summary["reencoded"] == {"rotated according to its EXIF data": 1}


def test_images_that_cannot_be_read_or_have_another_size(convert):
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels_of()).save(buffer, "PNG")
    files = {"a.png": pixels_of(), "b.png": buffer.getvalue()[:3000], "c.png": pixels_of()}
    rows = [square(number, 2, 2, image_id=number) for number in (1, 2, 3)]
    summary, found = convert(rows, files, listed=[{}, {}, {"height": 1000, "width": 64}])
    counts = {kind: finding["count"] for kind, finding in summary["findings"].items()}
    assert counts == {"image_unreadable": 1, "image_size_differs": 1}
    [differs] = summary["findings"]["image_size_differs"]["first"]
    assert "64x1000 annotated, the file has 96x64" in differs
    assert summary["lost"] == {"images": [2, 3], "annotations": [2, 3]} and {name[0] for name in found} == {"1"}
    with pytest.raises(ValueError, match="b.png.*without --strict: left out"):
        convert(rows, files, strict=True)


def test_an_annotated_size_is_only_used_if_the_file_has_it(tmp_path):
    # Otherwise a wrong number in the annotations would decide how many windows there are.
    path = str(tmp_path / "a.png")
    PIL.Image.fromarray(pixels_of()).save(path)
    assert image_windows.size_of(path) == image_windows.size_of(path, (64, 96)) == (64, 96)
    assert image_windows.size_of(path, (96, 64)) == (96, 64)
    with pytest.raises(ValueError, match="a.png is 96x64 pixels, not 64x1000000000"):
        image_windows.size_of(path, (10**9, 64))


def test_width_and_height_that_are_swapped(convert):
    files, rows = {"a.png": pixels_of(), "b.png": pixels_of(1)}, [square(1, 2, 2), square(2, 2, 2, image_id=2)]
    summary, found = convert(rows, files, listed=[{"height": 96, "width": 64}])
    [differs] = summary["findings"]["image_size_differs"]["first"]
    assert "64x96 annotated, the file has 96x64; are width and height swapped?" in differs and {name[0] for name in found} == {"2"}
    assert summary["lost"] == {"images": [1, 2], "annotations": [1, 2]}


def test_an_image_that_is_large_in_one_direction_only(convert):
    pixels = pixels_of(size=(20, 70))
    summary, found = convert([square(1, 2, 2), square(2, 50, 4)], {"a.png": pixels}, rules=TileRules(32, 0.2, 0.3, 1.0))
    # 70 - 32 = 38 pixels in steps of at most 25: the columns 0, 19 and 38.
    assert list(found) == ["1@0,0", "1@0,19", "1@0,38"]
    np.testing.assert_array_equal(decoded(found["1@0,19"]), pixels[:, 19:51])
    # Of square 2, which begins at column 50, the second window shows one column of ten.
    assert [one.is_crowd for one in found["1@0,19"].instances] == [True] and summary["tiles"]["ignored_instances"] == 1
    np.testing.assert_allclose(found["1@0,38"].instances[0].box, [4, 12, 14, 22], atol=1e-5)


def test_objects_larger_than_every_window_are_reported(convert, tmp_path):
    rows = [square(1, 0, 0, side=64), square(2, 70, 40)]
    summary, _ = convert(rows, rules=TileRules(32, 0.0, 0.3, 1.0))
    assert summary["tiles"]["never_instances"] == 1 and summary["lost"]["annotations"] == [0, 2]
    assert "warning: 1 object is an instance in no window, as all show too little" in coco.describe(summary)
    with pytest.raises(ValueError, match="no image of 1 is left for training; no window of 32 pixels shows 30% of any object"):
        convert(rows[:1], rules=TileRules(32, 0.0, 0.3, 0.0), output="none")
    assert not (tmp_path / "none" / "train.json").exists()


def test_records_without_an_origin_and_damaged_ones(convert, tmp_path):
    summary, _ = convert([square(1, 2, 2)])
    record = tf.train.Example.FromString(raw_records(tmp_path / "records", summary)[0])
    record.features.feature[records.WINDOW].int64_list.value[:] = [1, 2]
    with pytest.raises(ValueError, match=r"image/window/top_left_height_width is \[1, 2\], not the top, left, height and width"):
        instance_records.read_instances(record.SerializeToString())
    for key in (records.WINDOW, records.WINDOW_OF):
        del record.features.feature[key]
    assert instance_records.read_instances(record.SerializeToString()).origin is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((31,), "the tile size is 31, but must be at least 32"),
        ((64, 1.0), "the overlap of tiles is 1, but must be at least 0 and less than 1"),
        ((64, 0.2, 1.5), "--tile_min_visible is 1.5, but must be from 0 to 1"),
        ((64, 0.2, 0.3, -0.1), "--tile_empty_share is -0.1, but must be from 0 to 1"),
        ((64, 0.2, float("nan")), "--tile_min_visible is nan"),
    ],
)
def test_values_out_of_range(values, message):
    with pytest.raises(ValueError, match=message):
        TileRules(*values)


@pytest.fixture
def voc_root(tmp_path):
    """A VOC folder with a large image `a`, whose two objects are on the border of a window, and a small one `b`."""
    ids = np.zeros(SIZE, np.uint8)
    ids[10:20, 20:40] = 1
    ids[40:50, 60:80] = 2
    ids[:, 95] = 255
    numbers = np.where(ids == 255, 0, ids)
    for name, part in (("a", slice(None)), ("b", slice(8, 30))):
        for folder, values in (("JPEGImages", pixels_of()), ("SegmentationClass", ids), ("SegmentationObject", numbers)):
            (tmp_path / folder).mkdir(exist_ok=True)
            cut = values if name == "a" else values[part, 15:45]
            PIL.Image.fromarray(cut).save(tmp_path / folder / f"{name}.png")
    (tmp_path / "ImageSets" / "Segmentation").mkdir(parents=True)
    (tmp_path / "ImageSets" / "Segmentation" / "train.txt").write_text("a\nb\n")
    return tmp_path, ids


NAMES = {"class_names": ["background", "car", "dog"], "num_shards": 1}


@pytest.mark.parametrize("overlap", [0.0, 0.4])
def test_labels_of_windows_are_those_of_the_image(voc_root, overlap, monkeypatch):
    root, ids = voc_root
    monkeypatch.setattr(tiling, "_PIXELS_PER_TASK", 4 * 32 * 32)
    summary = voc.convert_voc(str(root), "train", str(root / "out"), tiles=TileRules(32, overlap), **NAMES)
    stitched, pixels, names = np.full(SIZE, 99, np.uint8), pixels_of(), []
    for record in raw_records(root / "out", summary):
        feature = records.features_of(record)
        assert semantic_records.inspect_semantic(record, 3, 255)[1] == []
        names.append(records.source_id_of(feature))
        origin = records.origin_of(feature)
        labels = semantic_records.decode_labels(tf.constant(records.first_bytes(feature, semantic_records.LABELS))).numpy()
        if origin is None:
            np.testing.assert_array_equal(labels, ids[8:30, 15:45])
            continue
        assert origin == examples.Origin("a", origin.top, origin.left, *SIZE)
        place = slice(origin.top, origin.top + 32), slice(origin.left, origin.left + 32)
        stitched[place] = labels
        image = records.decode_image(tf.constant(records.first_bytes(feature, records.IMAGE))).numpy()
        np.testing.assert_array_equal(image, pixels[place])
    np.testing.assert_array_equal(stitched, ids)
    windows = 6 if overlap == 0 else 3 * 5
    assert len(set(names)) == windows + 1 and names[0] == "a@0,0" and names[-1] == "b"
    assert summary["tiles"] == {"size": 32, "overlap": overlap, "images": 1, "windows": windows}
    assert f"1 image larger than 32 pixels cut into {windows} windows" in voc.describe(summary)
    if overlap == 0:
        whole = np.bincount(ids.ravel(), minlength=3)[:3] + np.bincount(ids[8:30, 15:45].ravel(), minlength=3)[:3]
        assert list(summary["pixels_per_class"].values()) == whole.tolist()


def test_objects_of_voc_in_windows(voc_root):
    root, _ = voc_root
    summary = voc_instances.convert_voc_instances(str(root), "train", str(root / "out"), tiles=RULES, **NAMES)
    found = read(root / "out", summary)
    # The car has the columns 20 to 39: 12 and 8 of 20; the dog 60 to 79: 4 (a fifth, ignored) and 16.
    areas = {name: [(one.annotated_area, one.is_crowd) for one in example.instances] for name, example in found.items()}
    assert areas["a@0,0"] == [(120, False)] and areas["a@0,32"] == [(80, False)]
    assert areas["a@32,32"] == [(40, True)] and areas["a@32,64"] == [(160, False)]
    assert summary["tiles"]["cut_instances"] == 3 and summary["tiles"]["ignored_instances"] == 1
    assert summary["lost"] == {"images": [0, 2], "annotations": [0, 3]}
    np.testing.assert_array_equal(masks.bounding_box(found["a@0,32"].instances[0].runs), [10, 0, 20, 8])
    (root / "JPEGImages" / "a.png").write_bytes(b"damaged")
    with pytest.raises(ValueError, match="a.png"):
        voc_instances.convert_voc_instances(str(root), "train", str(root / "out"), tiles=RULES, **NAMES)
