"""From records to Mask R-CNN's training examples and evaluation canvases.

A picture lies in the top-left corner of the canvas. Masks stay in the frames of their boxes, where resizing and moving do not
change them.

Shapes: H W the canvas, h w a picture, N objects of a picture, M G objects and crowds of a padded example, S side of a mask.
"""

from typing import Any

import tensorflow as tf

from tpuseg import boxes as box_ops
from tpuseg import frames, images, instance_records, pipeline, records
from tpuseg.maskrcnn.config import MaskRcnnConfig, ModelConfig

# Folded into an example's seed, for draws of their own.
_CHOICE = 3
# What is left of an object at a crop's border has at least this height and width on the canvas, in pixels.
_SMALLEST_SIDE = 1.0


def training_dataset(
    config: MaskRcnnConfig, data_dir: str, context: tf.distribute.InputContext | None, start_step: int
) -> tf.data.Dataset:
    """Returns endless batches.

    Features: `image` [B, H, W, 3] uint8, `image_size` [B, 2] int32 and `index` [B] int64. Labels: `boxes` [B, M, 4] float32
    pixels of the canvas, `classes` [B, M] int32 (-1 for padding), `masks` [B, M, S, S] uint8 (255 where the object covers a cell),
    `crowd_boxes` [B, G, 4] and `num_degenerate` [B] int32, boxes without an area that were dropped.
    """

    def example(raw: pipeline.Raw, seed: tf.Tensor) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        return augment(pipeline.parse(raw, instance_records.parse_instances), seed, config)

    return pipeline.training_stream(config.train_data, data_dir, example, context, start_step)


def augment(
    raw: pipeline.Raw, seed: tf.Tensor, config: MaskRcnnConfig
) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
    """Makes a training example of one record: random scale, place and mirroring. Returns its features and labels."""
    data, canvas = config.train_data, _canvas(config.model)
    raw = _checked(raw, config.model.num_classes)
    fit = fit_scale(raw["size"], config.model)
    window = images.draw_window(raw["size"], canvas, data.scale_min * fit, data.scale_max * fit, seed)
    image = records.decode_window(raw["image"], window["offset"], window["extent"])
    image = images.resize_image_smoothly(image, window["target"])
    objects = _visible(raw, window)
    if data.flip:
        mirrored = images.is_mirrored(seed)
        image = tf.cond(mirrored, lambda: tf.reverse(image, [1]), lambda: image)
        objects = tf.cond(mirrored, lambda: _mirror(objects, window["target"][1]), lambda: objects)
    features = {"image": images.pad_image(image, canvas), "image_size": window["target"]}
    return features, {**_padded(objects, seed, config), "num_degenerate": raw["num_degenerate"]}


def _canvas(model: ModelConfig) -> tuple[int, int]:
    height, width = model.input_size
    return height, width


def fit_scale(size: tf.Tensor, model: ModelConfig) -> tf.Tensor:
    """Returns the factor by which a picture is resized, scalar float32.

    As large as the canvas allows; with `short_side`, not beyond what brings the shorter side to `short_side` and the longer one
    to at most `long_side`.

    Args:
      size: [2] int32 height and width.
      model: the canvas and the sides.
    """
    sides = tf.cast(size, tf.float32)
    fit = tf.reduce_min(tf.constant(_canvas(model), tf.float32) / sides)
    if model.short_side:
        fit = tf.minimum(fit, model.short_side / tf.reduce_min(sides))
        fit = tf.minimum(fit, model.long_side / tf.reduce_max(sides))
    return fit


def _checked(raw: pipeline.Raw, num_classes: int) -> pipeline.Raw:
    """Checks a record and drops boxes without an area; `num_degenerate` says how many."""
    num_boxes, classes = tf.shape(raw["boxes"])[0], raw["classes"]
    whole = pipeline.require(
        (tf.shape(classes)[0] == num_boxes) & (tf.shape(raw["masks"])[0] == num_boxes) & (tf.reduce_min(raw["size"]) > 0),
        raw,
        lambda: ["was written by another converter, or has no masks; convert the data set with data/coco_to_tfrecord.py"],
    )
    known = pipeline.require(
        tf.reduce_all(classes < num_classes),
        raw,
        lambda: [
            "an object has the class ",
            tf.strings.as_string(tf.reduce_max(classes)),
            f", but task.model.num_classes is {num_classes} (classes count from 0); correct it, or convert the right categories",
        ],
    )
    same = pipeline.require_size(records.encoded_size(raw["image"]), raw["size"], raw, what="the annotated size")
    with tf.control_dependencies([whole, known, same]):
        boxes = tf.identity(raw["boxes"])
    has_area = box_ops.areas(boxes) > 0
    kept = {name: tf.boolean_mask(raw[name], has_area) for name in ("classes", "is_crowd", "masks")}
    num_degenerate = tf.reduce_sum(tf.cast(~has_area, tf.int32))
    return {**raw, **kept, "boxes": tf.boolean_mask(boxes, has_area), "num_degenerate": num_degenerate}


def _visible(raw: pipeline.Raw, window: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Returns `boxes`, `classes`, `is_crowd` and `masks` of what a window shows, in pixels of its target.

    The box of an object that the window cuts off is drawn anew around what is left of its mask.
    """
    target = tf.cast(window["target"], tf.float32)
    factor, offset = target / tf.cast(window["extent"], tf.float32), tf.cast(window["offset"], tf.float32)
    boxes = (raw["boxes"] - tf.tile(offset, [2])) * tf.tile(factor, [2])
    clipped = box_ops.clip(boxes, target)
    masks = frames.crop(raw["masks"], boxes, clipped)
    is_cut = tf.reduce_any(boxes != clipped, axis=1) & ~raw["is_crowd"]
    # Clipped once more, as a new corner can be rounded to just beyond the border.
    around = tf.where(is_cut[:, None], box_ops.clip(frames.extents(masks, clipped), target), clipped)
    masks = frames.crop(masks, clipped, around)
    sides = around[:, 2:] - around[:, :2]
    # A whole object may be smaller than a pixel: then the picture is, too.
    kept = tf.reduce_all(sides > 0, axis=1) & (~is_cut | tf.reduce_all(sides >= _SMALLEST_SIDE, axis=1))
    values = {"boxes": around, "classes": raw["classes"], "is_crowd": raw["is_crowd"], "masks": masks}
    return {name: tf.boolean_mask(value, kept) for name, value in values.items()}


def _mirror(objects: dict[str, tf.Tensor], width: tf.Tensor) -> dict[str, tf.Tensor]:
    return {**objects, "boxes": box_ops.mirror(objects["boxes"], width), "masks": tf.reverse(objects["masks"], [2])}


def _padded(objects: dict[str, tf.Tensor], seed: tf.Tensor, config: MaskRcnnConfig) -> dict[str, tf.Tensor]:
    """Returns the labels at their static sizes; of more objects than fit, a random choice is kept."""
    is_crowd, data = objects["is_crowd"], config.train_data
    draw = tf.random.stateless_uniform(tf.shape(is_crowd), tf.random.experimental.stateless_fold_in(seed, _CHOICE))
    # Objects in random order, then crowds.
    order = tf.argsort(draw + tf.cast(is_crowd, tf.float32))
    num_objects = tf.reduce_sum(tf.cast(~is_crowd, tf.int32))
    chosen, crowds = order[:num_objects][: data.max_instances], order[num_objects:][: data.max_crowds]

    def rows(values: tf.Tensor, places: tf.Tensor, count: int, fill: int = 0) -> tf.Tensor:
        missing = count - tf.shape(places)[0]
        padding = [(0, missing)] + [(0, 0)] * (values.shape.rank - 1)
        padded = tf.pad(tf.gather(values, places), padding, constant_values=tf.cast(fill, values.dtype))
        return tf.ensure_shape(padded, [count, *values.shape[1:]])

    return {
        "boxes": rows(objects["boxes"], chosen, data.max_instances),
        "classes": rows(objects["classes"], chosen, data.max_instances, fill=-1),
        "masks": rows(objects["masks"], chosen, data.max_instances),
        "crowd_boxes": rows(objects["boxes"], crowds, data.max_crowds),
    }


def place_on_canvas(image: tf.Tensor, model: ModelConfig) -> dict[str, tf.Tensor]:
    """Returns the network's input for a picture of any size.

    Args:
      image: [h, w, 3] uint8.
      model: the canvas and the sides; see `fit_scale`.

    Returns:
      `image` [H, W, 3] uint8 and `image_size` [2] int32, the height and width that the picture has on the canvas.
    """
    size = tf.shape(image)[:2]
    scaled = tf.cast(tf.round(tf.cast(size, tf.float32) * fit_scale(size, model)), tf.int32)
    target = tf.clip_by_value(scaled, 1, tf.constant(_canvas(model), tf.int32))
    placed = images.pad_image(images.resize_image_smoothly(image, target), _canvas(model))
    return {"image": placed, "image_size": target}


def evaluation_dataset(config: MaskRcnnConfig, data_dir: str, context: tf.distribute.InputContext | None) -> tf.data.Dataset:
    """Returns one pass of batches {`image` [B, H, W, 3] uint8, `image_size` [B, 2] int32, `index` [B] int64}."""

    def features(raw: pipeline.Raw) -> dict[str, Any]:
        encoded = pipeline.parse(raw, instance_records.parse_instances)["image"]
        return place_on_canvas(records.decode_image(encoded), config.model)

    return pipeline.evaluation_stream(config.validation_data, data_dir, features, context)
