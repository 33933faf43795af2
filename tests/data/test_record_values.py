"""Records that Python reads but TensorFlow's parser refuses: inspection must name what training would stop at."""

import io

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
from instance_examples import object_of, record_of

from tpuseg.configs import schema
from tpuseg.convert.images import png
from tpuseg.data import instance_counts, instance_records, pipeline, records, semantic_records
from tpuseg.data.examples import SemanticExample


def semantic_record():
    image, labels = np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint8)
    encoded = (png(PIL.Image.fromarray(values)) for values in (image, labels))
    return semantic_records.encode_semantic(SemanticExample(next(encoded), "png", 4, 4, "a", "a.png", next(encoded)))


KINDS = {
    "semantic": (
        semantic_record(),
        semantic_records.parse_semantic,
        lambda record: semantic_records.inspect_semantic(record, 3, 255),
    ),
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
        ("semantic", semantic_records.LABELS, TEXT, twice, TWICE),
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


@pytest.mark.parametrize("record", ["semantic", "instances"])
@pytest.mark.parametrize("cut", [1, 12], ids=["last checksum", "last chunk"])
def test_an_image_that_only_pillow_decodes_has_a_fault(record, cut):
    serialized, _, inspect = KINDS[record]
    example = tf.train.Example.FromString(serialized)
    encoded = example.features.feature[records.IMAGE].bytes_list.value
    encoded[0] = encoded[0][:-cut]
    assert PIL.Image.open(io.BytesIO(encoded[0])).convert("RGB").size
    (fault,) = inspect(example.SerializeToString())[1]
    assert fault == f"the image cannot be decoded (Invalid PNG data, size {len(encoded[0])})"


def test_a_failed_read_of_damaged_masks_names_the_record(tmp_path):
    """Decompression raises the error of a file that is cut off, although the file is whole."""
    example = tf.train.Example.FromString(KINDS["instances"][0])
    example.features.feature[instance_records.FRAMES].bytes_list.value[0] = b"no zlib"
    path = str(tmp_path / "a.tfrecord")
    with tf.io.TFRecordWriter(path) as writer:
        writer.write(KINDS["instances"][0])
        writer.write(example.SerializeToString())
    dataset = tf.data.TFRecordDataset(path).map(instance_records.parse_instances)
    with pytest.raises(tf.errors.DataLossError) as error:
        list(dataset)
    explained = pipeline.explain(error.value, schema.DataConfig(input_path=path), "", KINDS["instances"][2])
    assert explained.startswith(f"{path}: record 1 (7): ") and len(explained.splitlines()) == 2
