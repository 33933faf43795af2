"""Records of images with a class for every pixel: encoding, decoding, and validation."""

import dataclasses
import io

import numpy as np
import PIL.Image
import tensorflow as tf

from tpuseg.data import records
from tpuseg.data.examples import SemanticExample
from tpuseg.io import image_files, label_png
from tpuseg.utils.messages import format_count

LABELS = "image/segmentation/class/encoded"
LABELS_FORMAT = "image/segmentation/class/format"
# The features that `parse_semantic` reads.
_TEXTS = (records.IMAGE, LABELS, records.SOURCE_ID, records.FILENAME)
_CONVERT = "convert this data set with data/voc_to_tfrecord.py"


def encode_semantic(example: SemanticExample) -> bytes:
    """Returns the serialized tf.Example."""
    labels = {LABELS: records.bytes_feature(example.labels), LABELS_FORMAT: records.bytes_feature("png")}
    return records.serialize({**records.image_features(example), **labels})


def parse_semantic(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
    """Parses a record in a graph; images stay encoded.

    Args:
      serialized: scalar string.

    Returns:
      `image`, `labels` (empty if the record has none) and `source_id` (the file name if there is no id), scalar strings.
    """
    text = tf.io.FixedLenFeature([], tf.string, "")
    parsed = tf.io.parse_single_example(serialized, {key: text for key in _TEXTS})
    return {"image": parsed[records.IMAGE], "labels": parsed[LABELS], "source_id": records.name_of(parsed)}


def decode_labels(encoded: tf.Tensor) -> tf.Tensor:
    """Returns [H, W] uint8 class ids from a PNG."""
    return tf.squeeze(tf.io.decode_png(encoded, channels=1), -1)


def inspect_semantic(
    serialized: bytes, num_classes: int | None, ignore_label: int, num_channels: int | None = None
) -> tuple[str, list[str]]:
    """Finds all faults of a record.

    Args:
      serialized: the tf.Example.
      num_classes: class ids must be below this number; None allows all.
      ignore_label: the label of ignored pixels, which is also allowed.
      num_channels: required number of channels; None accepts the number in the record.

    Returns:
      The image's source id, and one sentence for each fault.
    """
    return _examine_semantic(serialized, num_classes, ignore_label, num_channels)[:2]


def _examine_semantic(
    serialized: bytes, num_classes: int | None, ignore_label: int, num_channels: int | None = None
) -> tuple[str, list[str], np.ndarray | None]:
    """Returns what `inspect_semantic` does, and the values of the mask; None if it cannot be decoded."""
    try:
        feature = records.features_of(serialized)
    except ValueError as error:
        return "", [str(error)], None
    source_id = records.source_id_of(feature)
    try:
        records.check_values(feature, {**dict.fromkeys(_TEXTS, "bytes_list"), records.CHANNELS: "int64_list"})
    except ValueError as error:
        return source_id, [str(error)], None
    faults: list[str] = []
    image = records.decode_for_training(
        records.first_bytes(feature, records.IMAGE), "image", faults, records.channels_of(feature, num_channels, faults)
    )
    labels = records.decode_with_pillow(records.first_bytes(feature, LABELS), "mask", faults)
    if image is not None and labels is not None and image.shape[:2] != labels.shape[:2]:
        faults.append(f"the mask is {_size(labels)}, the image {_size(image)}")
    if labels is None:
        return source_id, faults, None
    misread = _misread(records.first_bytes(feature, LABELS), labels)
    if misread:
        faults.append(misread)
    elif num_classes is not None:
        wrong = sorted(set(np.unique(labels).tolist()) - set(range(num_classes)) - {ignore_label})
        if wrong:
            pixels = int(np.isin(labels, wrong).sum())
            faults.append(
                f"the mask has {format_count(pixels, 'pixel')} of value {', '.join(map(str, wrong[:5]))}, which is neither one of"
                f" the {num_classes} classes nor the ignore label {ignore_label}"
            )
    return source_id, faults, labels


def _misread(encoded: bytes, labels: np.ndarray) -> str | None:
    """Returns a fault if `decode_labels`, which training uses, returns values that differ from those in the file."""
    if labels.ndim != 2:
        return "the mask has colours instead of one class id per pixel"
    with PIL.Image.open(io.BytesIO(encoded), formats=image_files.formats()) as image:
        kind, is_png = label_png.describe(image, encoded), image.format == "PNG"
    if not is_png:
        return f"the mask is a {kind}, not a PNG; {_CONVERT}"
    try:
        read = decode_labels(tf.constant(encoded)).numpy()
    except tf.errors.InvalidArgumentError as error:
        return f"the mask is a {kind} that training cannot decode ({error.message.splitlines()[0]}); {_CONVERT}"
    if np.array_equal(read, labels):
        return None
    return f"the mask is a {kind}, which training would decode to {_few(read)} instead of {_few(labels)}; {_CONVERT}"


def _few(labels: np.ndarray) -> str:
    found = np.unique(labels).tolist()
    return ", ".join(map(str, found[:5])) + (", ..." if len(found) > 5 else "")


def _size(array: np.ndarray) -> str:
    return f"{array.shape[1]}x{array.shape[0]}"


@dataclasses.dataclass
class SemanticReport(records.ShardReport):
    """The contents of one shard of semantic records.

    Attributes:
      pixels: [256] int64 number of pixels of each label value.
      images: [256] int64 number of images in which each label value occurs.
    """

    pixels: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(256, np.int64))
    images: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(256, np.int64))


def inspect_file(path: str, num_classes: int | None, ignore_label: int) -> SemanticReport:
    """Reads a whole file of records and reports every fault."""
    report = SemanticReport(path)

    def add(labels: np.ndarray) -> None:
        counts = np.bincount(labels.ravel(), minlength=256).astype(np.int64)
        report.pixels += counts
        report.images += counts > 0

    records.inspect_records(report, lambda record: _examine_semantic(record, num_classes, ignore_label), add)
    return report
