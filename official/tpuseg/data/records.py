"""The records on disk: tf.Example with the Model Garden's keys. Encoding, decoding, and finding what is wrong with one."""

import concurrent.futures
import dataclasses
import io
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import PIL.Image
import tensorflow as tf

from tpuseg.data import summaries
from tpuseg.io import files, image_channels, image_files, label_png
from tpuseg.utils.error_text import first_line
from tpuseg.utils.messages import counted

IMAGE = "image/encoded"
FORMAT = "image/format"
HEIGHT = "image/height"
WIDTH = "image/width"
# Only in records of another number of channels than 3.
CHANNELS = "image/channels"
SOURCE_ID = "image/source_id"
FILENAME = "image/filename"
LABELS = "image/segmentation/class/encoded"
LABELS_FORMAT = "image/segmentation/class/format"

# Of the decoders of training, evaluation and exported models alike: what Pillow uses, and with it prediction.
_JPEG_TRANSFORM = "INTEGER_ACCURATE"
_SHARD = re.compile(r"-\d{5}-of-\d{5}\.tfrecord$")
# Behind a message of TensorFlow.
_OPERATION = re.compile(r" \[Op:.*")
# What `parse_semantic` reads.
_SEMANTIC_KINDS = dict.fromkeys((IMAGE, LABELS, SOURCE_ID, FILENAME), "bytes_list")
_CONVERT = "convert this data set with data/voc_to_tfrecord.py"


@dataclasses.dataclass(frozen=True)
class SemanticExample:
    """One image with a class for every pixel.

    Attributes:
      image: the encoded JPEG or PNG.
      image_format: `jpeg` or `png`.
      height: of the image.
      width: of the image.
      source_id: what people know the image by.
      filename: of the image.
      labels: PNG with one 8-bit class id a pixel.
      num_channels: of the image; `image_channels` says how other numbers than 3 are encoded.
    """

    image: bytes
    image_format: str
    height: int
    width: int
    source_id: str
    filename: str
    labels: bytes
    num_channels: int = 3


def _bytes(value: bytes | str) -> tf.train.Feature:
    raw = value.encode() if isinstance(value, str) else value
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[raw]))


def _int(value: int) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))


def encode_semantic(example: SemanticExample) -> bytes:
    """Returns the serialized tf.Example."""
    feature = {
        IMAGE: _bytes(example.image),
        FORMAT: _bytes(example.image_format),
        HEIGHT: _int(example.height),
        WIDTH: _int(example.width),
        SOURCE_ID: _bytes(example.source_id),
        FILENAME: _bytes(example.filename),
        LABELS: _bytes(example.labels),
        LABELS_FORMAT: _bytes("png"),
        **({CHANNELS: _int(example.num_channels)} if example.num_channels != image_channels.RGB else {}),
    }
    # Deterministic, so that the same data set gives the same files.
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString(deterministic=True)


def parse_semantic(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
    """Parses a record in a graph; images stay encoded.

    Args:
      serialized: scalar string.

    Returns:
      `image`, `labels` (empty where the record has none) and `source_id` (the file name where there is no id), scalar strings.
    """
    text = tf.io.FixedLenFeature([], tf.string, "")
    parsed = tf.io.parse_single_example(serialized, {key: text for key in (IMAGE, LABELS, SOURCE_ID, FILENAME)})
    return {"image": parsed[IMAGE], "labels": parsed[LABELS], "source_id": name_of(parsed)}


def check_values(feature: Any, single: Mapping[str, str], lists: Mapping[str, str] | None = None) -> None:
    """Raises ValueError for values that TensorFlow's parser refuses, although Python's reads the record.

    Args:
      feature: of a tf.Example, by key; absent keys are not looked at.
      single: keys that have one value, with its kind: `bytes_list`, `int64_list` or `float_list`.
      lists: keys that have any number of values, with their kind.
    """
    for key, kind in {**single, **(lists or {})}.items():
        found = feature[key].WhichOneof("kind") if key in feature else None
        if found not in (None, kind):
            raise ValueError(f"{key} has the type {found}, but must be {kind}; convert this image again")
        count = len(getattr(feature[key], kind).value) if found else 1
        if key in single and count != 1:
            raise ValueError(f"{key} has {counted(count, 'value')}, but must have one; convert this image again")


def parse_source_id(serialized: tf.Tensor) -> tf.Tensor:
    """Returns what people know the image of a record of any kind by, scalar string."""
    text = tf.io.FixedLenFeature([], tf.string, "")
    return name_of(tf.io.parse_single_example(serialized, {key: text for key in (SOURCE_ID, FILENAME)}))


def name_of(parsed: dict[str, tf.Tensor]) -> tf.Tensor:
    """Returns the image's id from a record's features, or its file name where there is no id."""
    return tf.where(parsed[SOURCE_ID] == "", parsed[FILENAME], parsed[SOURCE_ID])


def decode_image(encoded: tf.Tensor, num_channels: int = 3) -> tf.Tensor:
    """Decodes the image of a record, as it is stored; the pixels are those of `image_channels.decode`.

    Args:
      encoded: a JPEG, PNG, BMP or GIF; of other numbers of channels than 3, what `image_channels.png` writes, or a file like it.
      num_channels: of the image.

    Returns:
      [H, W, num_channels] uint8.
    """
    if image_channels.is_stacked(num_channels):
        return tf.transpose(_decode_planes(encoded, num_channels), [1, 2, 0])
    if num_channels != image_channels.RGB:
        return _decode_as_it_is(encoded, num_channels)
    image = tf.cond(
        tf.io.is_jpeg(encoded),
        # By default TensorFlow takes the fast discrete cosine transform, which differs from everybody else's by up to 20 shades.
        lambda: tf.io.decode_jpeg(encoded, channels=3, dct_method=_JPEG_TRANSFORM),
        lambda: tf.io.decode_image(encoded, channels=3, expand_animations=False),
    )
    return tf.ensure_shape(image, [None, None, 3])


def _decode_as_it_is(encoded: tf.Tensor, num_channels: int) -> tf.Tensor:
    """Returns [H, W, num_channels] uint8 of an image that has so many channels; a decoder asked for them would make them up."""
    image = tf.cond(
        tf.io.is_jpeg(encoded),
        lambda: tf.io.decode_jpeg(encoded, dct_method=_JPEG_TRANSFORM),
        lambda: tf.io.decode_image(encoded, expand_animations=False),
    )
    return tf.ensure_shape(image, [None, None, num_channels])


def _decode_planes(encoded: tf.Tensor, num_channels: int) -> tf.Tensor:
    """Returns [num_channels, H, W] uint8 of a grey PNG in which the channels lie below each other."""
    stacked = tf.ensure_shape(tf.io.decode_png(encoded), [None, None, 1])
    return tf.reshape(stacked, [num_channels, -1, tf.shape(stacked)[1]])


def decode_image_in_range(encoded: tf.Tensor, pixel_range: Sequence[float], num_channels: int = 3) -> tf.Tensor:
    """Decodes an image file, as far as a graph can; see `image_files.to_eight_bits` for PNGs of 16 bits.

    Args:
      encoded: scalar string. One channel may also be an image in colours that are all grey; four are a PNG with transparency; other
        numbers than 1, 3 and 4 only exist as `image_channels.png` writes them.
      pixel_range: the values that become black and white, or nothing.
      num_channels: of the image.

    Returns:
      [H, W, num_channels] uint8.
    """
    if image_channels.is_stacked(num_channels):
        return decode_image(encoded, num_channels)
    if num_channels == 1:
        return _only_channel(_decode_in_range(encoded, pixel_range, 3))
    return _decode_in_range(encoded, pixel_range, num_channels)


def _only_channel(colors: tf.Tensor) -> tf.Tensor:
    """Returns [H, W, 1] of [H, W, 3] whose channels must be equal."""
    fault = "the image has colours, but this model takes images of one channel"
    with tf.control_dependencies([tf.debugging.assert_equal(colors, colors[..., :1], fault)]):
        return tf.identity(colors[..., :1])


def _decode_in_range(encoded: tf.Tensor, pixel_range: Sequence[float], num_channels: int) -> tf.Tensor:
    if not pixel_range:
        return decode_image(encoded, num_channels)
    low, high = pixel_range
    asked = 3 if num_channels == image_channels.RGB else 0

    def narrowed() -> tf.Tensor:
        values = tf.cast(tf.io.decode_png(encoded, channels=asked, dtype=tf.uint16), tf.float64)
        return tf.cast(tf.clip_by_value(tf.floor((values - low) * (256.0 / (high - low))), 0, 255), tf.uint8)

    # A PNG's header has the bits a channel behind its width and height.
    is_wide = (tf.strings.substr(encoded, 1, 3) == "PNG") & (tf.strings.substr(encoded, 24, 1) == "\x10")
    image = tf.cond(is_wide, narrowed, lambda: decode_image(encoded, num_channels))
    return tf.ensure_shape(image, [None, None, num_channels])


def encoded_size(encoded: tf.Tensor, num_channels: int = 3) -> tf.Tensor:
    """Returns [2] int32, height and width of a record's JPEG or PNG, without decoding it."""
    planes = num_channels if image_channels.is_stacked(num_channels) else 1

    def png() -> tf.Tensor:
        # The header's first fields, width and height, stand behind 16 bytes that are the same in every PNG.
        size = tf.io.decode_raw(tf.strings.substr(encoded, 16, 8), tf.int32, little_endian=False)[::-1]
        return size if planes == 1 else size // [planes, 1]

    return tf.ensure_shape(tf.cond(tf.io.is_jpeg(encoded), lambda: tf.io.extract_jpeg_shape(encoded)[:2], png), [2])


def decode_window(encoded: tf.Tensor, offset: tf.Tensor, extent: tf.Tensor, num_channels: int = 3) -> tf.Tensor:
    """Decodes a part of an image; of a JPEG, only that part.

    Args:
      encoded: a JPEG or PNG.
      offset: [2] int32, the part's top and left.
      extent: [2] int32, its height and width.
      num_channels: see `decode_image`.

    Returns:
      [h, w, num_channels] uint8.
    """
    if image_channels.is_stacked(num_channels):
        stop = offset + extent
        planes = _decode_planes(encoded, num_channels)[:, offset[0] : stop[0], offset[1] : stop[1]]
        return tf.transpose(planes, [1, 2, 0])
    asked = 3 if num_channels == image_channels.RGB else 0

    def other() -> tf.Tensor:
        stop = offset + extent
        return decode_image(encoded, num_channels)[offset[0] : stop[0], offset[1] : stop[1]]

    def jpeg() -> tf.Tensor:
        window = tf.concat([offset, extent], 0)
        return tf.io.decode_and_crop_jpeg(encoded, window, channels=asked, dct_method=_JPEG_TRANSFORM)

    image = tf.cond(tf.io.is_jpeg(encoded), jpeg, other)
    return tf.ensure_shape(image, [None, None, num_channels])


def decode_labels(encoded: tf.Tensor) -> tf.Tensor:
    """Returns [H, W] uint8 class ids from a PNG."""
    return tf.squeeze(tf.io.decode_png(encoded, channels=1), -1)


def summary_path(pattern: str) -> str:
    """Returns where the summary of an input pattern or shard lies: `train.json` for `train-*.tfrecord`."""
    folder, name = os.path.split(pattern)
    stem = _SHARD.sub("", name)
    if stem == name:
        stem = re.sub(r"(-0\d*|[-_.])?[*?\[].*$", "", name).removesuffix(".tfrecord")
    return os.path.join(folder, f"{stem or 'records'}.json")


def read_summary(pattern: str) -> dict[str, Any] | None:
    """Returns what the converter wrote about the records of a pattern, or None for records of other converters.

    Raises:
      ValueError: the file is no such summary, or a damaged one; names it.
    """
    path = summary_path(pattern)
    return summaries.read(path) if files.exists(path) else None


def inspect_semantic(
    serialized: bytes, num_classes: int | None, ignore_label: int, num_channels: int | None = None
) -> tuple[str, list[str]]:
    """Looks for everything that is wrong with one record.

    Args:
      serialized: the tf.Example.
      num_classes: allowed ids are below it; None allows all.
      ignore_label: also allowed.
      num_channels: that images must have; None for what the record says.

    Returns:
      The image's source id, and one sentence for each fault.
    """
    example = tf.train.Example()
    try:
        example.ParseFromString(serialized)
    except Exception:  # Of protobuf's own; which one depends on its implementation.
        return "", ["is not a tf.Example"]
    feature = example.features.feature

    def text(key: str) -> bytes:
        values = feature[key].bytes_list.value if key in feature else ()
        return values[0] if values else b""

    source_id = (text(SOURCE_ID) or text(FILENAME)).decode(errors="replace")
    try:
        check_values(feature, {**_SEMANTIC_KINDS, CHANNELS: "int64_list"})
    except ValueError as error:
        return source_id, [str(error)]
    faults: list[str] = []
    image = decode_for_training(text(IMAGE), "image", faults, channels_of(feature, num_channels, faults))
    labels = decode_with_pillow(text(LABELS), "mask", faults)
    if image is not None and labels is not None and image.shape[:2] != labels.shape[:2]:
        faults.append(f"the mask is {_size(labels)}, the image {_size(image)}")
    if labels is None:
        return source_id, faults
    misread = _misread(text(LABELS), labels)
    if misread:
        faults.append(misread)
    elif num_classes is not None:
        wrong = sorted(set(np.unique(labels).tolist()) - set(range(num_classes)) - {ignore_label})
        if wrong:
            pixels = int(np.isin(labels, wrong).sum())
            faults.append(
                f"the mask has {counted(pixels, 'pixel')} of value {', '.join(map(str, wrong[:5]))}, which is neither one of the"
                f" {num_classes} classes nor the ignore label {ignore_label}"
            )
    return source_id, faults


def _misread(encoded: bytes, labels: np.ndarray) -> str | None:
    """Returns a sentence if `decode_labels`, which training uses, returns other values than those that a mask holds."""
    if labels.ndim != 2:
        return "the mask has colours instead of one class id a pixel"
    with PIL.Image.open(io.BytesIO(encoded), formats=image_files.formats()) as image:
        kind, is_png = label_png.describe(image, encoded), image.format == "PNG"
    if not is_png:
        return f"the mask is a {kind}, not a PNG; {_CONVERT}"
    try:
        read = decode_labels(tf.constant(encoded)).numpy()
    except tf.errors.InvalidArgumentError as error:
        return f"the mask is a {kind} that training cannot read ({error.message.splitlines()[0]}); {_CONVERT}"
    if np.array_equal(read, labels):
        return None
    return f"the mask is a {kind}, in which training reads the values {_few(read)} instead of {_few(labels)}; {_CONVERT}"


def _few(labels: np.ndarray) -> str:
    found = np.unique(labels).tolist()
    return ", ".join(map(str, found[:5])) + (", ..." if len(found) > 5 else "")


def _size(array: np.ndarray) -> str:
    return f"{array.shape[1]}x{array.shape[0]}"


def num_channels_of(feature: Any) -> int:
    """Returns how many channels a record says that its image has; 3 if it says nothing."""
    values = feature[CHANNELS].int64_list.value if CHANNELS in feature else ()
    return values[0] if values else image_channels.RGB


def channels_of(feature: Any, wanted: int | None, faults: list[str]) -> int:
    """Returns how many channels the image of a record is to be decoded with; adds a sentence if the record says another number.

    Args:
      feature: of the tf.Example, whose values have been checked.
      wanted: number of channels; None for what the record says.
      faults: is added to.
    """
    stored = num_channels_of(feature)
    if wanted is not None and CHANNELS in feature and stored != wanted:
        faults.append(f"the image has {counted(stored, 'channel')}, but task.model.num_channels is {wanted}; set it to {stored}")
    elif not 1 <= stored <= image_files.MAX_CHANNELS:
        faults.append(f"the image has {counted(stored, 'channel')}; there can be 1 to {image_files.MAX_CHANNELS}")
        return image_channels.RGB
    return stored if CHANNELS in feature or wanted is None else wanted


def decode_for_training(encoded: bytes, what: str, faults: list[str], num_channels: int = 3) -> np.ndarray | None:
    """Returns [H, W, num_channels] uint8 as training decodes an image; None, and a sentence more in `faults`, if it cannot.

    Pillow forgives some damage that TensorFlow does not; it only looks at the header here, and refuses absurd sizes.
    """
    if not encoded:
        faults.append(f"the {what} is missing")
        return None
    try:
        with PIL.Image.open(io.BytesIO(encoded), formats=image_files.formats()) as image:
            fault = _channel_fault(image, num_channels)
            if fault:
                faults.append(f"the {what} {fault}")
                return None
            return decode_image(tf.constant(encoded), num_channels).numpy()
    except Exception as error:  # Pillow raises many kinds for broken files.
        faults.append(f"the {what} cannot be decoded ({_OPERATION.sub('', first_line(error))})")
        return None


def _channel_fault(image: PIL.Image.Image, num_channels: int) -> str:
    """Returns what is wrong with an image for images of another number of channels than 3; empty if nothing is."""
    if num_channels == image_channels.RGB:
        return ""
    found = len(image.getbands())
    if not image_channels.is_stacked(num_channels):
        wrong = f"has {counted(found, 'channel')} instead of {num_channels}; convert this data set again"
        return "" if found == num_channels else wrong
    if found == 1 and image.height % num_channels == 0:
        return ""
    return (
        f"does not hold {num_channels} channels below each other ({image.mode}, {image.width}x{image.height}); convert this"
        " data set again"
    )


def decode_with_pillow(encoded: bytes, what: str, faults: list[str]) -> np.ndarray | None:
    """Returns the values that an image's file holds; None, and a sentence more in `faults`, if Pillow cannot read it."""
    if not encoded:
        faults.append(f"the {what} is missing")
        return None
    try:
        with PIL.Image.open(io.BytesIO(encoded), formats=image_files.formats()) as image:
            return label_png.values(image, encoded)
    except Exception as error:  # Pillow raises many kinds for broken files.
        faults.append(f"the {what} cannot be decoded ({str(error).strip() or type(error).__name__})")
        return None


@dataclasses.dataclass
class ShardReport:
    """What one file of records holds.

    Attributes:
      path: the file.
      num_records: that could be read.
      faults: sentences that name file, record and image.
      pixels: how often each label value occurs, [256] int64.
      images: how many images each label value occurs in, [256] int64.
    """

    path: str
    num_records: int = 0
    faults: list[str] = dataclasses.field(default_factory=list)
    pixels: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(256, np.int64))
    images: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(256, np.int64))


def read_raw(path: str) -> Iterator[bytes]:
    """Yields the serialized records of a file; raises `tf.errors.DataLossError` where it is broken."""
    yield from tf.data.TFRecordDataset(path).as_numpy_iterator()


def inspect_file(path: str, num_classes: int | None, ignore_label: int) -> ShardReport:
    """Reads a whole file of records and reports every fault."""
    report = ShardReport(path)

    def add(record: bytes) -> None:
        counts = _label_counts(record)
        report.pixels += counts
        report.images += counts > 0

    inspect_records(report, lambda record: inspect_semantic(record, num_classes, ignore_label), add)
    return report


def inspect_records(report: Any, inspect: Callable[[bytes], tuple[str, list[str]]], add: Callable[[bytes], None]) -> None:
    """Reads a whole file of records into a report.

    Args:
      report: has the file's `path`; its `num_records` and `faults` are added to.
      inspect: returns the image's id and the faults of one record.
      add: counts what a record without faults holds.
    """
    try:
        for record in read_raw(report.path):
            source_id, faults = inspect(record)
            where = place(report.path, report.num_records, source_id)
            report.faults += [f"{where}: {fault}" for fault in faults]
            if not faults:
                add(record)
            report.num_records += 1
    except tf.errors.DataLossError:
        report.faults.append(_broken(report.path, report.num_records))


def _broken(path: str, number: int) -> str:
    return f"{path}: broken or cut off from record {number} on; write this file anew"


def _label_counts(record: bytes) -> np.ndarray:
    encoded = tf.train.Example.FromString(record).features.feature[LABELS].bytes_list.value[0]
    with PIL.Image.open(io.BytesIO(encoded), formats=image_files.formats()) as image:
        return np.bincount(np.asarray(image).ravel(), minlength=256).astype(np.int64)


def find_fault(paths: Sequence[str], inspect: Callable[[bytes], tuple[str, list[str]]]) -> str | None:
    """Returns the first fault in some files of records, or None.

    Args:
      paths: the files.
      inspect: returns the image's id and the faults of one record.
    """

    def first_fault(path: str) -> str | None:
        number = 0
        try:
            for record in read_raw(path):
                source_id, faults = inspect(record)
                if faults:
                    return f"{place(path, number, source_id)}: {faults[0]}"
                number += 1
        except tf.errors.DataLossError:
            return _broken(path, number)
        return None

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        return next((fault for fault in pool.map(first_fault, paths) if fault), None)


def place(path: str, number: int, source_id: str) -> str:
    """Returns how messages name a record."""
    return f"{path}: record {number}" + (f" ({source_id})" if source_id else "")
