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
      encoded_image: the JPEG or PNG.
      labels: [height, width] uint8.
    """

    index: int
    source_id: str
    encoded_image: bytes
    labels: np.ndarray

    @property
    def image(self) -> np.ndarray:
        """[height, width, 3] uint8 at its own size; decoded anew each time, as only pictures that are drawn need it."""
        return records.decode_image(tf.constant(self.encoded_image)).numpy()


def training_dataset(
    config: DeepLabConfig, data_dir: str, context: tf.distribute.InputContext | None, start_step: int
) -> tf.data.Dataset:
    """Returns endless batches ({`image` [B, H, W, 3] uint8, `index` [B]}, labels [B, H, W] uint8)."""

    def example(raw: pipeline.Raw, seed: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        image, labels = augment(pipeline.parse(raw, records.parse_semantic), seed, config)
        return {"image": image}, labels

    return pipeline.training_stream(config.train_data, data_dir, example, context, start_step)


def augment(raw: pipeline.Raw, seed: tf.Tensor, config: DeepLabConfig) -> tuple[tf.Tensor, tf.Tensor]:
    """Makes a training crop of one record: random scale, place, mirroring and colours.

    Returns:
      [H, W, 3] uint8 and [H, W] uint8; padding has the ignore label.
    """
    data, (height, width) = config.train_data, config.model.input_size
    crop = (height, width)
    labels = _sized_labels(raw, config)
    window = images.draw_window(tf.shape(labels), crop, data.scale_min, data.scale_max, seed)
    image = records.decode_window(raw["image"], window["offset"], window["extent"])
    start, stop = window["offset"], window["offset"] + window["extent"]
    labels = labels[start[0] : stop[0], start[1] : stop[1]]
    image = images.resize_image(image, window["target"])
    labels = images.resize_labels(labels, window["target"])
    if data.color_jitter:
        image = images.jitter_colors(image, data.color_jitter, seed)
    image, labels = images.pad(image, labels, crop, config.losses.ignore_label)
    return images.random_flip(image, labels, seed) if data.flip else (image, labels)


def _sized_labels(raw: pipeline.Raw, config: DeepLabConfig) -> tf.Tensor:
    """Returns [h, w] uint8 labels, checked, and of the picture's size."""
    labels = _checked_labels(raw, config)
    with tf.control_dependencies(
        [pipeline.require_size(records.encoded_size(raw["image"]), tf.shape(labels), raw, what="the mask")]
    ):
        return tf.identity(labels)


def _checked_labels(raw: pipeline.Raw, config: DeepLabConfig) -> tf.Tensor:
    """Returns [h, w] uint8 labels in which every value is a class or the ignore label."""
    num_classes, ignore_label = config.model.num_classes, config.losses.ignore_label
    present = pipeline.require(
        tf.strings.length(raw["labels"]) > 0,
        raw,
        lambda: ["the mask is missing; training needs one for every picture, convert the data set with its masks"],
    )
    with tf.control_dependencies([present]):
        labels = records.decode_labels(raw["labels"])
    if "label_offset" in raw:
        labels = tf.where(labels == tf.constant(ignore_label, tf.uint8), labels, labels + raw["label_offset"])
    known = (labels < tf.constant(num_classes, tf.uint8)) | (labels == tf.constant(ignore_label, tf.uint8))

    def wrong() -> list[str | tf.Tensor]:
        largest = tf.reduce_max(tf.where(known, tf.zeros_like(labels), labels))
        return [
            "the mask has the value ",
            tf.strings.as_string(largest),
            f", which is neither one of the {num_classes} classes nor the ignore label {ignore_label};"
            " correct task.model.num_classes, or convert with the right classes",
        ]

    with tf.control_dependencies([pipeline.require(tf.reduce_all(known), raw, wrong)]):
        return tf.identity(labels)


def evaluation_dataset(config: DeepLabConfig, data_dir: str, context: tf.distribute.InputContext | None) -> tf.data.Dataset:
    """Returns one pass of batches {`image` [B, H, W, 3] uint8, `index` [B] int64}; see `images.place_on_canvas`."""
    canvas = evaluation_canvas(config)

    def features(raw: pipeline.Raw) -> dict[str, tf.Tensor]:
        encoded = pipeline.parse(raw, records.parse_semantic)["image"]
        return {"image": images.place_on_canvas(records.decode_image(encoded), canvas)}

    return pipeline.evaluation_stream(config.validation_data, data_dir, features, context)


def ground_truths(config: DeepLabConfig, data_dir: str, pipelines: pipeline.Pipelines) -> Iterator[Truth]:
    """Yields the truth of every picture that some pipelines evaluate, in the evaluation stream's order."""

    def decode(index: tf.Tensor, raw: pipeline.Raw) -> tuple[tf.Tensor, ...]:
        raw = pipeline.parse(raw, records.parse_semantic)
        # Predictions are sampled at the mask's size: a mask of another picture would be scored without a word.
        return index, raw["source_id"], raw["image"], _sized_labels(raw, config)

    dataset = pipeline.evaluated_records(config.validation_data, data_dir, pipelines)
    dataset = dataset.map(decode, num_parallel_calls=2, deterministic=True).prefetch(2)
    for index, source_id, image, labels in dataset.as_numpy_iterator():
        yield Truth(int(index), source_id.decode(errors="replace"), image, labels)
