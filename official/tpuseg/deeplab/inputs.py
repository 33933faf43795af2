"""The input of DeepLab: augmented crops for training, whole images on a canvas for evaluation.

Shapes: B images, H x W the input size of the network, C channels.
"""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from tpuseg.data import augmentation, pipeline, records, semantic_records
from tpuseg.deeplab.config import DeepLabConfig, evaluation_canvas
from tpuseg.ops import images, windows


@dataclasses.dataclass(frozen=True)
class Truth:
    """The ground truth of an evaluated image.

    Attributes:
      index: position in the evaluation stream.
      source_id: the name of the image in messages.
      encoded_image: the JPEG or PNG.
      labels: [height, width] uint8 class ids.
      num_channels: number of channels of the image.
    """

    index: int
    source_id: str
    encoded_image: bytes
    labels: np.ndarray
    num_channels: int = 3

    @property
    def image(self) -> np.ndarray:
        """The image, [height, width, C] uint8; decoded at each access, because only images that are drawn need it."""
        return records.decode_image(tf.constant(self.encoded_image), self.num_channels).numpy()


def training_dataset(
    config: DeepLabConfig, data_dir: str, context: tf.distribute.InputContext | None, start_step: int
) -> tf.data.Dataset:
    """Returns an endless stream of batches ({`image` [B, H, W, C] uint8, `index` [B]}, labels [B, H, W] uint8)."""

    def example(raw: pipeline.Raw, seed: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        image, labels = augment(pipeline.parse(raw, semantic_records.parse_semantic), seed, config)
        return {"image": image}, labels

    return pipeline.training_stream(config.train_data, data_dir, example, context, start_step)


def augment(raw: pipeline.Raw, seed: tf.Tensor, config: DeepLabConfig) -> tuple[tf.Tensor, tf.Tensor]:
    """Creates a training crop from a record, with random scale, position, mirroring and colours.

    Returns:
      The image, [H, W, C] uint8, and the labels, [H, W] uint8; padding has the ignore label.
    """
    data, (height, width) = config.train_data, config.model.input_size
    crop = (height, width)
    labels = _read_labels(raw, config)
    window = images.draw_window(tf.shape(labels), crop, data.scale_min, data.scale_max, seed)
    image = records.decode_window(raw["image"], window["offset"], window["extent"], config.model.num_channels)
    start, stop = window["offset"], window["offset"] + window["extent"]
    labels = labels[start[0] : stop[0], start[1] : stop[1]]
    image = images.resize_image(image, window["target"])
    labels = images.resize_labels(labels, window["target"])
    if data.color_jitter:
        image = images.jitter_colors(image, data.color_jitter, seed)
    image, labels = images.pad(image, labels, crop, config.losses.ignore_label, padding(config))
    if data.flip:
        image, labels = images.random_flip(image, labels, seed)
    changed = augmentation.apply(data.augmentations, "semantic", {"image": image, "labels": labels}, seed)
    return changed["image"], changed["labels"]


def _read_labels(raw: pipeline.Raw, config: DeepLabConfig) -> tf.Tensor:
    """Returns the labels, [h, w] uint8, and checks that they have the size of the image."""
    labels = _decode_labels(raw, config)
    with tf.control_dependencies(
        [pipeline.require_size(_stored_size(raw, config), tf.shape(labels), raw, what="the mask")]
    ):
        return tf.identity(labels)


def _stored_size(raw: pipeline.Raw, config: DeepLabConfig) -> tf.Tensor:
    return records.encoded_size(raw["image"], config.model.num_channels)


def padding(config: DeepLabConfig) -> tuple[int, ...]:
    """Returns the padding value of each channel, which is approximately 0 after pixel scaling."""
    return images.padding(config.model.num_channels, config.model.pixel_mean)


def place(image: tf.Tensor, config: DeepLabConfig) -> tf.Tensor:
    """Places an image, [height, width, C] uint8, on the canvas of evaluation and prediction, [H, W, C] uint8."""
    return images.place_on_canvas(image, evaluation_canvas(config), padding(config))


def _decode_labels(raw: pipeline.Raw, config: DeepLabConfig) -> tf.Tensor:
    """Returns the labels, [h, w] uint8, and checks that every value is a class or the ignore label."""
    num_classes, ignore_label = config.model.num_classes, config.losses.ignore_label
    present = pipeline.require(
        tf.strings.length(raw["labels"]) > 0,
        raw,
        lambda: ["the mask is missing; every image needs one, convert the data set with its masks"],
    )
    with tf.control_dependencies([present]):
        labels = semantic_records.decode_labels(raw["labels"])
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


def evaluation_dataset(
    config: DeepLabConfig,
    data_dir: str,
    context: tf.distribute.InputContext | None,
    grids: Sequence[windows.Grid] | None = None,
) -> tf.data.Dataset:
    """Returns batches for one pass over the data; see `images.place_on_canvas`.

    Args:
      config: the configuration of the task.
      data_dir: folder for relative input patterns.
      context: the input pipeline, if there are several.
      grids: the windows of every image; None for whole images.

    Returns:
      {`image` [B, H, W, C] uint8, `index` [B] int64} and, with windows, `window` [B] int64.
    """
    return pipeline.evaluation_images(
        config.validation_data,
        data_dir,
        lambda raw: pipeline.parse(raw, semantic_records.parse_semantic)["image"],
        config.model.num_channels,
        lambda pixels: {"image": place(pixels, config)},
        grids,
        context,
    )


def ground_truths(config: DeepLabConfig, data_dir: str, pipelines: pipeline.Pipelines) -> Iterator[Truth]:
    """Yields the ground truth of every image that the given pipelines evaluate, in the order of the evaluation stream."""

    def decode(index: tf.Tensor, raw: pipeline.Raw) -> tuple[tf.Tensor, ...]:
        raw = pipeline.parse(raw, semantic_records.parse_semantic)
        # Predictions are resized to the mask, so a mask of another image would not cause an error later.
        return index, raw["source_id"], raw["image"], _read_labels(raw, config)

    dataset = pipeline.evaluated_records(config.validation_data, data_dir, pipelines)
    dataset = dataset.map(decode, num_parallel_calls=2, deterministic=True).prefetch(2)
    for index, source_id, image, labels in dataset.as_numpy_iterator():
        yield Truth(int(index), source_id.decode(errors="replace"), image, labels, config.model.num_channels)
