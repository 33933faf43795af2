"""Records of classes: written and read back, read by the Model Garden, and every fault of one named."""

import functools
import io
import struct
import zlib

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from tpuseg.convert import voc
from tpuseg.data import records, semantic_records
from tpuseg.data.examples import SemanticExample
from tpuseg.visualization.drawing import color_map

IDS = np.array([[0, 1, 2, 1], [2, 2, 1, 0], [0, 0, 255, 1]], np.uint8)
IMAGE = np.arange(3 * 4 * 3, dtype=np.uint8).reshape(3, 4, 3)


def png(array, **options):
    file = io.BytesIO()
    (array if isinstance(array, PIL.Image.Image) else PIL.Image.fromarray(array)).save(file, "PNG", **options)
    return file.getvalue()


def record(image=None, labels=None, source_id="a", filename="a.png"):
    height, width = IDS.shape
    image, labels = png(IMAGE) if image is None else image, png(IDS) if labels is None else labels
    return semantic_records.encode_semantic(SemanticExample(image, "png", height, width, source_id, filename, labels))


def faults(serialized, num_classes=3):
    return semantic_records.inspect_semantic(serialized, num_classes, 255)[1]


def test_what_is_written_is_read_back():
    parsed = semantic_records.parse_semantic(tf.constant(record()))
    np.testing.assert_array_equal(records.decode_image(parsed["image"]), IMAGE)
    np.testing.assert_array_equal(semantic_records.decode_labels(parsed["labels"]), IDS)
    assert parsed["source_id"] == b"a" and record() == record()


def test_a_record_without_an_id_goes_by_its_file_name():
    assert semantic_records.parse_semantic(tf.constant(record(source_id="", filename="b.jpg")))["source_id"] == b"b.jpg"
    assert semantic_records.inspect_semantic(record(source_id="", filename="b.jpg"), 3, 255) == ("b.jpg", [])


def test_the_keys_are_those_of_the_model_garden():
    feature = tf.train.Example.FromString(record()).features.feature
    assert sorted(feature) == [
        "image/encoded",
        "image/filename",
        "image/format",
        "image/height",
        "image/segmentation/class/encoded",
        "image/segmentation/class/format",
        "image/source_id",
        "image/width",
    ]
    assert feature["image/height"].int64_list.value == [3] and feature["image/width"].int64_list.value == [4]


def test_the_model_gardens_own_decoder_reads_them():
    segmentation_input = pytest.importorskip("official.vision.dataloaders.segmentation_input")
    decoded = segmentation_input.Decoder().decode(tf.constant(record()))
    np.testing.assert_array_equal(tf.io.decode_png(decoded["image/encoded"]), IMAGE)
    np.testing.assert_array_equal(tf.io.decode_png(decoded["image/segmentation/class/encoded"])[..., 0], IDS)
    assert decoded["image/height"] == 3 and decoded["image/width"] == 4


def test_a_whole_record_has_no_fault():
    assert semantic_records.inspect_semantic(record(), 3, 255) == ("a", [])
    assert faults(record(), None) == []


@pytest.mark.parametrize(
    ("serialized", "expected"),
    [
        (b"no example", "is not a tf.Example"),
        (record(image=b""), "the image is missing"),
        (record(labels=b""), "the mask is missing"),
        (record(image=png(IMAGE)[:-30]), "the image cannot be decoded ("),
        (record(labels=b"no image"), "the mask cannot be decoded ("),
        (record(labels=png(IDS[:, :3])), "the mask is 3x3, the image 4x3"),
        (record(labels=png(color_map()[IDS])), "the mask has colours instead of one class id per pixel"),
        (
            record(labels=png(IDS + 1)),  # 255 becomes 0.
            "the mask has 3 pixels of value 3, which is neither one of the 3 classes nor the ignore label 255",
        ),
    ],
    ids=["garbage", "no image", "no mask", "half an image", "no PNG", "another size", "colours", "no class"],
)
def test_every_fault_is_named(serialized, expected):
    (fault,) = faults(serialized)
    assert fault.startswith(expected)


def test_all_faults_of_a_record_are_named():
    assert len(faults(record(image=b"", labels=png(IDS + 7)))) == 2


def grey_png(values, bits):
    """A grey PNG of any bit depth; Pillow writes only some of them."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b""
    for row in values:
        text = "".join(f"{value:0{bits}b}" for value in row)
        text += "0" * (-len(text) % 8)
        rows += b"\0" + int(text, 2).to_bytes(len(text) // 8, "big")
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], bits, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def palette_png(ids, colors):
    image = PIL.Image.fromarray(ids)
    image.putpalette(colors.tobytes())
    return png(image)


FEW = np.minimum(IDS, 1)
GREYS = np.repeat(np.arange(256, dtype=np.uint8)[:, np.newaxis], 3, axis=1)


# Masks that are read differently, what they are, and the values that training reads and that they hold.
MISREAD = pytest.mark.parametrize(
    ("labels", "kind", "read", "stored"),
    [
        (grey_png(FEW, 1), "grey PNG of 1 bit", "0, 255", "0, 1"),
        (grey_png(FEW * 3, 2), "grey PNG of 2 bits", "0, 255", "0, 3"),
        (grey_png(FEW * 2, 4), "grey PNG of 4 bits", "0, 34", "0, 2"),
        (grey_png(FEW, 16), "grey PNG of 16 bits", "0", "0, 1"),
        (palette_png(IDS, color_map()), "palette PNG", "0, 38, 75, 220", "0, 1, 2, 255"),
        (palette_png(FEW, color_map()[[1, 0]]), "palette PNG", "0, 38", "0, 1"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)


@MISREAD
@pytest.mark.parametrize("num_classes", [4, None])
def test_masks_that_training_would_read_as_other_classes(labels, kind, read, stored, num_classes):
    (fault,) = faults(record(labels=labels), num_classes)
    assert fault == (
        f"the mask is a {kind}, which training would decode to {read} instead of {stored};"
        " convert this data set with data/voc_to_tfrecord.py"
    )


@MISREAD
def test_the_converter_makes_of_them_what_training_reads(tmp_path, labels, kind, read, stored):
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "JPEGImages/a.png").write_bytes(png(IMAGE))
    (tmp_path / "SegmentationClass/a.png").write_bytes(labels)
    (tmp_path / "ImageSets/Segmentation/train.txt").write_text("a\n")
    voc.convert_voc(str(tmp_path), "train", str(tmp_path / "out"), class_names=["sky", "road", "car", "tree"], num_shards=1)
    (serialized,) = records.read_raw(str(tmp_path / "out/train-00000-of-00001.tfrecord"))
    assert faults(serialized, 4) == []
    ids = semantic_records.decode_labels(semantic_records.parse_semantic(serialized)["labels"]).numpy()
    assert ", ".join(map(str, np.unique(ids))) == stored


def test_a_palette_of_greys_is_read_as_its_ids():
    assert faults(record(labels=palette_png(IDS, GREYS))) == []


def test_a_mask_of_a_kind_that_training_cannot_read():
    file = io.BytesIO()
    PIL.Image.fromarray(IDS).save(file, "TIFF")
    (fault,) = faults(record(labels=file.getvalue()))
    assert fault == "the mask is a TIFF, not a PNG; convert this data set with data/voc_to_tfrecord.py"


def write_file(path, *serialized):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for each in serialized:
            writer.write(each)
    return str(path)


def test_a_file_is_counted_and_its_faults_have_places(tmp_path):
    path = write_file(tmp_path / "a.tfrecord", record(), record(labels=png(np.full_like(IDS, 9)), source_id="b"), record())
    report = semantic_records.inspect_file(path, 3, 255)
    assert report.num_records == 3 and report.pixels.sum() == 2 * IDS.size  # Faulty masks are not counted.
    assert report.pixels[[0, 1, 2, 255]].tolist() == [8, 8, 6, 2] and report.images[[0, 1, 2, 255]].tolist() == [2] * 4
    (fault,) = report.faults
    assert fault.startswith(f"{path}: record 1 (b): the mask has 12 pixels of value 9")
    for num_classes, found in ((3, fault), (10, None)):
        inspect = functools.partial(semantic_records.inspect_semantic, num_classes=num_classes, ignore_label=255)
        assert records.find_fault([path], inspect) == found


def test_a_file_that_is_cut_off(tmp_path):
    path = tmp_path / "a.tfrecord"
    write_file(path, record(), record())
    path.write_bytes(path.read_bytes()[:-10])
    report = semantic_records.inspect_file(str(path), 3, 255)
    assert report.num_records == 1
    assert report.faults == [f"{path}: damaged or truncated at record 1; convert again to rewrite this file"]


@pytest.mark.parametrize(
    ("pattern", "summary"),
    [
        ("d/train-*.tfrecord", "d/train.json"),
        ("d/train-00001-of-00004.tfrecord", "d/train.json"),
        ("d/val*", "d/val.json"),
        ("gs://bucket/voc/train-0000?-of-00008.tfrecord", "gs://bucket/voc/train.json"),
        ("d/*.tfrecord", "d/records.json"),
    ],
)
def test_where_the_summary_lies(pattern, summary):
    assert records.summary_path(pattern) == summary
