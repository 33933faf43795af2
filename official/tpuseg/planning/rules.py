"""The rules by which an experiment follows from a data set; docs/plan.md describes each with its source.

A rule is a function of a few numbers. It returns the values that it changes, each with its reason. Where the data gives no reason
to differ from the experiment that the plan extends, it returns nothing.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tpuseg.configs.schema import ExperimentConfig, look_up
from tpuseg.data.instance_counts import InstanceCounts
from tpuseg.formats.dataset import INSTANCES, SEMANTIC
from tpuseg.maskrcnn import caps
from tpuseg.maskrcnn.config import AnchorConfig, MaskRcnnConfig
from tpuseg.planning import anchor_recall
from tpuseg.planning.fingerprint import object_sizes
from tpuseg.utils.messages import format_count

CPU, GPU, TPU = "cpu", "gpu", "tpu"
# Pixels that a small object should have on the canvas: three cells of P2, the finest level, whose stride is 4.
_SMALL_OBJECT = 12
# The same after random reduction: two cells.
_SMALLEST_OBJECT = 8
# Sides of Mask R-CNN's canvas are multiples of the stride of P6, and those of DeepLab's crop of its output stride.
_CANVAS_STRIDE, _CROP_STRIDE = 64, 16
# Share of the longer and shorter side of DeepLab's images that a crop shows, unless they are smaller than `_WHOLE`.
_CROP_SHARE, _WHOLE = 0.75, 160
# Anchors are changed if this much more of the objects have one with an IoU of 0.5, or with an IoU of 0.7.
_ANCHOR_GAIN = 0.05
# The steps of the experiments that plans extend are meant for this number of images.
_USUAL_IMAGES = 300
_MOST_TIMES_LONGER = {CPU: 4, GPU: 10, TPU: 10}
# The largest ratio of pixels of two classes at which both are learned without weights.
_BALANCED = 20
_SMALLEST_WEIGHT, _LARGEST_WEIGHT = 0.5, 4.0
# Below this batch, statistics of a batch are too inexact for batch normalization.
_SMALLEST_BATCH_FOR_NORM = 4
RATE = "trainer.optimizer_config.learning_rate.polynomial.initial_learning_rate"
_DECAY = "trainer.optimizer_config.learning_rate.polynomial.decay_steps"
_WARMUP = "trainer.optimizer_config.warmup.linear.warmup_steps"
# The keys that `length` may set.
LENGTH_KEYS = ("trainer.train_steps", "trainer.validation_interval", _DECAY, _WARMUP)
# Classes that are named in a reason.
_NAMED = 5
# Part of the computer's memory that records may fill.
_CACHE_SHARE = 1 / 8


@dataclasses.dataclass(frozen=True)
class Choice:
    """A value of the experiment.

    Attributes:
      path: dotted key.
      value: a value of YAML.
      reason: why, as a comment.
    """

    path: str
    value: Any
    reason: str


@dataclasses.dataclass(frozen=True)
class Level:
    """How much computation a plan may need: the experiment to extend, and limits for the size of the images.

    Attributes:
      experiment: Name of the experiment, which has the backbone.
      reason: Why, as a comment.
      longest_side: Limit for the longer side of Mask R-CNN's canvas in pixels.
      most_pixels: Limit for the area of DeepLab's canvas of evaluation in pixels.
    """

    experiment: str
    reason: str
    longest_side: int = 1024
    most_pixels: int = 768 * 1024


# From the cheapest to the most expensive.
_LEVELS = {
    INSTANCES: (
        Level("maskrcnn_custom_small", "MobileNetV2 with small heads, for a computer without a GPU", longest_side=256),
        Level("maskrcnn_custom_small", "MobileNetV2 with small heads, for a computer without a GPU", longest_side=512),
        Level("maskrcnn_custom", "MobileNetV2-FPN, for one GPU"),
        Level("maskrcnn_custom_r50", "ResNet-50-FPN, for a fast GPU or a TPU"),
    ),
    SEMANTIC: (
        Level("deeplab_custom", "MobileNetV2, which two CPU cores and any GPU can train", most_pixels=180 * 240),
        Level("deeplab_custom", "MobileNetV2, which two CPU cores and any GPU can train", most_pixels=360 * 480),
        Level("deeplab_custom", "MobileNetV2, which two CPU cores and any GPU can train"),
        Level("deeplab_custom_r50", "ResNet-50, for a fast GPU or a TPU"),
    ),
}
_USUAL_LEVEL = {CPU: 1, GPU: 2, TPU: 3}


@dataclasses.dataclass(frozen=True)
class Device:
    """The machine for which an experiment is planned.

    Attributes:
      name: `cpu`, `gpu`, or a type of TPU such as `v3-8`.
      kind: `cpu`, `gpu` or `tpu`.
      num_replicas: Number of replicas, among which a batch is divided evenly.
      replica_batch: Largest number of images of a replica of a TPU; 8 is that of `maskrcnn_coco` and `deeplab_voc`.
    """

    name: str
    kind: str
    num_replicas: int = 1
    replica_batch: int = 8


def levels(kind: str) -> tuple[Level, ...]:
    """Returns the levels for `instances` or `semantic`, the cheapest first."""
    return _LEVELS[kind]


def usual_level(device: Device) -> int:
    """Returns the index of the level for a device when there is no time budget."""
    return _USUAL_LEVEL[device.kind]


def num_classes(class_names: Sequence[str]) -> list[Choice]:
    """Returns the number of classes."""
    more = f" and {len(class_names) - _NAMED} more" if len(class_names) > _NAMED else ""
    return [Choice("task.model.num_classes", len(class_names), f"{', '.join(class_names[:_NAMED])}{more}")]


def num_channels(channels: int) -> list[Choice]:
    """Returns the number of channels if the images are not RGB."""
    return [] if channels == 3 else [Choice("task.model.num_channels", channels, "the channels of the records")]


def instance_canvas(boxes: np.ndarray, image_sizes: np.ndarray, of_boxes: np.ndarray, base: int, longest_side: int) -> list[Choice]:
    """Returns the canvas of Mask R-CNN: large enough for small objects, and with the form of the images.

    Args:
      boxes: [M, 4] boxes of the objects in pixels of their images.
      image_sizes: [N, 2] height and width of the images.
      of_boxes: [M, 2] height and width of the image of each box.
      base: side of the canvas of the extended experiment.
      longest_side: Limit for the longer side in pixels, unless `base` is larger.
    """
    sizes = object_sizes(boxes * (base / of_boxes.max(axis=1, initial=1))[:, None])
    small = float(np.percentile(sizes, 10)) if len(sizes) else math.inf
    side = max(image_sizes.max(axis=1))
    most = max(base, min(_round_up(side, _CANVAS_STRIDE), longest_side))
    longest = base if small >= _SMALL_OBJECT else min(_round_up(base * _SMALL_OBJECT / small, _CANVAS_STRIDE), most)
    ratios = image_sizes[:, 0] / image_sizes[:, 1]
    low, high = np.percentile(ratios, [5, 95])
    height = _round_up(longest * min(high, 1.0), _CANVAS_STRIDE)
    width = _round_up(longest / max(low, 1.0), _CANVAS_STRIDE)
    if (height, width) == (base, base):
        return []
    reasons = []
    if longest != base:
        on_planned = small * longest / base
        reasons.append(f"a tenth of the objects are smaller than {on_planned:.0f} pixels here, and {small:.0f} at {base}")
    if height != width:
        reasons.append(f"height / width of the images is {low:.2f} to {high:.2f}, so no larger canvas is filled")
    return [Choice("task.model.input_size", [height, width], "; ".join(reasons))]


def anchors(boxes: np.ndarray, canvas: Sequence[int], base: AnchorConfig) -> list[Choice]:
    """Returns sizes and aspect ratios of anchors if clearly more objects have a fitting one than with those of the experiment.

    Args:
      boxes: [N, 4] boxes in pixels of the canvas.
      canvas: height and width.
      base: anchors of the extended experiment.
    """
    if not len(boxes):
        return []
    sizes = base.replace(sizes=_anchor_sizes(boxes))
    ratios = base.replace(aspect_ratios=_aspect_ratios(boxes))
    both = sizes.replace(aspect_ratios=ratios.aspect_ratios)
    before = _recalls(boxes, canvas, base)
    best, reached = base, before
    for candidate in (sizes, ratios, both):
        found = _recalls(boxes, canvas, candidate)
        gains = [after - earlier for after, earlier in zip(found, reached, strict=True)]
        if max(gains) >= _ANCHOR_GAIN and sum(gains) > 0 and min(gains) > -_ANCHOR_GAIN:
            best, reached = candidate, found
    gain = f"{reached[0]:.0%} of the objects have an anchor with IoU 0.5 (before {before[0]:.0%}), {reached[1]:.0%}"
    gain += f" with 0.7 (before {before[1]:.0%})"
    named = (("sizes", "sizes of the objects"), ("aspect_ratios", "height / width of the objects"))
    changed = [(key, what) for key, what in named if getattr(best, key) != getattr(base, key)]
    return [Choice(f"task.model.rpn.anchors.{key}", list(getattr(best, key)), f"{what}: {gain}") for key, what in changed]


def _recalls(boxes: np.ndarray, canvas: Sequence[int], config: AnchorConfig) -> tuple[float, float]:
    fits = anchor_recall.best_iou(boxes, canvas, config)
    return float(np.mean(fits >= 0.5)), float(np.mean(fits >= 0.7))


def _anchor_sizes(boxes: np.ndarray) -> list[float]:
    """Returns five sizes in equal ratios between the 5th and the 95th percentile, a third of an octave apart or more."""
    low, high = np.percentile(object_sizes(boxes), [5, 95])
    low = max(float(low), 4.0)
    step = max((float(high) / low) ** 0.25, 2 ** (1 / 3))
    return [float(round(low * step**level)) for level in range(5)]


def _aspect_ratios(boxes: np.ndarray) -> list[float]:
    heights, widths = (boxes[:, 2:] - boxes[:, :2]).T
    found = np.percentile(heights / np.maximum(widths, 1e-6), [10, 50, 90])
    return sorted({round(float(min(max(ratio, 0.1), 10.0)), 2) for ratio in found})


def most_instances(per_image: Sequence[int], most_crowds: int, base: MaskRcnnConfig) -> list[Choice]:
    """Returns the caps of instances, detections, proposals and candidates if the fullest image needs more; see `caps`.

    Args:
      per_image: number of objects of each image.
      most_crowds: largest number of ignored regions in an image.
      base: the extended experiment.
    """
    counts = dataclasses.replace(InstanceCounts.of(per_image), most_crowds=most_crowds)
    derived = caps.derive(base, counts, counts.most_instances)
    reason = f"the fullest image has {format_count(counts.most_instances, 'instance')}"
    reasons = {"train_data.max_crowds": f"an image has {format_count(most_crowds, 'ignored region')}"}
    return [Choice(f"task.{key}", value, reasons.get(key, reason)) for key, value in derived.items()]


def instance_scales(boxes: np.ndarray, base_min: float) -> list[Choice]:
    """Returns a smallest random scale at which small objects keep two cells of the finest level.

    Args:
      boxes: [N, 4] boxes in pixels of the canvas.
      base_min: smallest scale of the extended experiment.
    """
    small = float(np.percentile(object_sizes(boxes), 10)) if len(boxes) else math.inf
    # Tenths, rounded up.
    scale = min(math.ceil(10 * _SMALLEST_OBJECT / small) / 10, 1.0)
    if scale <= base_min:
        return []
    return [Choice("task.train_data.scale_min", scale, f"a tenth of the objects are smaller than {small:.0f} pixels on the canvas")]


def semantic_canvas(image_sizes: np.ndarray, base_scales: tuple[float, float], most_pixels: int) -> list[Choice]:
    """Returns the canvas of evaluation, the training crop, and random scales for which both show objects at the same size.

    Args:
      image_sizes: [N, 2] height and width of the images.
      base_scales: smallest and largest random scale of the extended experiment.
      most_pixels: Limit for the area of the canvas of evaluation in pixels.
    """
    height, width = (int(side) for side in np.percentile(image_sizes, 95, axis=0))
    ratio = min(1.0, math.sqrt(most_pixels / (height * width)))
    canvas = [max(_round_up(side * ratio, 8) if ratio < 1 else side, 32) for side in (height, width)]
    crop = [_round_up(side if side <= _WHOLE else _CROP_SHARE * side, _CROP_STRIDE) for side in canvas]
    shown, shares = f"{height}x{width}", "all" if max(canvas) <= _WHOLE else f"{_CROP_SHARE:.0%} of the sides"
    reduced = f"the images are {shown}, reduced to an area of {most_pixels:,} pixels to save time and memory"
    reason = reduced if ratio < 1 else f"the size of the images, {shown}"
    choices = [
        Choice("task.evaluation.input_size", canvas, reason),
        Choice("task.model.input_size", crop, f"{shares} of the canvas of evaluation, in multiples of the output stride"),
    ]
    if ratio < 1:
        choices += [
            Choice(f"task.train_data.{key}", round(scale * ratio, 2), f"images are reduced to {ratio:.0%} in evaluation")
            for key, scale in zip(("scale_min", "scale_max"), base_scales, strict=True)
        ]
    return choices


def class_weights(pixels: Sequence[int], class_names: Sequence[str]) -> list[Choice]:
    """Returns weights for classes of very different frequency.

    They are the square roots of those of median frequency balancing, within limits, so that a rare class does not outweigh all
    others.

    Args:
      pixels: number of training pixels of each class.
      class_names: of the same classes.
    """
    present = np.array([count for count in pixels if count], np.float64)
    if len(present) < 2 or present.max() < _BALANCED * present.min():
        return []
    median = float(np.median(present))
    weights = [math.sqrt(median / count) if count else 1.0 for count in pixels]
    limited = [round(min(max(weight, _SMALLEST_WEIGHT), _LARGEST_WEIGHT), 2) for weight in weights]
    most, least = (class_names[list(pixels).index(count)] for count in (present.max(), present.min()))
    ratio = present.max() / present.min()
    return [Choice("task.losses.class_weights", limited, f"{most} has {ratio:,.0f} times as many pixels as {least}")]


def batch(num_images: int, base_batch: int, base_rate: float, device: Device) -> list[Choice]:
    """Returns the batch for several replicas or for very few images, and the learning rate for it (the square root scaling rule).

    Args:
      num_images: Number of training images.
      base_batch: Batch of the extended experiment.
      base_rate: Its learning rate.
      device: The machine.

    Raises:
      ValueError: There are fewer images than replicas.
    """
    replicas = device.num_replicas
    if num_images < replicas:
        raise ValueError(
            f"--device={device.name} has {replicas} replicas, and there are {format_count(num_images, 'image')} to train on;"
            " choose a smaller TPU, --device=gpu or --device=cpu"
        )
    usual = base_batch if device.kind != TPU else replicas * device.replica_batch
    size = usual
    while size > replicas and size > num_images:
        size //= 2
    if size == base_batch:
        return []
    images = format_count(device.replica_batch, "image")
    few = f"there are {format_count(num_images, 'image')} to train on"
    reason = few if size != usual else f"{images} for each of the {replicas} replicas of a {device.name}"
    rate = float(f"{base_rate * math.sqrt(size / base_batch):.3g}")
    choices = [
        Choice("task.train_data.global_batch_size", size, reason),
        Choice(RATE, rate, f"{base_rate:g} at batch {base_batch}, times the square root of {size} / {base_batch}"),
    ]
    if replicas > 1:
        choices.append(Choice("task.validation_data.global_batch_size", size, f"a multiple of {replicas} replicas"))
    return choices


def precision(device: Device) -> list[Choice]:
    """Returns the type of the computation: a TPU multiplies matrices in bfloat16."""
    if device.kind != TPU:
        return []
    return [Choice("runtime.mixed_precision_dtype", "bfloat16", "the type in which a TPU multiplies; weights stay in float32")]


def norm(batch_size: int) -> list[Choice]:
    """Returns frozen batch normalization of Mask R-CNN's backbone for small batches."""
    if batch_size >= _SMALLEST_BATCH_FOR_NORM:
        return []
    images = format_count(batch_size, "image")
    return [Choice("task.model.norm.mode", "frozen", f"a batch of {images} has no useful statistics, unlike the initial weights")]


def steps(num_images: int, base: ExperimentConfig, batch_size: int, device: Device) -> list[Choice]:
    """Returns the length of the training, in proportion to the images where there are many.

    A batch that is larger than that of the extended experiment needs fewer steps for the same number of images.

    Args:
      num_images: Number of training images.
      base: The extended experiment.
      batch_size: Batch of the planned experiment.
      device: The machine.
    """
    base_steps, base_batch = base.trainer.train_steps, base.task.train_data.global_batch_size
    times = min(max(num_images / _USUAL_IMAGES, 1.0), _MOST_TIMES_LONGER[device.kind]) * min(base_batch / batch_size, 1.0)
    number = max(round(base_steps * times / 100), 1) * 100
    if number == base_steps:
        return []
    at_batch = "" if batch_size <= base_batch else f" at batch {base_batch}"
    return length(number, 6, base, f"{base_steps} for {_USUAL_IMAGES} images{at_batch}; there are {num_images} to train on")


def length(number: int, num_evaluations: int, base: ExperimentConfig, reason: str) -> list[Choice]:
    """Returns the values that belong to a number of steps.

    Args:
      number: Number of steps.
      num_evaluations: Number of evaluations, the one after the last step included.
      base: The extended experiment.
      reason: Why there are this many steps.
    """
    interval = math.ceil(number / num_evaluations)
    if number >= 50 * num_evaluations:
        interval = math.ceil(interval / 10) * 10
    choices = [
        Choice("trainer.train_steps", number, reason),
        Choice("trainer.validation_interval", interval, f"{format_count(math.ceil(number / interval), 'evaluation')}"),
        Choice(_DECAY, number, "the learning rate reaches 0 at the end"),
    ]
    warmup = max(number // 10, 1)
    if warmup < look_up(base, _WARMUP):
        choices.append(Choice(_WARMUP, warmup, "a tenth of the steps"))
    return choices


def cache(num_bytes: int, memory: int) -> list[Choice]:
    """Returns whether the training records are kept in memory.

    Args:
      num_bytes: size of the records of training and validation.
      memory: of this computer in bytes; 0 if it is not known.
    """
    if num_bytes > memory * _CACHE_SHARE:
        return []
    shown = f"{num_bytes / 2**20:,.0f} MB of records, {memory / 2**30:,.0f} GB of memory"
    return [Choice("task.train_data.cache", True, shown)]


def _round_up(number: float, multiple: int) -> int:
    # 1e-6 for what floats make of whole numbers.
    return max(math.ceil(number / multiple - 1e-6), 1) * multiple
