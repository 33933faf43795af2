"""Records that Python reads but TensorFlow's parser refuses: inspection must name what training would stop at."""

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
from instance_examples import object_of, record_of

from tpuseg import instance_counts, instance_records, records
from tpuseg.convert.pictures import png


def semantic_record():
    image, labels = np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint8)
    encoded = (png(PIL.Image.fromarray(values)) for values in (image, labels))
    return records.encode_semantic(records.SemanticExample(next(encoded), "png", 4, 4, "a", "a.png", next(encoded)))


KINDS = {
    "semantic": (semantic_record(), records.parse_semantic, lambda record: records.inspect_semantic(record, 3, 255)),
    "instances": (
        record_of([object_of((10, 10, 20, 20))]),
        instance_records.parse_instances,
        lambda record: instance_records.inspect_instances(record, 3),
    ),
    "empty": (record_of([]), instance_records.parse_instances, lambda record: instance_records.inspect_instances(record, 3)),
}
TWICE, NONE, OTHER = "has 2 values, but must have one", "has 0 values, but must have one", "has the type {}, but must be {}"
TEXT, INTEGER, FLOAT = "bytes_list", "int64_list", "float_list"


def twice(feature, kind):
    values = getattr(feature, kind).value
    values.extend(list(values))


def none(feature, kind):
    feature.Clear()
    getattr(feature, kind).SetInParent()


def of_another_type(feature, kind):
    feature.Clear()
    feature.MergeFrom(tf.train.Feature(int64_list=tf.train.Int64List(value=[5])) if kind != INTEGER else text(b"5"))


def text(value):
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


@pytest.mark.parametrize(
    ("record", "key", "kind", "change", "expected"),
    [
        ("semantic", records.IMAGE, TEXT, twice, TWICE),
        ("semantic", records.LABELS, TEXT, twice, TWICE),
        ("semantic", records.SOURCE_ID, TEXT, none, NONE),
        ("semantic", records.FILENAME, TEXT, of_another_type, OTHER.format(INTEGER, TEXT)),
        ("instances", records.IMAGE, TEXT, twice, TWICE),
        ("instances", instance_records.FRAMES, TEXT, twice, TWICE),
        ("instances", records.HEIGHT, INTEGER, twice, TWICE),
        ("instances", records.FILENAME, TEXT, none, NONE),
        ("instances", records.SOURCE_ID, TEXT, of_another_type, OTHER.format(INTEGER, TEXT)),
        ("empty", instance_records.XMIN, FLOAT, of_another_type, OTHER.format(INTEGER, FLOAT)),
        ("empty", instance_records.IS_CROWD, INTEGER, of_another_type, OTHER.format(TEXT, INTEGER)),
    ],
)
def test_what_the_parser_refuses_has_a_fault(record, key, kind, change, expected):
    serialized, parse, inspect = KINDS[record]
    assert inspect(serialized)[1] == []
    example = tf.train.Example.FromString(serialized)
    change(example.features.feature[key], kind)
    changed = example.SerializeToString()
    with pytest.raises(tf.errors.InvalidArgumentError):
        parse(tf.constant(changed))
    assert inspect(changed)[1] == [f"{key} {expected}; convert this image again"]


@pytest.mark.parametrize("serialized", [b"\xff\xac\xfe", b"\n\xac\xac"])
def test_counting_names_the_file_of_a_record_that_is_no_text(serialized, tmp_path):
    """TensorFlow quotes it in its message, which then cannot be decoded."""
    path = str(tmp_path / "a.tfrecord")
    with tf.io.TFRecordWriter(path) as writer:
        writer.write(serialized)
    with pytest.raises(ValueError, match="a.tfrecord: record 0: is not a tf.Example") as error:
        instance_counts.count([path])
    assert not isinstance(error.value, UnicodeDecodeError)
