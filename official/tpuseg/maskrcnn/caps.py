"""The maximum numbers of instances, ignored regions and detections per image.

Static shapes require such a number for each of them. If the configuration has 0, the number is derived from the image with the most
instances in the records. If a number is too small, the surplus instances are ignored: they are neither foreground nor background.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from tpuseg.configs import schema
from tpuseg.data import instance_counts, pipeline
from tpuseg.data.instance_counts import InstanceCounts
from tpuseg.maskrcnn.config import DetectionConfig, MaskRcnnConfig, TrainDataConfig
from tpuseg.utils.messages import format_count, plural

# The minimum if the configuration has 0, which is enough for COCO.
_SMALLEST = 100
# A mask, and the IoU with every anchor, is stored for each instance of a training image, so memory limits their number.
_MOST_INSTANCES = 512
_MOST_DETECTIONS = 1000
# The maximum number of instances in a crop or window that become ignored regions because of `min_visible`: those at its border.
_MOST_CUT = 128
# Instances and ignored boxes are rounded up to a multiple of 8, the sublanes of a TPU, and detections to a multiple of 100.
_ROWS, _DETECTIONS = 8, 100
# Proposals per detection, RPN candidates per proposal, and pairs of roi and class per detection.
_PROPOSALS, _CANDIDATES, _PAIRS = 2, 2, 5


class FittedConfig(NamedTuple):
    """A configuration in which all caps are numbers.

    Attributes:
      config: the configuration with these numbers.
      training: counts of the training records; None without records.
      most_evaluated: largest number of instances in a validation image; 0 without records.
      changed: the numbers that were derived from the records, by key (below `task`).
    """

    config: MaskRcnnConfig
    training: InstanceCounts | None
    most_evaluated: int
    changed: dict[str, int]


def instances(data: TrainDataConfig) -> int:
    """Returns the maximum number of instances in a training image."""
    return data.max_instances or _SMALLEST


def detections(config: DetectionConfig) -> int:
    """Returns the maximum number of detections in an image."""
    return config.max_detections or _SMALLEST


def evaluated_detections(config: MaskRcnnConfig) -> int | None:
    """Returns the maximum number of detections in an image for the metrics that end in _all; None for all that are found."""
    limit = config.evaluation.max_detections
    return limit or (None if config.evaluation.tile else detections(config.model.detection))


def fit(config: MaskRcnnConfig, data_dir: str, train: bool = True) -> FittedConfig:
    """Derives the caps from the records.

    `max_instances` and `max_detections` of 0 are replaced by numbers. `max_crowds` and `max_ignored` are increased if the records
    need it, because surplus regions would become background. For parts of large images (`window`, `min_visible`) the increase is
    limited, and `inputs` joins surplus regions.

    Args:
      config: the configuration of the task.
      data_dir: folder for relative input patterns.
      train: whether to count the ignored regions of the training records, which summaries of older converters do not contain.

    Raises:
      ValueError: a file of records or a summary is damaged; the message names it.
    """
    train_paths, validation_paths = (_files(data, data_dir) for data in (config.train_data, config.validation_data))
    counts = instance_counts.count(train_paths) if train and train_paths else None
    most_trained = counts.most_instances if counts else instance_counts.most_instances(train_paths)
    # The number of instances in a window of an evaluated image is not known; training data shows it, if it was cut into windows.
    most_evaluated = 0 if config.evaluation.tile else instance_counts.most_instances(validation_paths)
    changed = derive(config, counts, max(most_trained, most_evaluated))
    numbers = dict(changed)
    numbers.setdefault("train_data.max_instances", instances(config.train_data))
    numbers.setdefault("model.detection.max_detections", detections(config.model.detection))
    fitted = config.replace(**_nest(numbers))
    return FittedConfig(fitted, counts, most_evaluated, changed)


def derive(config: MaskRcnnConfig, training: InstanceCounts | None, most: int) -> dict[str, int]:
    """Returns the caps that differ from those of a configuration, by key (below `task`).

    Args:
      config: the configuration of the task.
      training: counts of the training data; None without it.
      most: largest number of instances in an image of training or validation.
    """
    return {**_training_caps(config.train_data, training), **_detection_caps(config, most)}


def joins_surplus(data: TrainDataConfig) -> bool:
    """Returns whether the numbers of ignored instances and regions in a crop can exceed the caps, which bound memory then."""
    return data.window > 0 or data.min_visible > 0


def _files(data: schema.DataConfig, data_dir: str) -> list[str]:
    if data.tfds_name or not data.input_path:
        return []
    try:
        return pipeline.find_files(data, data_dir)
    except ValueError:  # The error is reported when the data is read.
        return []


def _training_caps(data: TrainDataConfig, counts: InstanceCounts | None) -> dict[str, int]:
    if counts is None:
        return {}
    # Copy-paste adds at most all instances of one other image, and no ignored regions.
    most = counts.most_instances * (2 if data.copy_paste else 1)
    sized = _SMALLEST if most <= _SMALLEST else min(_round_up(most, _ROWS), _MOST_INSTANCES)
    limit = data.max_instances or sized
    surplus, crowds = _round_up(max(most - limit, 0), _ROWS), counts.most_crowds
    if data.window:  # It shows a part of the image with the most.
        surplus, crowds = min(surplus, _MOST_INSTANCES), min(crowds, _MOST_INSTANCES)
    if data.min_visible:
        crowds += min(_round_up(most, _ROWS), _MOST_CUT)
    needed = {
        "max_instances": limit,
        "max_ignored": max(data.max_ignored, surplus),
        "max_crowds": max(data.max_crowds, crowds),
    }
    return {f"train_data.{key}": value for key, value in needed.items() if value != (getattr(data, key) or _default(key))}


def _default(key: str) -> int:
    return _SMALLEST if key == "max_instances" else 0


def _detection_caps(config: MaskRcnnConfig, most: int) -> dict[str, int]:
    """Returns larger caps of detections, proposals and candidates if the records need more than the configured numbers."""
    model = config.model
    if model.detection.max_detections or most <= _SMALLEST:
        return {}
    limit = min(_round_up(most, _DETECTIONS), _MOST_DETECTIONS)
    proposals = _PROPOSALS * limit
    needed = {
        "detection.max_detections": limit,
        "detection.num_candidates": _PAIRS * limit,
        **{f"rpn.num_proposals_{mode}": proposals for mode in ("train", "test")},
        **{f"rpn.num_candidates_{mode}": _CANDIDATES * proposals for mode in ("train", "test")},
    }
    return {f"model.{key}": value for key, value in needed.items() if value > schema.look_up(model, key)}


def _round_up(number: int, multiple: int) -> int:
    return math.ceil(number / multiple) * multiple


def _nest(numbers: dict[str, int]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for path, number in numbers.items():
        *folders, key = path.split(".")
        place = nested
        for folder in folders:
            place = place.setdefault(folder, {})
        place[key] = number
    return nested


def notes(fitted: FittedConfig) -> Iterator[str]:
    """Yields messages to print before the first step: caps that were derived from the records, and ignored instances."""
    data, model = fitted.config.train_data, fitted.config.model
    if fitted.changed:
        values = ", ".join(f"task.{path}={number}" for path, number in fitted.changed.items())
        yield f"derived from the images with the most instances: {values}"
    if fitted.training and not data.window:
        yield from _training_note(fitted.training, data)
    if fitted.most_evaluated > model.detection.max_detections:
        yield (
            f"warning: an image of the validation data has {fitted.most_evaluated} instances, but at most"
            f" {model.detection.max_detections} detections per image are kept (task.model.detection.max_detections); set it to 0 to"
            " keep as many as the records need"
        )


def _training_note(counts: InstanceCounts, data: TrainDataConfig) -> Iterator[str]:
    excess = counts.beyond(data.max_instances)
    if not excess.images:
        return
    most = counts.most_instances
    advice = f"set it to {_round_up(most, _ROWS)} to train on all of them"
    if most > _MOST_INSTANCES:
        advice += " if memory allows it, or cut the images into tiles"
    yield (
        f"warning: {excess.images} of {format_count(counts.num_images, 'training image')} {plural(excess.images, 'has', 'have')}"
        f" more than {data.max_instances} instances (task.train_data.max_instances), and at most {most}: in each epoch"
        f" {excess.instances} of {counts.num_instances} instances, chosen randomly, are ignored regions, neither foreground nor"
        f" background; {advice}"
    )


def metrics(config: MaskRcnnConfig, training: InstanceCounts | None, evaluated: InstanceCounts) -> dict[str, Any]:
    """Returns the numbers of `images` and `instances` that exceed the caps, as metrics.

    Args:
      config: a configuration from `fit`.
      training: counts of the training data; None without training.
      evaluated: counts of the validation data.
    """
    found: dict[str, Any] = {}
    if not config.evaluation.tile:
        found["beyond_max_detections"] = evaluated.beyond(detections(config.model.detection))._asdict()
    if training and not config.train_data.window:  # How many instances a window shows is not known.
        found["beyond_max_instances"] = training.beyond(instances(config.train_data))._asdict()
    return found


def evaluation_warnings(config: MaskRcnnConfig, evaluated: InstanceCounts, num_detections: int) -> Iterator[str]:
    """Yields warnings about the metrics of an evaluation.

    Args:
      config: a configuration from `fit`.
      evaluated: counts of the validation data.
      num_detections: number of detections in all images.
    """
    if not evaluated.num_instances:
        yield "the validation data contains no instances, so no metric has a value"
    elif not num_detections:
        yield "the model found no objects: it has not learned anything yet, or the learning rate or the initial weights are wrong"
    limit = detections(config.model.detection)
    excess = evaluated.beyond(limit)
    if excess.images and not config.evaluation.tile:
        yield (
            f"{excess.images} of {format_count(evaluated.num_images, 'image')} {plural(excess.images, 'has', 'have')} more"
            " instances"
            f" than task.model.detection.max_detections, {limit} (at most {evaluated.most_instances}): {excess.instances}"
            f" of {evaluated.num_instances} instances cannot be found; set it to 0 to detect as many as the records need"
        )
    excess = evaluated.beyond(_SMALLEST)
    used = evaluated_detections(config)
    if excess.images and (used is None or used > _SMALLEST):
        yield (
            f"COCO's metrics use at most {_SMALLEST} detections per image and class, and"
            f" {format_count(excess.images, 'image has', 'images have')} more instances; the metrics that end in _all use"
            f" {'all' if used is None else f'all {used}'}"
        )
