"""The evaluation report of Mask R-CNN, from the detections and labels of an evaluation."""

import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tpuseg.data import pipeline, records
from tpuseg.evaluation.coco import CocoEvaluator
from tpuseg.maskrcnn import caps, inputs
from tpuseg.maskrcnn.config import MaskRcnnConfig
from tpuseg.ops import windows
from tpuseg.report import instance_comparison, instances, page, thumbnails, writing

_WORKERS = 4


def write(
    folder: str,
    evaluator: CocoEvaluator,
    config: MaskRcnnConfig,
    data_dir: str,
    evaluations: Sequence[Mapping[str, Any]] = (),
    title: str = "Evaluation report",
) -> str:
    """Writes the report of an evaluation; the images come from the records.

    Args:
      folder: Folder of the report.
      evaluator: The detections and labels.
      config: The task's configuration.
      data_dir: Folder of relative input patterns.
      evaluations: Metrics of the run's evaluations, the earliest first.
      title: Title of the page.

    Returns:
      The path of the page.

    Raises:
      ValueError: A record or image is damaged.
      OSError: A file cannot be read or written.
    """
    names, urls = _write_images(folder, config, data_dir)
    context = _describe(evaluator, config, data_dir, evaluations)
    matches = instances.match_evaluation(evaluator)
    best = instances.best_thresholds(matches, [category.name for category in evaluator.categories])
    writing.write_thresholds(folder, best._asdict())
    return writing.write(instances.analyse(evaluator, urls.__getitem__, title, context, names, matches), folder)


def write_comparison(
    folder: str, runs: Sequence[tuple[str, CocoEvaluator, Mapping[str, Any]]], config: MaskRcnnConfig, data_dir: str
) -> str:
    """Writes a page that compares evaluations on the same images.

    Args:
      folder: Folder of the page.
      runs: Name, detections and labels, and configuration of each run.
      config: The task's configuration of the first run, whose records have the images.
      data_dir: Folder of relative input patterns.

    Returns:
      The path of the page.

    Raises:
      ValueError: The runs have other images, objects or classes, or a record or image is damaged.
      OSError: A file cannot be read or written.
    """
    compared = []
    names, urls = _write_images(folder, config, data_dir)
    for name, evaluator, configuration in runs:
        matches = instances.match_evaluation(evaluator)
        best = instances.best_thresholds(matches, [category.name for category in evaluator.categories])
        content = instances.analyse(evaluator, urls.__getitem__, name, image_names=names, matches=matches)
        compared.append(instance_comparison.ComparedRun(name, matches, content, best.overall, configuration))
    return page.write_comparison(instance_comparison.compare(compared), folder)


def _write_images(folder: str, config: MaskRcnnConfig, data_dir: str) -> tuple[list[str], list[str]]:
    """Writes the images of the page; returns their names and URLs."""
    names: list[str] = []

    def remember(images: Iterator[tuple[str, bytes | np.ndarray]]) -> Iterator[tuple[str, bytes | np.ndarray]]:
        for name, content in images:
            names.append(name)
            yield name, content

    urls = list(thumbnails.write_thumbnails(remember(_read_images(config, data_dir)), folder, _WORKERS))
    return names, urls


def _read_images(config: MaskRcnnConfig, data_dir: str) -> Iterator[tuple[str, bytes | np.ndarray]]:
    """Yields the name and the content of every evaluated image, in order."""
    for name, encoded in records.read_images(pipeline.find_files(config.validation_data, data_dir)):
        yield os.path.basename(name), records.to_image_file(encoded, config.model.num_channels)


def _describe(
    evaluator: CocoEvaluator, config: MaskRcnnConfig, data_dir: str, evaluations: Sequence[Mapping[str, Any]]
) -> instances.Context:
    """Returns what is known about the run."""
    scale_of = functools.cache(lambda size: _canvas_scale(size, config))
    return instances.Context(
        drawn_score=config.evaluation.drawn_score,
        nms_iou=config.model.detection.nms_iou,
        max_detections=None if config.evaluation.tile else caps.detections(config.model.detection),
        canvas_scales=[scale_of((truth.height, truth.width)) for truth in evaluator.truths],
        training_instances=_count_training_instances(config, data_dir),
        evaluations=evaluations,
    )


def _canvas_scale(size: tuple[int, int], config: MaskRcnnConfig) -> float:
    """Returns the factor from pixels of an image, or of its windows, to pixels of the canvas."""
    evaluation = config.evaluation
    if evaluation.tile:
        size = windows.scaled_size((min(size[0], evaluation.tile), min(size[1], evaluation.tile)), evaluation.tile_scale)
    factor = float(inputs.fit_scale(tf.constant(size, tf.int32), config.model))
    return factor * (evaluation.tile_scale if evaluation.tile else 1.0)


def _count_training_instances(config: MaskRcnnConfig, data_dir: str) -> dict[str, int] | None:
    """Returns the number of training instances of each class by its name; None without summaries."""
    try:
        summaries = pipeline.read_summaries(config.train_data, data_dir) if not config.train_data.tfds_name else {}
    except ValueError:  # A process that only evaluates may not have the training records.
        return None
    counts: dict[str, int] = {}
    for summary in summaries.values():
        for name, count in summary.get("objects_per_class", {}).items():
            counts[name] = counts.get(name, 0) + count
    return counts or None
