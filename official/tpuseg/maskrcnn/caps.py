"""How many instances, ignored regions and detections of an image there is room for.

Static shapes need a number for each. Where the configuration leaves it open, it is what the fullest image of the records needs, and
where it is too small, the instances that do not fit are ignored: neither objects nor background.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from tpuseg.configs import schema
from tpuseg.data import instance_counts, pipeline
from tpuseg.data.instance_counts import InstanceCounts
from tpuseg.maskrcnn.config import DetectionConfig, MaskRcnnConfig, TrainDataConfig
from tpuseg.utils.messages import counted, plural

# Where the configuration has 0: as many as COCO needs, and more where records have more.
_SMALLEST = 100
# A mask, and an overlap with every anchor, is kept for each instance of a training image: beyond this memory is the limit.
_MOST_INSTANCES = 512
_MOST_DETECTIONS = 1000
# Instances and ignored boxes are counted in eights, a TPU's sublanes; detections in hundreds.
_ROWS, _DETECTIONS = 8, 100
# Proposals for each detection, candidates for each proposal, and pairs of roi and class for each detection.
_PROPOSALS, _CANDIDATES, _PAIRS = 2, 2, 5


class Fitted(NamedTuple):
    """A configuration whose caps are numbers.

    Attributes:
      config: with them.
      training: what the training records hold; None without records.
      most_evaluated: instances of the fullest image of the validation records; 0 without records.
      changed: keys (below `task`) and numbers that the records changed.
    """

    config: MaskRcnnConfig
    training: InstanceCounts | None
    most_evaluated: int
    changed: dict[str, int]


def instances(data: TrainDataConfig) -> int:
    """Returns how many instances of a training image there is room for."""
    return data.max_instances or _SMALLEST


def detections(config: DetectionConfig) -> int:
    """Returns how many detections of an image there are at most."""
    return config.max_detections or _SMALLEST


def fit(config: MaskRcnnConfig, data_dir: str, train: bool = True) -> Fitted:
    """Sizes what the configuration leaves open by the records.

    `max_instances` and `max_detections` of 0 become numbers; `max_crowds` and `max_ignored` become larger where records need it, as
    what does not fit there would be taken for background.

    Args:
      config: of the task.
      data_dir: where relative input patterns start.
      train: whether the training records' ignored regions matter; only older summaries do not tell them.

    Raises:
      ValueError: a file of records or a summary is damaged; names it.
    """
    train_paths, validation_paths = (_files(data, data_dir) for data in (config.train_data, config.validation_data))
    counts = instance_counts.count(train_paths) if train and train_paths else None
    most_trained = counts.most_instances if counts else instance_counts.most_instances(train_paths)
    most_evaluated = instance_counts.most_instances(validation_paths)
    changed = {**_training_caps(config.train_data, counts), **_detection_caps(config, max(most_trained, most_evaluated))}
    numbers = dict(changed)
    numbers.setdefault("train_data.max_instances", instances(config.train_data))
    numbers.setdefault("model.detection.max_detections", detections(config.model.detection))
    fitted = config.replace(**_nested(numbers))
    return Fitted(fitted, counts, most_evaluated, changed)


def _files(data: schema.DataConfig, data_dir: str) -> list[str]:
    if data.tfds_name or not data.input_path:
        return []
    try:
        return pipeline.find_files(data, data_dir)
    except ValueError:  # Said where the data are needed.
        return []


def _training_caps(data: TrainDataConfig, counts: InstanceCounts | None) -> dict[str, int]:
    if counts is None:
        return {}
    # Of another image, at most all instances are pasted in, and none of its ignored regions.
    most = counts.most_instances * (2 if data.copy_paste else 1)
    sized = _SMALLEST if most <= _SMALLEST else min(_rounded(most, _ROWS), _MOST_INSTANCES)
    limit = data.max_instances or sized
    needed = {
        "max_instances": limit,
        "max_ignored": max(data.max_ignored, _rounded(max(most - limit, 0), _ROWS)),
        "max_crowds": max(data.max_crowds, counts.most_crowds),
    }
    return {f"train_data.{key}": value for key, value in needed.items() if value != (getattr(data, key) or _default(key))}


def _default(key: str) -> int:
    return _SMALLEST if key == "max_instances" else 0


def _detection_caps(config: MaskRcnnConfig, most: int) -> dict[str, int]:
    """Returns the caps of detections, and of the proposals that they come from, where records need more than is ordinary."""
    model = config.model
    if model.detection.max_detections or most <= _SMALLEST:
        return {}
    limit = min(_rounded(most, _DETECTIONS), _MOST_DETECTIONS)
    proposals = _PROPOSALS * limit
    needed = {
        "detection.max_detections": limit,
        "detection.num_candidates": _PAIRS * limit,
        **{f"rpn.num_proposals_{mode}": proposals for mode in ("train", "test")},
        **{f"rpn.num_candidates_{mode}": _CANDIDATES * proposals for mode in ("train", "test")},
    }
    return {f"model.{key}": value for key, value in needed.items() if value > schema.look_up(model, key)}


def _rounded(number: int, multiple: int) -> int:
    return math.ceil(number / multiple) * multiple


def _nested(numbers: dict[str, int]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for path, number in numbers.items():
        *folders, key = path.split(".")
        place = nested
        for folder in folders:
            place = place.setdefault(folder, {})
        place[key] = number
    return nested


def notes(fitted: Fitted) -> Iterator[str]:
    """Yields the lines that a person should read before the first step: what was sized by the records, and what is lost."""
    data, model = fitted.config.train_data, fitted.config.model
    if fitted.changed:
        values = ", ".join(f"task.{path}={number}" for path, number in fitted.changed.items())
        yield f"sized by the fullest images of the records: {values}"
    if fitted.training:
        yield from _training_note(fitted.training, data)
    if fitted.most_evaluated > model.detection.max_detections:
        yield (
            f"warning: an image of the validation data has {fitted.most_evaluated} instances, but at most"
            f" {model.detection.max_detections} detections of an image are kept (task.model.detection.max_detections); 0 there"
            " keeps as many as the records need"
        )


def _training_note(counts: InstanceCounts, data: TrainDataConfig) -> Iterator[str]:
    excess = counts.beyond(data.max_instances)
    if not excess.images:
        return
    most = counts.most_instances
    way_out = f"set it to {_rounded(most, _ROWS)} to learn from all of them at once"
    if most > _MOST_INSTANCES:
        way_out += " if memory allows it, or cut the images into tiles"
    yield (
        f"warning: {excess.images} of {counted(counts.num_images, 'training image')} {plural(excess.images, 'has', 'have')} more"
        f" than {data.max_instances} instances (task.train_data.max_instances), the fullest one {most}: in each epoch"
        f" {excess.instances} of {counts.num_instances} instances, chosen at random, are ignored like crowds, neither objects nor"
        f" background; {way_out}"
    )


def metrics(config: MaskRcnnConfig, training: InstanceCounts | None, evaluated: InstanceCounts) -> dict[str, Any]:
    """Returns what exceeds the caps, as metrics: `images` with more instances, and `instances` beyond, of the whole data.

    Args:
      config: with numbers as caps.
      training: of the training data; None where there is no training.
      evaluated: of the validation data.
    """
    found = {"beyond_max_detections": evaluated.beyond(detections(config.model.detection))._asdict()}
    if training:
        found["beyond_max_instances"] = training.beyond(instances(config.train_data))._asdict()
    return found


def evaluation_warnings(config: MaskRcnnConfig, evaluated: InstanceCounts, num_detections: int) -> Iterator[str]:
    """Yields what a person should know before believing the metrics of an evaluation.

    Args:
      config: with numbers as caps.
      evaluated: of the validation data.
      num_detections: of all images.
    """
    if not evaluated.num_instances:
        yield "there is not one instance in the validation data, so no metric has a value"
    elif not num_detections:
        yield (
            "not one object was found; the model has not learned anything (yet): look at the learning rate and the initial weights"
        )
    limit = detections(config.model.detection)
    excess = evaluated.beyond(limit)
    if excess.images:
        yield (
            f"{excess.images} of {counted(evaluated.num_images, 'image')} {plural(excess.images, 'has', 'have')} more instances"
            f" than task.model.detection.max_detections, {limit} (the fullest one {evaluated.most_instances}): {excess.instances}"
            f" of {evaluated.num_instances} instances cannot be found; 0 there takes as many as the records need"
        )
    excess = evaluated.beyond(_SMALLEST)
    if excess.images and limit > _SMALLEST:
        yield (
            f"COCO's metrics count at most {_SMALLEST} detections of an image and class, and"
            f" {counted(excess.images, 'image has', 'images have')} more instances; the metrics that end in _all count all {limit}"
        )
