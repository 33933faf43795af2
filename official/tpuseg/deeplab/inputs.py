"""DeepLab's input: augmented crops for training, whole pictures on a canvas for evaluation.

Shapes: B pictures, H W the network's input size.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from tpuseg import images, pipeline, records
from tpuseg.deeplab.config import DeepLabConfig, evaluation_canvas


@dataclasses.dataclass(frozen=True)
class Truth:
    """What an evaluated picture really is.

    Attributes:
      index: position in the evaluation stream.
      source_id: what people know the picture by.
      image: [height, width, 3] uint8 at its own size.
      labels: [height, width] uint8.
    """

    index: int
    source_id: str
    image: np.ndarray
    labels: np.ndarray


def training_dataset(
    config: DeepLabConfig, data_dir: str, context: tf.distribute.InputContext | None, start_step: int
) -> tf.data.Dataset:
    """Returns endless batches ({`image` [B, H, W, 3] uint8, `index` [B]}, labels [B, H, W] uint8)."""

    def example(raw: pipeline.Raw, seed: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        image, labels = augment(raw, seed, config)
        return {"image": image}, labels

    return pipeline.training_stream(config.train_data, data_dir, example, context, start_step)


def augment(raw: pipeline.Raw, seed: tf.Tensor, config: DeepLabConfig) -> tuple[tf.Tensor, tf.Tensor]:
    """Makes a training crop of one record: random scale, place, mirroring and colours.

    Returns:
      [H, W, 3] uint8 and [H, W] uint8; padding has the ignore label.
    """
    data, (height, width) = config.train_data, config.model.input_size
    crop = (height, width)
    labels = _checked_labels(raw, config)
    window = images.draw_window(tf.shape(labels), crop, data.scale_min, data.scale_max, seed)
    image = _decode_window(raw, window, tf.shape(labels))
    start, stop = window["offset"], window["offset"] + window["extent"]
    labels = labels[start[0] : stop[0], start[1] : stop[1]]
    image = images.resize_image(image, window["target"])
    labels = images.resize_labels(labels, window["target"])
    if data.color_jitter:
        image = images.jitter_colors(image, data.color_jitter, seed)
    image, labels = images.pad(image, labels, crop, config.losses.ignore_label)
    return images.random_flip(image, labels, seed) if data.flip else (image, labels)


def _decode_window(raw: pipeline.Raw, window: dict[str, tf.Tensor], size: tf.Tensor) -> tf.Tensor:
    """Decodes the part of a picture under the window; of a JPEG, only that part."""

    def jpeg() -> tf.Tensor:
        # As image and mask could differ in size, which only the mask's was looked at.
        with tf.control_dependencies([_assert_size(tf.io.extract_jpeg_shape(raw["image"])[:2], size, raw)]):
            box = tf.concat([window["offset"], window["extent"]], 0)
        return tf.io.decode_and_crop_jpeg(raw["image"], box, channels=3)

    def other() -> tf.Tensor:
        image = records.decode_image(raw["image"])
        with tf.control_dependencies([_assert_size(tf.shape(image)[:2], size, raw)]):
            start, stop = window["offset"], window["offset"] + window["extent"]
            return image[start[0] : stop[0], start[1] : stop[1]]

    image = tf.cond(tf.io.is_jpeg(raw["image"]), jpeg, other)
    image.set_shape([None, None, 3])
    return image


def _where(raw: pipeline.Raw) -> list[tf.Tensor]:
    return [raw["file"], ": record ", raw["number"], " (", raw["source_id"], "): "]


def _assert_size(image_size: tf.Tensor, labels_size: tf.Tensor, raw: pipeline.Raw) -> tf.Operation:
    message = [*_where(raw), "the mask is (height, width) ", labels_size, ", the image ", image_size]
    return tf.debugging.Assert(tf.reduce_all(image_size == labels_size), message)


def _checked_labels(raw: pipeline.Raw, config: DeepLabConfig) -> tf.Tensor:
    """Returns [h, w] uint8 labels in which every value is a class or the ignore label."""
    num_classes, ignore_label = config.model.num_classes, config.losses.ignore_label
    present = tf.debugging.Assert(tf.strings.length(raw["labels"]) > 0, [*_where(raw), "the mask is missing"])
    with tf.control_dependencies([present]):
        labels = records.decode_labels(raw["labels"])
    known = (labels < tf.cast(num_classes, tf.uint8)) | (labels == tf.cast(ignore_label, tf.uint8))
    wrong = tf.debugging.Assert(
        tf.reduce_all(known),
        [*_where(raw), f"the mask has a value that is neither one of the {num_classes} classes nor {ignore_label}"],
    )
    with tf.control_dependencies([wrong]):
        return tf.identity(labels)


def evaluation_dataset(config: DeepLabConfig, data_dir: str, context: tf.distribute.InputContext | None) -> tf.data.Dataset:
    """Returns one pass of batches {`image` [B, H, W, 3] uint8, `index` [B] int64}; see `images.place_on_canvas`."""
    canvas = evaluation_canvas(config)

    def image(raw: pipeline.Raw) -> tf.Tensor:
        return images.place_on_canvas(records.decode_image(raw["image"]), canvas)

    return pipeline.evaluation_stream(config.validation_data, data_dir, image, context)


def ground_truths(config: DeepLabConfig, data_dir: str) -> Iterator[Truth]:
    """Yields the truth of every evaluated picture, in the evaluation stream's order."""

    def decode(raw: pipeline.Raw) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        image, labels = records.decode_image(raw["image"]), _checked_labels(raw, config)
        # Predictions are sampled at the mask's size: a mask of another picture would be scored without a word.
        with tf.control_dependencies([_assert_size(tf.shape(image)[:2], tf.shape(labels), raw)]):
            return raw["source_id"], tf.identity(image), labels

    dataset = pipeline.parsed_records(config.validation_data, data_dir)
    dataset = dataset.map(decode, num_parallel_calls=2, deterministic=True).prefetch(2)
    for index, (source_id, image, labels) in enumerate(dataset.as_numpy_iterator()):
        yield Truth(index, source_id.decode(errors="replace"), image, labels)
