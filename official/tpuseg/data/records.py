"""The common part of all records, which are tf.Examples with the Model Garden's keys: images, ids, summaries, and validation."""

import concurrent.futures
import dataclasses
import io
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import PIL.Image
import tensorflow as tf

from tpuseg.data import summaries
from tpuseg.data.examples import Example, Origin
from tpuseg.io import files, image_channels, image_files, label_png
from tpuseg.utils.error_text import first_line
from tpuseg.utils.messages import format_count

IMAGE = "image/encoded"
FORMAT = "image/format"
HEIGHT = "image/height"
WIDTH = "image/width"
# Only in records whose number of channels is not 3.
CHANNELS = "image/channels"
SOURCE_ID = "image/source_id"
FILENAME = "image/filename"
# Only in records of windows of larger images: the id of that image, and the rows above and the columns left of the window, and the
# height and width of that image.
WINDOW_OF = "image/window/source_id"
WINDOW = "image/window/top_left_height_width"

# The JPEG transform of training, evaluation and exported models. It is that of Pillow, which prediction uses.
_JPEG_TRANSFORM = "INTEGER_ACCURATE"
_SHARD = re.compile(r"-\d{5}-of-\d{5}\.tfrecord$")
# The end of an error message of TensorFlow.
_OPERATION = re.compile(r" \[Op:.*")


def bytes_feature(*values: bytes | str) -> tf.train.Feature:
    """Returns a feature of byte strings; text is encoded as UTF-8."""
    raw = [value.encode() if isinstance(value, str) else value for value in values]
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=raw))


def int_feature(values: Iterable[int]) -> tf.train.Feature:
    """Returns a feature of whole numbers."""
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def image_features(example: Example) -> dict[str, tf.train.Feature]:
    """Returns the features of an image that all kinds of records have."""
    return {
        IMAGE: bytes_feature(example.image),
        FORMAT: bytes_feature(example.image_format),
        HEIGHT: int_feature([example.height]),
        WIDTH: int_feature([example.width]),
        SOURCE_ID: bytes_feature(example.source_id),
        FILENAME: bytes_feature(example.filename),
        **({CHANNELS: int_feature([example.num_channels])} if example.num_channels != image_channels.RGB else {}),
        **(_origin_features(example.origin) if example.origin else {}),
    }


def _origin_features(origin: Origin) -> dict[str, tf.train.Feature]:
    place = [origin.top, origin.left, origin.height, origin.width]
    return {WINDOW_OF: bytes_feature(origin.source_id), WINDOW: int_feature(place)}


def origin_of(features: Any) -> Origin | None:
    """Returns where the image of a record comes from; None unless it is a window of a larger image.

    Raises:
      ValueError: the feature is damaged.
    """
    if WINDOW not in features:
        return None
    place = list(features[WINDOW].int64_list.value)
    if len(place) != 4 or min(place) < 0:
        raise ValueError(f"{WINDOW} is {place}, not the top, left, height and width; convert this image again")
    return Origin(first_bytes(features, WINDOW_OF).decode(errors="replace"), *place)


def serialize(features: dict[str, tf.train.Feature]) -> bytes:
    """Returns the serialized tf.Example; deterministic, so that the same data set always gives the same files."""
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString(deterministic=True)


def features_of(serialized: bytes) -> Any:
    """Returns the features of a record by their keys, without a graph.

    Raises:
      ValueError: The bytes are not a tf.Example.
    """
    example = tf.train.Example()
    try:
        example.ParseFromString(serialized)
    except Exception as error:  # Protobuf's own error; its type depends on the implementation.
        raise ValueError("is not a tf.Example") from error
    return example.features.feature


def first_bytes(features: Any, key: str) -> bytes:
    """Returns the first value of a feature of byte strings, empty if there is none."""
    values = features[key].bytes_list.value if key in features else ()
    return values[0] if values else b""


def source_id_of(features: Any) -> str:
    """Returns the id of the image, or its file name."""
    return (first_bytes(features, SOURCE_ID) or first_bytes(features, FILENAME)).decode(errors="replace")


def check_values(feature: Any, single: Mapping[str, str], lists: Mapping[str, str] | None = None) -> None:
    """Raises ValueError for values that TensorFlow's parser refuses, although Python can read the record.

    Args:
      feature: the features of a tf.Example by key; missing keys are not checked.
      single: keys that must have exactly one value, with its type: `bytes_list`, `int64_list` or `float_list`.
      lists: keys that may have any number of values, with their type.
    """
    for key, kind in {**single, **(lists or {})}.items():
        found = feature[key].WhichOneof("kind") if key in feature else None
        if found not in (None, kind):
            raise ValueError(f"{key} has the type {found}, but must be {kind}; convert this image again")
        count = len(getattr(feature[key], kind).value) if found else 1
        if key in single and count != 1:
            raise ValueError(f"{key} has {format_count(count, 'value')}, but must have one; convert this image again")


def parse_encoded_image(record: tf.Tensor) -> tf.Tensor:
    """Returns the JPEG or PNG of a record, scalar string."""
    return tf.io.parse_single_example(record, {IMAGE: tf.io.FixedLenFeature([], tf.string)})[IMAGE]


def parse_source_id(serialized: tf.Tensor) -> tf.Tensor:
    """Returns the id of the image, or its file name, from a record of any kind, scalar string."""
    text = tf.io.FixedLenFeature([], tf.string, "")
    return name_of(tf.io.parse_single_example(serialized, {key: text for key in (SOURCE_ID, FILENAME)}))


def name_of(parsed: dict[str, tf.Tensor]) -> tf.Tensor:
    """Returns the id of the image from the features of a record, or its file name if there is no id."""
    return tf.where(parsed[SOURCE_ID] == "", parsed[FILENAME], parsed[SOURCE_ID])


def decode_image(encoded: tf.Tensor, num_channels: int = 3) -> tf.Tensor:
    """Decodes the image of a record; the pixels are equal to those of `image_channels.decode`.

    Args:
      encoded: a JPEG, PNG, BMP or GIF; if the number of channels is not 3, an image as `image_channels.png` writes it.
      num_channels: number of channels of the image.

    Returns:
      [H, W, num_channels] uint8.
    """
    if image_channels.is_stacked(num_channels):
        return tf.transpose(_decode_planes(encoded, num_channels), [1, 2, 0])
    if num_channels != image_channels.RGB:
        return _decode_unconverted(encoded, num_channels)
    image = tf.cond(
        tf.io.is_jpeg(encoded),
        # TensorFlow's default is a fast discrete cosine transform, whose values differ from those of other programs by up to 20.
        lambda: tf.io.decode_jpeg(encoded, channels=3, dct_method=_JPEG_TRANSFORM),
        lambda: tf.io.decode_image(encoded, channels=3, expand_animations=False),
    )
    return tf.ensure_shape(image, [None, None, 3])


def _decode_unconverted(encoded: tf.Tensor, num_channels: int) -> tf.Tensor:
    """Decodes an image without converting its channels, and checks their number, [H, W, num_channels] uint8."""
    image = tf.cond(
        tf.io.is_jpeg(encoded),
        lambda: tf.io.decode_jpeg(encoded, dct_method=_JPEG_TRANSFORM),
        lambda: tf.io.decode_image(encoded, expand_animations=False),
    )
    return tf.ensure_shape(image, [None, None, num_channels])


def _decode_planes(encoded: tf.Tensor, num_channels: int) -> tf.Tensor:
    """Decodes a greyscale PNG in which the channels are stacked vertically, [num_channels, H, W] uint8."""
    stacked = tf.ensure_shape(tf.io.decode_png(encoded), [None, None, 1])
    return tf.reshape(stacked, [num_channels, -1, tf.shape(stacked)[1]])


def decode_image_in_range(encoded: tf.Tensor, pixel_range: Sequence[float], num_channels: int = 3) -> tf.Tensor:
    """Decodes an image file of a format that a graph can decode; for PNGs of 16 bits see `image_files.to_eight_bits`.

    Args:
      encoded: scalar string. For one channel, the image may also be RGB with equal channels; four channels are a PNG with
        transparency; numbers other than 1, 3 and 4 are only supported in the form that `image_channels.png` writes.
      pixel_range: the values that become black and white, or empty.
      num_channels: number of channels of the image.

    Returns:
      [H, W, num_channels] uint8.
    """
    if image_channels.is_stacked(num_channels):
        return decode_image(encoded, num_channels)
    if num_channels == 1:
        return _require_equal_channels(_decode_in_range(encoded, pixel_range, 3))
    return _decode_in_range(encoded, pixel_range, num_channels)


def _require_equal_channels(colors: tf.Tensor) -> tf.Tensor:
    """Returns the first of three channels, [H, W, 1], and checks that they are equal."""
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

    # In a PNG's header, the number of bits per channel follows width and height.
    is_wide = (tf.strings.substr(encoded, 1, 3) == "PNG") & (tf.strings.substr(encoded, 24, 1) == "\x10")
    image = tf.cond(is_wide, narrowed, lambda: decode_image(encoded, num_channels))
    return tf.ensure_shape(image, [None, None, num_channels])


def encoded_size(encoded: tf.Tensor, num_channels: int = 3) -> tf.Tensor:
    """Returns the height and width of a record's JPEG or PNG without decoding it, [2] int32."""
    planes = num_channels if image_channels.is_stacked(num_channels) else 1

    def png() -> tf.Tensor:
        # Width and height follow the first 16 bytes, which are the same in every PNG.
        size = tf.io.decode_raw(tf.strings.substr(encoded, 16, 8), tf.int32, little_endian=False)[::-1]
        return size if planes == 1 else size // [planes, 1]

    return tf.ensure_shape(tf.cond(tf.io.is_jpeg(encoded), lambda: tf.io.extract_jpeg_shape(encoded)[:2], png), [2])


def decode_window(encoded: tf.Tensor, offset: tf.Tensor, extent: tf.Tensor, num_channels: int = 3) -> tf.Tensor:
    """Decodes a window of an image; for a JPEG, only the pixels of the window are decoded.

    Args:
      encoded: a JPEG or PNG.
      offset: [2] int32, top and left of the window in pixels.
      extent: [2] int32, height and width of the window in pixels.
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


def summary_path(pattern: str) -> str:
    """Returns the path of the summary for an input pattern or shard: `train.json` for `train-*.tfrecord`."""
    folder, name = os.path.split(pattern)
    stem = _SHARD.sub("", name)
    if stem == name:
        stem = re.sub(r"(-0\d*|[-_.])?[*?\[].*$", "", name).removesuffix(".tfrecord")
    return os.path.join(folder, f"{stem or 'records'}.json")


def read_summary(pattern: str) -> dict[str, Any] | None:
    """Returns the summary of the records of a pattern, or None for records of other converters.

    Raises:
      ValueError: the file is not a summary, or is damaged; the message names it.
    """
    path = summary_path(pattern)
    return summaries.read(path) if files.exists(path) else None


def num_channels_of(feature: Any) -> int:
    """Returns the number of channels in a record; 3 if the record does not contain it."""
    values = feature[CHANNELS].int64_list.value if CHANNELS in feature else ()
    return values[0] if values else image_channels.RGB


def channels_of(feature: Any, wanted: int | None, faults: list[str]) -> int:
    """Returns the number of channels for decoding the image of a record, and adds a fault if the record has another number.

    Args:
      feature: the features of the tf.Example, whose values have been checked.
      wanted: required number of channels; None accepts the number in the record.
      faults: the list to which the fault is added.
    """
    stored = num_channels_of(feature)
    if wanted is not None and CHANNELS in feature and stored != wanted:
        faults.append(
            f"the image has {format_count(stored, 'channel')}, but task.model.num_channels is {wanted}; set it to {stored}"
        )
    elif not 1 <= stored <= image_files.MAX_CHANNELS:
        faults.append(f"the image has {format_count(stored, 'channel')}, but must have 1 to {image_files.MAX_CHANNELS}")
        return image_channels.RGB
    return stored if CHANNELS in feature or wanted is None else wanted


def decode_for_training(encoded: bytes, what: str, faults: list[str], num_channels: int = 3) -> np.ndarray | None:
    """Decodes an image as training does, [H, W, num_channels] uint8; if it cannot, adds a fault and returns None.

    Pillow ignores some damage that is an error for TensorFlow. Here it only reads the header, and refuses excessive sizes.
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
    except Exception as error:  # Pillow raises many kinds of errors for damaged files.
        faults.append(f"the {what} cannot be decoded ({_OPERATION.sub('', first_line(error))})")
        return None


def _channel_fault(image: PIL.Image.Image, num_channels: int) -> str:
    """Returns the fault of an image that must have `num_channels` channels; empty if there is none."""
    if num_channels == image_channels.RGB:
        return ""
    found = len(image.getbands())
    if not image_channels.is_stacked(num_channels):
        wrong = f"has {format_count(found, 'channel')} instead of {num_channels}; convert this data set again"
        return "" if found == num_channels else wrong
    if found == 1 and image.height % num_channels == 0:
        return ""
    return (
        f"does not contain {num_channels} stacked channels ({image.mode}, {image.width}x{image.height}); convert this"
        " data set again"
    )


def decode_with_pillow(encoded: bytes, what: str, faults: list[str]) -> np.ndarray | None:
    """Returns the values in an image file; if Pillow cannot read it, adds a fault and returns None."""
    if not encoded:
        faults.append(f"the {what} is missing")
        return None
    try:
        with PIL.Image.open(io.BytesIO(encoded), formats=image_files.formats()) as image:
            return label_png.values(image, encoded)
    except Exception as error:  # Pillow raises many kinds of errors for damaged files.
        faults.append(f"the {what} cannot be decoded ({str(error).strip() or type(error).__name__})")
        return None


@dataclasses.dataclass
class ShardReport:
    """The contents of one shard; each kind of records adds its statistics.

    Attributes:
      path: path of the file.
      num_records: number of records that could be read.
      faults: one sentence per fault, which names file, record and image.
    """

    path: str
    num_records: int = 0
    faults: list[str] = dataclasses.field(default_factory=list)


def read_raw(path: str) -> Iterator[bytes]:
    """Yields the serialized records of a file; raises `tf.errors.DataLossError` at the first damaged one."""
    yield from tf.data.TFRecordDataset(path).as_numpy_iterator()


def read_images(paths: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """Yields the file name, or the id without one, and the JPEG or PNG of every record of some files, in order."""
    for path in paths:
        for record in read_raw(path):
            feature = tf.train.Example.FromString(record).features.feature
            names = [*feature[FILENAME].bytes_list.value, *feature[SOURCE_ID].bytes_list.value, b""]
            yield names[0].decode(errors="replace"), feature[IMAGE].bytes_list.value[0]


def to_image_file(encoded: bytes, num_channels: int) -> bytes | np.ndarray:
    """Returns a record's image for readers of image files: its bytes, or the pixels if its channels are stacked."""
    return decode_image(tf.constant(encoded), num_channels).numpy() if image_channels.is_stacked(num_channels) else encoded


def inspect_records(
    report: ShardReport, examine: Callable[[bytes], tuple[str, list[str], Any]], add: Callable[[Any], None]
) -> None:
    """Reads a whole file of records into a report.

    Args:
      report: contains the `path` of the file; `num_records` and `faults` are updated.
      examine: returns the id of the image, the faults and the content of one record.
      add: adds the content of a record without faults to the statistics.
    """
    try:
        for record in read_raw(report.path):
            source_id, faults, content = examine(record)
            where = place(report.path, report.num_records, source_id)
            report.faults += [f"{where}: {fault}" for fault in faults]
            if not faults:
                add(content)
            report.num_records += 1
    except tf.errors.DataLossError:
        report.faults.append(_describe_damage(report.path, report.num_records))


def _describe_damage(path: str, number: int) -> str:
    return f"{path}: damaged or truncated at record {number}; convert again to rewrite this file"


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
            return _describe_damage(path, number)
        return None

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        return next((fault for fault in pool.map(first_fault, paths) if fault), None)


def place(path: str, number: int, source_id: str) -> str:
    """Returns the name of a record in messages."""
    return f"{path}: record {number}" + (f" ({source_id})" if source_id else "")
