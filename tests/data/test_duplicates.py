"""What is twice in records: images in one split or two, objects in one image; and which splits are compared."""

import io
import json

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from tpuseg.data import duplicates, instance_records, records


def image(seed, form="PNG", mode="RGB"):
    pixels = np.random.default_rng(seed).integers(0, 255, (6, 8, 3)).astype(np.uint8)
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).convert("L").convert(mode).save(buffer, form)
    return buffer.getvalue()


def record(encoded, source_id, filename="", objects=()):
    """Returns a record; objects are (label, is_crowd, counts)."""

    def feature(kind, values):
        return tf.train.Feature(**{kind: {"bytes_list": tf.train.BytesList, "int64_list": tf.train.Int64List}[kind](value=values)})

    features = {
        records.IMAGE: feature("bytes_list", [encoded]),
        records.SOURCE_ID: feature("bytes_list", [source_id.encode()]),
        records.FILENAME: feature("bytes_list", [filename.encode()]),
    }
    if objects:
        labels, crowds, counts = zip(*objects, strict=True)
        features[instance_records.LABEL] = feature("int64_list", labels)
        features[instance_records.IS_CROWD] = feature("int64_list", crowds)
        features[instance_records.COUNTS] = feature("bytes_list", counts)
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def write(path, *serialized):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for one in serialized:
            writer.write(one)
    return str(path)


def test_images_with_the_same_pixels_in_any_encoding(tmp_path):
    path = write(
        tmp_path / "train.tfrecord",
        record(image(1), "1", "a.png"),
        record(image(2), "2", "b.png"),
        record(image(1, mode="L"), "3", "a.png"),
        record(image(1, form="BMP"), "4", "c.bmp"),
        b"no record",
        record(b"no image", "5"),
        record(b"no image", "6"),
    )
    found = duplicates.findings(duplicates.scan(path))
    assert found == [
        f"{path}: record 2 (3): has the same pixels as {path}: record 0 (1) (both are a.png)",
        f"{path}: record 3 (4): has the same pixels as {path}: record 0 (1)",
    ]


def test_images_in_two_splits(tmp_path):
    train = duplicates.scan(write(tmp_path / "train.tfrecord", record(image(1), "1"), record(image(2), "2")))
    val = duplicates.scan(write(tmp_path / "val.tfrecord", record(image(3), "1"), record(image(2), "9")))
    [line] = duplicates.findings(train, val)
    assert line.startswith(f"{tmp_path}/val.tfrecord: record 1 (9): has the same pixels as {tmp_path}/train.tfrecord: record 1 (2)")
    assert duplicates.findings(train, val[:1]) == []


def test_objects_that_are_there_twice(tmp_path):
    objects = [(17, 0, b"x"), (17, 0, b"y"), (3, 0, b"x"), (17, 0, b"x"), (5, 1, b"z"), (5, 1, b"z")]
    path = write(tmp_path / "train.tfrecord", record(image(1), "1", objects=objects))
    assert duplicates.findings(duplicates.scan(path)) == [
        f"{path}: record 0 (1): objects 0 and 3 have the same mask and category 17"
    ]


def test_long_lists_are_cut(tmp_path):
    entries = duplicates.scan(write(tmp_path / "train.tfrecord", *[record(image(1), str(number)) for number in range(9)]))
    found = duplicates.findings(entries)
    assert len(found) == 6 and found[-1] == "... and 3 more duplicate images"


def test_a_file_that_is_cut_off(tmp_path):
    path = write(tmp_path / "train.tfrecord", record(image(1), "1"), record(image(1), "2"))
    content = (tmp_path / "train.tfrecord").read_bytes()
    (tmp_path / "train.tfrecord").write_bytes(content[:-9])
    assert [entry.where for entry in duplicates.scan(path)] == [f"{path}: record 0 (1)"]


@pytest.mark.parametrize(
    ("own", "other", "is_compared"),
    [
        ("train", "val", True),
        ("val", "train2017", True),
        ("train", "test", True),
        ("fold0", "fold1", True),
        ("train", "trainval", False),
        ("val", "trainval", False),
        ("train", "train_small", False),
        ("all", "val", False),
    ],
)
def test_which_splits_are_compared(tmp_path, own, other, is_compared):
    for split in (own, other):
        name = f"{split}-00000-of-00001.tfrecord"
        (tmp_path / name).write_bytes(b"")
        (tmp_path / f"{split}.json").write_text(json.dumps({"shards": [name, "../outside.tfrecord", 5, "gone.tfrecord"]}))
    (tmp_path / "classes.json").write_text("[1]")
    (tmp_path / "broken.json").write_text("{")
    paths = [str(tmp_path / f"{own}-00000-of-00001.tfrecord")]
    siblings = duplicates.sibling_files(str(tmp_path / f"{own}-*.tfrecord"), paths)
    assert siblings == ([str(tmp_path / f"{other}-00000-of-00001.tfrecord")] if is_compared else [])
