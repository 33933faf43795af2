"""Records of images with objects: the Model Garden's keys for detection with masks, and additional compact keys.

The Model Garden's keys contain what its own converter writes: boxes as fractions of the image, the category ids of the data set as
labels, and a full-size PNG for each object. This package reads its own keys instead: classes numbered from 0 without gaps, in the
order of the ids; box masks for training; and for evaluation without the annotation file, run lengths, and boxes and areas in the
precision of the annotations.

Shapes: N objects of an image, including ignored regions, in the order of the annotations.
"""

import collections
import dataclasses
import re
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from tpuseg.data import records, semantic_records
from tpuseg.data.examples import Category, Instance, InstanceExample
from tpuseg.ops import box_masks, masks

XMIN = "image/object/bbox/xmin"
XMAX = "image/object/bbox/xmax"
YMIN = "image/object/bbox/ymin"
YMAX = "image/object/bbox/ymax"
LABEL = "image/object/class/label"
TEXT = "image/object/class/text"
IS_CROWD = "image/object/is_crowd"
AREA = "image/object/area"
MASK = "image/object/mask"
# The following keys are specific to this package.
CLASS = "image/object/class/index"
FRAMES = "image/object/mask/frames"
COUNTS = "image/object/mask/counts"
ANNOTATED = "image/object/annotated"
# `int` or `str`, only if the text of the id does not determine it: "000001" and "1" as strings, negative numbers.
ID_TYPE = "image/source_id/type"
# The features that `parse_instances` reads; those of `_SINGLE_KINDS` have exactly one value.
_SINGLE_KINDS = {
    **dict.fromkeys((records.IMAGE, records.SOURCE_ID, records.FILENAME, FRAMES), "bytes_list"),
    **dict.fromkeys((records.HEIGHT, records.WIDTH, records.CHANNELS), "int64_list"),
}
_LIST_KINDS = {**dict.fromkeys((YMIN, XMIN, YMAX, XMAX), "float_list"), **dict.fromkeys((CLASS, IS_CROWD), "int64_list")}
# Larger numbers are damaged, and would lead to excessive memory use.
_LARGEST_CLASS = 2**20
_LARGEST_SIDE = 2**16
_LARGEST_NUMBER = 1e15


def _floats(values: Iterable[float]) -> tf.train.Feature:
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def encode_instances(example: InstanceExample) -> bytes:
    """Returns the serialized tf.Example."""
    instances = example.instances
    boxes = np.array([instance.box for instance in instances]).reshape(-1, 4)
    shares = boxes / [example.height, example.width, example.height, example.width]
    annotated = [[*instance.annotated_box, instance.annotated_area] for instance in instances]
    feature = {
        **records.image_features(example),
        **{key: _floats(shares[:, axis]) for axis, key in enumerate((YMIN, XMIN, YMAX, XMAX))},
        LABEL: records.int_feature(instance.category.id for instance in instances),
        TEXT: records.bytes_feature(*(instance.category.name.encode() for instance in instances)),
        IS_CROWD: records.int_feature(int(instance.is_crowd) for instance in instances),
        AREA: _floats(instance.annotated_area for instance in instances),
        MASK: records.bytes_feature(*(instance.png for instance in instances)),
        CLASS: records.int_feature(instance.class_index for instance in instances),
        FRAMES: records.bytes_feature(masks.pack_frames([instance.frame for instance in instances])),
        COUNTS: records.bytes_feature(*(instance.runs["counts"] for instance in instances)),
        ANNOTATED: records.bytes_feature(np.array(annotated, "<f8").tobytes()),
        **({ID_TYPE: records.bytes_feature(example.id_type.encode())} if example.id_type else {}),
    }
    return records.serialize(feature)


def parse_instances(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
    """Parses a record in a graph, for training; the image stays encoded.

    Args:
      serialized: scalar string.

    Returns:
      `image` and `source_id` (the file name if there is no id), scalar strings; `size`, [2] int32, height and width;
      `boxes`, [N, 4] float32 yxyx in pixels; `classes`, [N] int32 from 0; `is_crowd`, [N] bool; `masks`, [N, 56, 56] uint8 box
      masks, 255 where the object covers a cell.
    """
    text, number = tf.io.FixedLenFeature([], tf.string, ""), tf.io.FixedLenFeature([], tf.int64, 0)
    floats = tf.io.FixedLenSequenceFeature([], tf.float32, allow_missing=True)
    ints = tf.io.FixedLenSequenceFeature([], tf.int64, allow_missing=True)
    features = {
        **{key: text for key in (records.IMAGE, records.SOURCE_ID, records.FILENAME, FRAMES)},
        **{key: number for key in (records.HEIGHT, records.WIDTH)},
        **{key: floats for key in (YMIN, XMIN, YMAX, XMAX)},
        **{key: ints for key in (CLASS, IS_CROWD)},
    }
    parsed = tf.io.parse_single_example(serialized, features)
    size = tf.stack([parsed[records.HEIGHT], parsed[records.WIDTH]])
    shares = tf.stack([parsed[key] for key in (YMIN, XMIN, YMAX, XMAX)], axis=1)
    return {
        "image": parsed[records.IMAGE],
        "source_id": records.name_of(parsed),
        "size": tf.cast(size, tf.int32),
        "boxes": shares * tf.cast(tf.tile(size, [2]), tf.float32),
        "classes": tf.cast(parsed[CLASS], tf.int32),
        "is_crowd": parsed[IS_CROWD] > 0,
        "masks": box_masks.unpack(parsed[FRAMES]),
    }


def read_instances(serialized: bytes) -> InstanceExample:
    """Reads a record that `encode_instances` has written, without a graph.

    Raises:
      ValueError: the record is damaged, or was written by another converter; the message names the missing feature.
    """
    return _read(records.features_of(serialized))


def _read(feature: Any) -> InstanceExample:
    """Returns what the features of a record hold; see `read_instances`."""
    _check_keys(feature)
    records.check_values(feature, _SINGLE_KINDS, _LIST_KINDS)
    lists = {key: feature[key].bytes_list.value for key in (TEXT, COUNTS, MASK)}
    labels, classes, crowds = (feature[key].int64_list.value for key in (LABEL, CLASS, IS_CROWD))
    annotated = _annotated(records.first_bytes(feature, ANNOTATED))
    shares = [feature[key].float_list.value for key in (YMIN, XMIN, YMAX, XMAX)]
    cells = masks.read_frames(records.first_bytes(feature, FRAMES), len(labels))
    height, width = _image_size(feature)
    counts = {len(labels), len(classes), len(crowds), len(annotated) / 5, len(cells), *map(len, lists.values()), *map(len, shares)}
    if len(counts) > 1:
        raise ValueError(f"the lists of objects have different lengths, from {min(counts):g} to {max(counts):g}")
    wrong = [number for number in classes if not 0 <= number <= _LARGEST_CLASS]
    if wrong:
        raise ValueError(f"an object has the class index {wrong[0]}; they count from 0")
    rows = annotated.reshape(-1, 5)
    boxes = np.array(shares, np.float64).T * [height, width, height, width]
    instances = [
        Instance(
            category=Category(int(labels[i]), lists[TEXT][i].decode(errors="replace")),
            class_index=int(classes[i]),
            is_crowd=bool(crowds[i]),
            box=boxes[i],
            annotated_box=rows[i, :4],
            annotated_area=float(rows[i, 4]),
            runs={"size": [height, width], "counts": lists[COUNTS][i]},
            frame=cells[i],
            png=lists[MASK][i],
        )
        for i in range(len(labels))
    ]
    return InstanceExample(
        image=records.first_bytes(feature, records.IMAGE),
        image_format=records.first_bytes(feature, records.FORMAT).decode(errors="replace"),
        height=height,
        width=width,
        source_id=records.source_id_of(feature),
        filename=records.first_bytes(feature, records.FILENAME).decode(errors="replace"),
        instances=instances,
        id_type=_id_type(feature),
        num_channels=records.num_channels_of(feature),
        origin=records.origin_of(feature),
    )


def read_file(path: str) -> Iterator[InstanceExample]:
    """Yields the examples of a file, whose masks are checked.

    Raises:
      ValueError: the file or a record is damaged; the message names file and record.
    """
    number = -1
    try:
        for record in records.read_raw(path):
            number += 1
            example = read_instances(record)
            for instance in example.instances:
                # pycocotools does not check run lengths, and damaged ones would make it access memory out of bounds.
                masks.run_lengths(instance.runs, example.height, example.width)
            yield example
    except ValueError as error:
        raise ValueError(f"{path}: record {number} {error}") from error
    except tf.errors.DataLossError as error:
        raise ValueError(f"{path}: damaged or truncated at record {number + 1}; convert again to rewrite this file") from error


def _annotated(raw: bytes) -> np.ndarray:
    """Returns the annotated boxes and areas, 5 numbers per object."""
    if len(raw) % 8:
        raise ValueError(f"the annotated boxes and areas ({ANNOTATED}) are damaged: {len(raw)} bytes")
    numbers = np.frombuffer(raw, "<f8")
    if not (np.abs(numbers) < _LARGEST_NUMBER).all():
        raise ValueError("an annotated box or area is not a finite number")
    return numbers


def _image_size(feature: dict[str, tf.train.Feature]) -> tuple[int, int]:
    """Returns height and width; raises ValueError for impossible sizes."""
    height, width = (int(feature[key].int64_list.value[0]) for key in (records.HEIGHT, records.WIDTH))
    if min(height, width) < 1 or max(height, width) > _LARGEST_SIDE:
        raise ValueError(f"the image's size is {width}x{height}, but sides must have 1 to {_LARGEST_SIDE} pixels")
    return height, width


def _id_type(feature: dict[str, tf.train.Feature]) -> str:
    """Returns the type of the image's id; raises ValueError if it does not match the id."""
    kind, text = (records.first_bytes(feature, key).decode(errors="replace") for key in (ID_TYPE, records.SOURCE_ID))
    if kind not in ("", "int", "str"):
        raise ValueError(f"the type of the image's id is `{kind[:20]}`, but must be int or str")
    if kind == "int" and not re.fullmatch(r"-?[0-9]{1,40}", text):
        raise ValueError(f"the image's id `{text[:50]}` is not a whole number, but its type is int")
    return kind


def _check_keys(feature: dict[str, tf.train.Feature]) -> None:
    """Raises ValueError if features that this package needs are missing."""
    if semantic_records.LABELS in feature and LABEL not in feature:
        raise ValueError("has a class for every pixel instead of objects; it is a record for DeepLab")
    if not all(key in feature and feature[key].int64_list.value for key in (records.HEIGHT, records.WIDTH)):
        raise ValueError("the image's height and width are missing")
    missing = [key for key in (CLASS, FRAMES, COUNTS, ANNOTATED) if key not in feature]
    if missing:
        what = "has objects without masks" if not records.first_bytes(feature, MASK) else "was written by another converter"
        raise ValueError(f"{what} ({missing[0]} is missing); convert the data set with data/coco_to_tfrecord.py")


def inspect_instances(serialized: bytes, num_classes: int | None, num_channels: int | None = None) -> tuple[str, list[str]]:
    """Finds all faults of a record, without a graph.

    Args:
      serialized: the tf.Example.
      num_classes: class indices must be below this number; None allows all.
      num_channels: required number of channels; None accepts the number in the record.

    Returns:
      The image's source id, and one sentence for each fault.
    """
    return _examine(serialized, num_classes, num_channels)[:2]


def _examine(
    serialized: bytes, num_classes: int | None, num_channels: int | None = None
) -> tuple[str, list[str], InstanceExample | None]:
    """Returns what `inspect_instances` does, and the example; None if it cannot be read."""
    try:
        feature = records.features_of(serialized)
    except ValueError as error:
        return "", [str(error)], None
    try:
        example = _read(feature)
    except ValueError as error:
        return records.source_id_of(feature), [str(error)], None
    faults: list[str] = []
    image = records.decode_for_training(example.image, "image", faults, records.channels_of(feature, num_channels, faults))
    if image is not None and image.shape[:2] != (example.height, example.width):
        faults.append(f"the image is {image.shape[1]}x{image.shape[0]}, the record says {example.width}x{example.height}")
    for number, instance in enumerate(example.instances):
        where = f"object {number} ({instance.category.name})"
        faults += [f"{where}: {fault}" for fault in _object_faults(instance, example, num_classes)]
    return example.source_id, faults, example


@dataclasses.dataclass
class InstanceReport(records.ShardReport):
    """The contents of one shard of records with objects.

    Attributes:
      objects: number of objects by category name, without ignored regions.
      images: number of images with objects, by category name.
      sizes: numbers of objects below 32 x 32 pixels, below 96 x 96 pixels, and larger ones, by their annotated areas.
      num_crowds: number of ignored regions.
      num_empty: number of images without objects.
      most_objects: largest number of objects in an image.
    """

    objects: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    images: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    sizes: list[int] = dataclasses.field(default_factory=lambda: [0, 0, 0])
    num_crowds: int = 0
    num_empty: int = 0
    most_objects: int = 0

    def add(self, example: InstanceExample) -> None:
        """Counts the objects of an image."""
        found = [instance for instance in example.instances if not instance.is_crowd]
        names = [instance.category.name for instance in found]
        self.objects.update(names)
        self.images.update(set(names))
        for instance in found:
            self.sizes[(instance.annotated_area >= 32**2) + (instance.annotated_area >= 96**2)] += 1
        self.num_crowds += len(example.instances) - len(found)
        self.num_empty += not found
        self.most_objects = max(self.most_objects, len(found))


def inspect_file(path: str, num_classes: int | None) -> InstanceReport:
    """Reads a whole file of records and reports every fault."""
    report = InstanceReport(path)
    records.inspect_records(report, lambda record: _examine(record, num_classes), report.add)
    return report


def holds_instances(path: str) -> bool:
    """Returns whether the first record of a file contains objects instead of a class for every pixel."""
    try:
        example = tf.train.Example.FromString(next(iter(records.read_raw(path))))
    except Exception:  # The inspection of the file reports the fault.
        return False
    return LABEL in example.features.feature or CLASS in example.features.feature


def _object_faults(instance: Instance, example: InstanceExample, num_classes: int | None) -> list[str]:
    faults = []
    if num_classes is not None and not 0 <= instance.class_index < num_classes:
        faults.append(f"its class index is {instance.class_index}, but the number of classes is {num_classes}")
    y0, x0, y1, x1 = instance.box
    shown = f"({', '.join(f'{value:.1f}' for value in instance.box)})"
    if not np.isfinite(instance.box).all() or y1 <= y0 or x1 <= x0:
        faults.append(f"its box {shown} is empty")
    elif min(y0, x0) < 0 or y1 > example.height + 1e-3 or x1 > example.width + 1e-3:
        faults.append(f"its box {shown} reaches out of the image of {example.width}x{example.height}")
    try:
        runs = masks.run_lengths(instance.runs, example.height, example.width)
    except ValueError as error:
        return [*faults, str(error)]
    if not masks.area(runs):
        faults.append("its mask is empty")
    mask = records.decode_with_pillow(instance.png, "mask", faults)
    if mask is not None and (mask.shape != (example.height, example.width) or ((mask > 0) != masks.decode(runs)).any()):
        faults.append("its PNG mask differs from its run lengths")
    return faults
