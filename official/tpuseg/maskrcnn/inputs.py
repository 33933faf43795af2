"""Training examples and evaluation inputs of Mask R-CNN from records.

An image is placed in the top-left corner of the canvas. Masks are box masks, which do not change if the image is resized or
shifted.

Shapes: H x W the canvas, h x w an image, C channels, N objects of an image, M, I and G the padded numbers of objects, ignored
objects and ignored regions, S the side of a box mask.
"""

from collections.abc import Sequence

import tensorflow as tf

from tpuseg.data import augmentation, instance_records, pipeline, records
from tpuseg.maskrcnn import caps, copy_paste, geometry
from tpuseg.maskrcnn.config import MaskRcnnConfig, ModelConfig, TrainDataConfig
from tpuseg.maskrcnn.objects import ObjectTensors, clip_objects
from tpuseg.ops import boxes as box_ops
from tpuseg.ops import images, windows

# Folded into an example's seed, so that each random choice has its own numbers.
_CHOICE, _PASTE, _OTHER, _CHOSEN, _FLIP, _TURNS, _ANGLE, _AROUND = 3, 4, 5, 6, 7, 8, 9, 10


def training_dataset(
    config: MaskRcnnConfig, data_dir: str, context: tf.distribute.InputContext | None, start_step: int
) -> tf.data.Dataset:
    """Returns an endless stream of batches.

    Features: `image` [B, H, W, C] uint8, `image_size` [B, 2] int32 and `index` [B] int64. Labels: `boxes` [B, M, 4] float32 in
    pixels of the canvas, `classes` [B, M] int32 (-1 for padding), `masks` [B, M, S, S] uint8 (255 where the object covers a cell),
    `crowd_boxes` [B, G, 4], `num_degenerate` [B] int32, the number of boxes without area that were dropped, and `num_ignored` [B]
    int32, the number of objects beyond `max_instances`. If there can be such objects, `ignored_boxes` [B, I, 4] has their boxes.
    """
    config = caps.fit(config, data_dir).config
    pastes = config.train_data.copy_paste > 0

    def example(raw: pipeline.Raw, seed: tf.Tensor) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        if not pastes:
            return augment(parse_record(raw), seed, config)
        first, second = ({name: value[place] for name, value in raw.items()} for place in (0, 1))
        return augment(parse_record(first), seed, config, parse_record(second))

    return pipeline.training_stream(config.train_data, data_dir, example, context, start_step, with_next=pastes)


def parse_record(raw: pipeline.Raw) -> pipeline.Raw:
    """Parses a record."""
    return pipeline.parse(raw, instance_records.parse_instances)


def augment(
    raw: pipeline.Raw, seed: tf.Tensor, config: MaskRcnnConfig, other: pipeline.Raw | None = None
) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
    """Creates a training example from a record, with random scale, position, mirroring, colours and rotation, as configured.

    Args:
      raw: the parsed record.
      seed: [2] int32; the example is a function of it.
      config: contains the augmentation.
      other: a record whose objects are pasted, with the probability `copy_paste`.

    Returns:
      Features and labels; see `training_dataset`.
    """
    scene = _build_scene(raw, seed, config)
    if other is not None:
        fold_in = tf.random.experimental.stateless_fold_in
        pasted = tf.random.stateless_uniform([], fold_in(seed, _PASTE)) < config.train_data.copy_paste

        def with_objects_of_the_other() -> copy_paste.Scene:
            # The other image has its own scale and position.
            second = _build_scene(other, fold_in(seed, _OTHER), config)
            return copy_paste.paste(scene, second, fold_in(seed, _CHOSEN), config.train_data.min_visible)

        scene = tf.cond(pasted, with_objects_of_the_other, lambda: scene)
    features = {"image": images.pad_image(scene.image, _canvas(config.model)), "image_size": tf.shape(scene.image)[:2]}
    return features, {**_pad_labels(scene.objects, raw, seed, config.train_data), "num_degenerate": scene.num_degenerate}


def _build_scene(raw: pipeline.Raw, seed: tf.Tensor, config: MaskRcnnConfig) -> copy_paste.Scene:
    """Returns a random window of a record's image with its objects, augmented as configured."""
    data, canvas = config.train_data, _canvas(config.model)
    raw = _check_record(raw, config.model)
    turns = _draw_integer(seed, _TURNS, 4) if data.rotate_right_angles else None
    size, turned = raw["size"], raw
    if turns is not None:
        boxes, masks = geometry.rotate_boxes(raw["boxes"], size, turns), geometry.rotate_masks(raw["masks"], turns)
        size, turned = geometry.rotate_size(size, turns), {**raw, "boxes": boxes, "masks": masks}
    fit = min(canvas) / data.window if data.window else fit_scale(size, config.model)
    around = _choose_surroundings(turned, size, seed, data.empty_share) if data.window else None
    window = images.draw_window(size, canvas, data.scale_min * fit, data.scale_max * fit, seed, around)
    source = window if turns is None else geometry.rotate_window_back(window, raw["size"], turns)
    image = records.decode_window(raw["image"], source["offset"], source["extent"], config.model.num_channels)
    if turns is not None:
        image = tf.ensure_shape(tf.image.rot90(image, turns), [None, None, config.model.num_channels])
    image = images.resize_image_smoothly(image, window["target"])
    image, objects = _augment_window(image, _crop_objects(turned, window, data.min_visible), seed, data)
    return copy_paste.Scene(image, objects, raw["num_degenerate"])


def _choose_surroundings(raw: pipeline.Raw, size: tf.Tensor, seed: tf.Tensor, empty_share: float) -> tf.Tensor:
    """Returns the box of a random instance, [4] float32 yxyx.

    With the probability `empty_share`, or without instances, it is the whole image: a window inside of it is anywhere.
    """
    drawn = tf.random.stateless_uniform([2], tf.random.experimental.stateless_fold_in(seed, _AROUND))
    boxes = tf.boolean_mask(raw["boxes"], ~raw["is_crowd"])
    count = tf.shape(boxes)[0]
    chosen = tf.minimum(tf.cast(drawn[0] * tf.cast(count, tf.float32), tf.int32), count - 1)
    whole = tf.concat([tf.zeros([2]), tf.cast(size, tf.float32)], 0)
    return tf.cond((count == 0) | (drawn[1] < empty_share), lambda: whole, lambda: boxes[chosen])


def _augment_window(
    image: tf.Tensor, objects: ObjectTensors, seed: tf.Tensor, data: TrainDataConfig
) -> tuple[tf.Tensor, ObjectTensors]:
    """Changes the colours of a window, rotates it by a small angle and mirrors it, as configured."""
    if data.color_jitter:
        image = images.jitter_colors(image, data.color_jitter, seed)
    if data.rotate_degrees:
        angle = tf.random.experimental.stateless_fold_in(seed, _ANGLE)
        degrees = tf.random.stateless_uniform([], angle, -data.rotate_degrees, data.rotate_degrees)
        image, objects = geometry.rotate(image, objects, degrees)
    if data.flip:
        mirrored = images.is_mirrored(seed)
        image, objects = tf.cond(mirrored, lambda: geometry.mirror(image, objects), lambda: (image, objects))
    if data.flip_vertical:
        flipped = _draw_integer(seed, _FLIP, 2) == 1
        image, objects = tf.cond(flipped, lambda: geometry.flip(image, objects), lambda: (image, objects))
    changed = augmentation.apply(data.augmentations, "instances", {"image": image, **objects}, seed)
    return changed.pop("image"), changed


def _draw_integer(seed: tf.Tensor, salt: int, count: int) -> tf.Tensor:
    """Returns a random integer below `count`, scalar int32, as a function of the example's seed."""
    own = tf.random.experimental.stateless_fold_in(seed, salt)
    return tf.random.stateless_uniform([], own, 0, count, tf.int32)


def _canvas(model: ModelConfig) -> tuple[int, int]:
    height, width = model.input_size
    return height, width


def fit_scale(size: tf.Tensor, model: ModelConfig) -> tf.Tensor:
    """Returns the factor by which an image is resized, scalar float32.

    The image fills the canvas as far as its aspect ratio allows. With `short_side`, the factor is limited so that the shorter side
    is at most `short_side` and the longer side at most `long_side`.

    Args:
      size: [2] int32 height and width of the image.
      model: contains the size of the canvas, `short_side` and `long_side`.
    """
    sides = tf.cast(size, tf.float32)
    fit = tf.reduce_min(tf.constant(_canvas(model), tf.float32) / sides)
    if model.short_side:
        fit = tf.minimum(fit, model.short_side / tf.reduce_min(sides))
        fit = tf.minimum(fit, model.long_side / tf.reduce_max(sides))
    return fit


def _check_record(raw: pipeline.Raw, model: ModelConfig) -> pipeline.Raw:
    """Checks a record and drops boxes without area; `num_degenerate` is their number."""
    num_classes = model.num_classes
    num_boxes, classes = tf.shape(raw["boxes"])[0], raw["classes"]
    is_complete = pipeline.require(
        (tf.shape(classes)[0] == num_boxes) & (tf.shape(raw["masks"])[0] == num_boxes) & (tf.reduce_min(raw["size"]) > 0),
        raw,
        lambda: ["has no box masks, or was written by another converter; convert the data set with data/coco_to_tfrecord.py"],
    )
    has_known_classes = pipeline.require(
        tf.reduce_all((classes >= 0) & (classes < num_classes)),
        raw,
        lambda: [
            "an object has the class ",
            tf.strings.as_string(tf.boolean_mask(classes, (classes < 0) | (classes >= num_classes))[0]),
            f", but task.model.num_classes is {num_classes} (classes count from 0); correct it, or convert the right categories",
        ],
    )
    stored_size = records.encoded_size(raw["image"], model.num_channels)
    has_size = pipeline.require_size(stored_size, raw["size"], raw, what="the annotated size")
    with tf.control_dependencies([is_complete, has_known_classes, has_size]):
        boxes = tf.identity(raw["boxes"])
    has_area = box_ops.areas(boxes) > 0
    kept = {name: tf.boolean_mask(raw[name], has_area) for name in ("classes", "is_crowd", "masks")}
    num_degenerate = tf.reduce_sum(tf.cast(~has_area, tf.int32))
    return {**raw, **kept, "boxes": tf.boolean_mask(boxes, has_area), "num_degenerate": num_degenerate}


def _crop_objects(raw: pipeline.Raw, window: dict[str, tf.Tensor], min_visible: float) -> dict[str, tf.Tensor]:
    """Returns `boxes`, `classes`, `is_crowd` and `masks` of the objects in a window, in pixels of its target."""
    target = tf.cast(window["target"], tf.float32)
    factor, offset = target / tf.cast(window["extent"], tf.float32), tf.cast(window["offset"], tf.float32)
    boxes = (raw["boxes"] - tf.tile(offset, [2])) * tf.tile(factor, [2])
    return clip_objects({**{name: raw[name] for name in ("classes", "is_crowd", "masks")}, "boxes": boxes}, target, min_visible)


def _pad_labels(objects: dict[str, tf.Tensor], raw: pipeline.Raw, seed: tf.Tensor, data: TrainDataConfig) -> dict[str, tf.Tensor]:
    """Pads the labels to static sizes; if there are too many objects, a random choice is kept and the others are ignored."""
    is_crowd, limit = objects["is_crowd"], caps.instances(data)
    draw = tf.random.stateless_uniform(tf.shape(is_crowd), tf.random.experimental.stateless_fold_in(seed, _CHOICE))
    # Objects in random order, then ignored regions.
    order = tf.argsort(draw + tf.cast(is_crowd, tf.float32))
    num_objects = tf.reduce_sum(tf.cast(~is_crowd, tf.int32))
    chosen, ignored, crowds = order[:num_objects][:limit], order[:num_objects][limit:], order[num_objects:]

    def regions(places: tf.Tensor, room: int, what: str) -> tf.Tensor:
        # Objects that do not fit must not silently become background.
        boxes = tf.gather(objects["boxes"], places)
        if room and caps.joins_surplus(data):
            return _join_surplus(boxes, room)
        with tf.control_dependencies([_require_room(places, raw, room, what)]):
            return tf.identity(boxes)

    ignored_boxes = regions(ignored, data.max_ignored, f"objects beyond max_instances, {limit},")
    with tf.control_dependencies([ignored_boxes]):
        num_ignored = tf.identity(tf.shape(ignored)[0])
    labels = {
        "boxes": _pad_rows(tf.gather(objects["boxes"], chosen), limit),
        "classes": _pad_rows(tf.gather(objects["classes"], chosen), limit, fill=-1),
        "masks": _pad_rows(tf.gather(objects["masks"], chosen), limit),
        "crowd_boxes": _pad_rows(regions(crowds, data.max_crowds, "ignored regions"), data.max_crowds),
        "num_ignored": num_ignored,
    }
    if data.max_ignored:
        labels["ignored_boxes"] = _pad_rows(ignored_boxes, data.max_ignored)
    return labels


def _pad_rows(rows: tf.Tensor, count: int, fill: int = 0) -> tf.Tensor:
    """Pads values of objects to `count` rows."""
    padding = [(0, count - tf.shape(rows)[0])] + [(0, 0)] * (rows.shape.rank - 1)
    padded = tf.pad(rows, padding, constant_values=tf.cast(fill, rows.dtype))
    return tf.ensure_shape(padded, [count, *rows.shape[1:]])


def _join_surplus(boxes: tf.Tensor, room: int) -> tf.Tensor:
    """Replaces the last boxes by one around them if there are more than `room`.

    Surplus regions must not become background, and a window with unusually many of them must not end the run.
    """
    surplus = boxes[room - 1 :]
    around = tf.concat([tf.reduce_min(surplus[:, :2], 0), tf.reduce_max(surplus[:, 2:], 0)], 0)[tf.newaxis]
    return tf.cond(tf.shape(boxes)[0] > room, lambda: tf.concat([boxes[: room - 1], around], 0), lambda: boxes)


def _require_room(places: tf.Tensor, raw: pipeline.Raw, room: int, what: str) -> tf.Tensor:
    """Checks that all rows fit; this fails only if the summary does not belong to the records."""
    found = tf.shape(places)[0]
    return pipeline.require(
        found <= room,
        raw,
        lambda: [
            "has ",
            tf.strings.as_string(found),
            f" {what} but the summary beside the records has at most {room}; convert the data set again",
        ],
    )


def place_on_canvas(image: tf.Tensor, model: ModelConfig) -> dict[str, tf.Tensor]:
    """Resizes an image and places it on the canvas.

    Args:
      image: [h, w, C] uint8.
      model: contains the size of the canvas, `short_side` and `long_side`; see `fit_scale`.

    Returns:
      `image` [H, W, C] uint8 and `image_size` [2] int32, the height and width of the image on the canvas.
    """
    size = tf.shape(image)[:2]
    scaled = tf.cast(tf.round(tf.cast(size, tf.float32) * fit_scale(size, model)), tf.int32)
    target = tf.clip_by_value(scaled, 1, tf.constant(_canvas(model), tf.int32))
    placed = images.pad_image(images.resize_image_smoothly(image, target), _canvas(model))
    return {"image": placed, "image_size": target}


def evaluation_dataset(
    config: MaskRcnnConfig,
    data_dir: str,
    context: tf.distribute.InputContext | None,
    grids: Sequence[windows.Grid] | None = None,
) -> tf.data.Dataset:
    """Returns batches for one pass over the data.

    Args:
      config: the configuration of the task.
      data_dir: folder for relative input patterns.
      context: the input pipeline, if there are several.
      grids: the windows of every image; None for whole images.

    Returns:
      {`image` [B, H, W, C] uint8, `image_size` [B, 2] int32, `index` [B] int64} and, with windows, `window` [B] int64.
    """
    return pipeline.evaluation_images(
        config.validation_data,
        data_dir,
        lambda raw: parse_record(raw)["image"],
        config.model.num_channels,
        lambda pixels: place_on_canvas(pixels, config.model),
        grids,
        context,
    )
