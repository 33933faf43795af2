"""Fuzz tests of records of instances: what inspection, evaluation and the training input make of damaged ones."""

import struct
import zlib

import numpy as np
import outcomes
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st
from instance_examples import object_of, record_of, settings

from tpuseg import registry
from tpuseg.data import instance_counts, instance_records, pipeline, records
from tpuseg.evaluation import coco

# Each case starts two input pipelines: a quarter of the others' cases.
FEWER = profile(max_examples=profile().max_examples // 4)
NAME = "train-00000-of-00001.tfrecord"
KEYS = sorted(
    {
        *(records.IMAGE, records.FORMAT, records.HEIGHT, records.WIDTH, records.SOURCE_ID, records.FILENAME),
        *(instance_records.XMIN, instance_records.XMAX, instance_records.YMIN, instance_records.YMAX),
        *(instance_records.LABEL, instance_records.TEXT, instance_records.IS_CROWD, instance_records.AREA),
        *(instance_records.MASK, instance_records.CLASS, instance_records.FRAMES, instance_records.COUNTS),
        *(instance_records.ANNOTATED, instance_records.ID_TYPE),
    }
)
FRAME = 56 * 56
# Values of each kind that records must not have, and some that they may.
INTEGERS = st.sampled_from([0, 1, -1, 2, 5, 96, 2**31, 2**62, -(2**62)]) | st.integers(-(2**63), 2**63 - 1)
FLOATS = st.sampled_from([0.0, 0.5, 1.0, -1.0, 2.0, 1e30, float("nan"), float("inf")]) | st.floats(width=32)
BYTES = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [
            *(b"", b"int", b"str", b"01", b"000001", b"\xff\xfe", b"0" * 100, b"P" * 50, b"`P1"),
            zlib.compress(bytes(FRAME)),
            zlib.compress(bytes(3 * FRAME)),
            zlib.compress(bytes(FRAME))[:-3],
            zlib.compress(bytes(FRAME - 1)),
            struct.pack("<5d", 1, 2, 3, 4, 5),
            struct.pack("<5d", *[float("nan")] * 5),
            struct.pack("<15d", *[1e300] * 15),
        ]
    ),
)
CHANGES = st.one_of(
    st.tuples(st.just("remove"), st.sampled_from(KEYS)),
    st.tuples(st.just("shorten"), st.sampled_from(KEYS)),
    st.tuples(st.just("repeat"), st.sampled_from(KEYS)),
    st.tuples(st.just("set"), st.sampled_from(KEYS), st.integers(0, 2), INTEGERS | FLOATS | BYTES),
    st.tuples(st.just("damage"), st.sampled_from(KEYS), st.integers(0, 400), st.integers(0, 255)),
    st.tuples(st.just("whole"), st.sampled_from(KEYS), st.lists(INTEGERS, max_size=4) | st.lists(FLOATS, max_size=4) | BYTES),
)


def whole_record():
    boxes = [(24, 12, 60, 30), (100, 50, 40, 40), (10, 60, 50, 20)]
    return record_of([object_of(box, number % 2, number == 2) for number, box in enumerate(boxes)])


GOOD = whole_record()


def values_of(feature):
    kind = feature.WhichOneof("kind")
    return getattr(feature, kind).value if kind else feature.bytes_list.value


def put(feature, values):
    feature.Clear()
    if all(isinstance(value, bytes) for value in values):
        feature.bytes_list.value.extend(values)
    elif all(isinstance(value, int) for value in values):
        feature.int64_list.value.extend(values)
    else:
        feature.float_list.value.extend(np.float32(value) for value in values)


def changed(changes):
    """The good record after some changes of its features."""
    example = tf.train.Example.FromString(GOOD)
    features = example.features.feature
    for kind, key, *rest in changes:
        values = list(values_of(features[key]))
        if kind == "remove":
            del features[key]
        elif kind == "shorten":
            put(features[key], values[:-1])
        elif kind == "repeat":
            put(features[key], values + values[:1])
        elif kind == "set" and values:
            place, value = rest
            values[place % len(values)] = value
            put(features[key], values if len({type(one) for one in values}) == 1 else [value] * len(values))
        elif kind == "damage" and values and isinstance(values[0], bytes) and values[0]:
            place, byte = rest
            raw = bytearray(values[0])
            raw[place % len(raw)] = byte
            put(features[key], [bytes(raw), *values[1:]])
        elif kind == "whole":
            put(features[key], rest[0] if isinstance(rest[0], list) else [rest[0]])
    return example.SerializeToString()


def write(path, *serialized):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in serialized:
            writer.write(record)


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """The task, its training batches and its evaluation batches, of a file that every case writes anew."""
    folder = tmp_path_factory.mktemp("records")
    write(folder / NAME, GOOD, GOOD)
    more = f"task.train_data.input_path={NAME},task.validation_data.input_path={NAME},task.validation_data.global_batch_size=2"
    task = registry.architectures.get("maskrcnn").task_class(settings(more), data_dir=str(folder))
    return folder / NAME, task, task.training_inputs(None, 0), task.evaluation_inputs(None)


def batch_or_error(task, dataset, path):
    """Whether a batch can be made; the error must be one line that names file and record."""
    with outcomes.time_limit(20):
        try:
            next(iter(dataset))
        except (tf.errors.OpError, UnicodeDecodeError) as error:
            line = task.explain_input_error(error)
            assert line and str(path) in line and "record " in line, f"{error!r:.500} -> {line}"
            return False
    return True


def evaluate(path):
    """Reads the truth, gives it back and evaluates it."""
    categories, truths = coco.read_truth([str(path)])
    evaluator = coco.CocoEvaluator(categories, truths)
    for index, truth in enumerate(truths):
        places = [number for number, row in enumerate(truth.annotations) if not row["iscrowd"]]
        classes = [[one.id for one in categories].index(truth.annotations[number]["category_id"]) for number in places]
        rows = [{**truth.annotations[number], "score": 0.5} for number in places]
        evaluator.detections[index] = rows if classes else []
    return evaluator.metrics()


def check(reader, *serialized):
    path, task, training, evaluation = reader
    write(path, *serialized)
    report = instance_records.inspect_file(str(path), task.task_config.model.num_classes)
    assert all(fault.startswith(f"{path}: ") and len(fault.splitlines()) == 1 and len(fault) < 500 for fault in report.faults)
    outcomes.result_or_error(lambda: instance_counts.count([str(path)]), str(path))
    conflict = f"{path}: class "  # Records that name a class differently; no single one of them is at fault.
    metrics, message = outcomes.result_or_error(lambda: evaluate(path), f"{path}: record ", conflict)
    trains, evaluates = (batch_or_error(task, dataset, path) for dataset in (training, evaluation))
    if not report.faults:  # What inspection finds nothing wrong with must work.
        assert trains and evaluates and (metrics or message.startswith(conflict)), message
    return report.faults


def test_the_whole_record_works(reader):
    assert check(reader, GOOD, GOOD) == []


@FEWER
@given(st.lists(CHANGES, min_size=1, max_size=3))
def test_changed_features(reader, changes):
    check(reader, GOOD, changed(changes))


@FEWER
@given(st.data())
def test_damaged_bytes_of_a_record(reader, data):
    raw = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    check(reader, bytes(raw[: data.draw(st.integers(0, len(raw)))] if data.draw(st.booleans()) else raw), GOOD)


@FEWER
@given(st.data())
def test_damaged_files(reader, data):
    path, task, training, _ = reader
    write(path, GOOD, GOOD)
    raw = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(raw) - 1))
    if data.draw(st.booleans()):
        raw = raw[:place]
    else:
        raw[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(bytes(raw))
    report = instance_records.inspect_file(str(path), 5)
    assert all(fault.startswith(f"{path}: ") for fault in report.faults)
    outcomes.result_or_error(lambda: instance_counts.count([str(path)]), str(path))
    outcomes.result_or_error(lambda: pipeline.examples_per_file([str(path)]), str(path))
    outcomes.result_or_error(lambda: evaluate(path), str(path))
    if raw:  # An empty file has no batch at all, which counting the records says.
        batch_or_error(task, training, path)
