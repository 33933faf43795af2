"""The comparison of several runs of instance segmentation on the same images, from their matched detections.

The bootstrap draws images with replacement, so metrics are functions of weights: how often each image is drawn. AP50 then counts a
detection as often as its image, which gives the same value as an evaluation of the repeated images.

Shapes: I images, K classes.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tpuseg.report import average_precision, bootstrap
from tpuseg.report.average_precision import RECALLS
from tpuseg.report.comparison import Comparison, ImageDifference, Metric, compare_configurations, find_largest_differences
from tpuseg.report.content import Card, Report
from tpuseg.report.matching import Matches

# Images that are shown side by side.
_MOST_IMAGES = 200
_Metric = Callable[[np.ndarray], float]


@dataclasses.dataclass(frozen=True)
class ComparedRun:
    """A run of a comparison.

    Attributes:
      name: name of the run.
      matches: the matched detections of its evaluation.
      report: the report of its evaluation.
      threshold: score threshold with the largest F1; None if no detection is right.
      configuration: its configuration.
    """

    name: str
    matches: Matches
    report: Report
    threshold: float | None
    configuration: Mapping[str, Any]


def compare(runs: Sequence[ComparedRun], title: str = "Comparison of runs") -> Comparison:
    """Compares runs that were evaluated on the same images; differences are those to the first run.

    Args:
      runs: at least two runs.
      title: title of the page.

    Raises:
      ValueError: there is only one run, or the runs have other images, objects or classes.
    """
    _require_equal_data(runs)
    num_images = len(runs[0].matches.sizes)
    metrics = [
        _compare_metric("mask AP50", [average_precision_of(run.matches) for run in runs], num_images),
        _compare_metric("F1 at the best score threshold", [f1_of(run.matches, run.threshold) for run in runs], num_images),
    ]
    cards: list[dict[str, Card]] = [{card.image_id: card for card in run.report.cards} for run in runs]
    largest = find_largest_differences([{key: card.score for key, card in of_run.items()} for of_run in cards], _MOST_IMAGES)
    return Comparison(
        title=title,
        kind=runs[0].report.kind,
        class_names=runs[0].report.class_names,
        runs=[run.name for run in runs],
        facts=[("images", str(num_images)), ("instances", str(len(runs[0].matches.objects.label)))],
        metrics=metrics,
        differences=[ImageDifference(key, value, [of_run[key] for of_run in cards]) for key, value in largest],
        settings=compare_configurations([run.configuration for run in runs]),
        sections=[],
    )


def _require_equal_data(runs: Sequence[ComparedRun]) -> None:
    if len(runs) < 2:
        raise ValueError(f"a comparison needs at least two runs, and {len(runs)} is given")
    first = runs[0]
    for run in runs[1:]:
        same = (
            run.report.class_names == first.report.class_names
            and np.array_equal(run.matches.sizes, first.matches.sizes)
            and np.array_equal(run.matches.objects.label, first.matches.objects.label)
            and np.array_equal(run.matches.objects.box, first.matches.objects.box)
        )
        if not same:
            pair = f"{first.name} and {run.name}"
            raise ValueError(f"{pair} were evaluated on other images, objects or classes; evaluate both on the same records")


def _compare_metric(name: str, metrics: Sequence[_Metric], num_images: int) -> Metric:
    first = metrics[0]
    values = [bootstrap.estimate_interval(metric, num_images) for metric in metrics]
    differences = [
        bootstrap.estimate_interval(lambda weights, metric=metric: metric(weights) - first(weights), num_images)  # type: ignore[misc]
        for metric in metrics[1:]
    ]
    return Metric(name, values, [None, *differences])


def average_precision_of(matches: Matches) -> _Metric:
    """Returns AP50 as a function of the images' weights, [I] int: the mean over the classes with objects; NaN without objects."""
    found, objects = matches.detections, matches.objects
    used = np.flatnonzero(~found.ignored)
    right, images = found.right[used], found.image[used]
    classes = list(average_precision.by_class(found.label[used], found.score[used], matches.num_classes))
    counts = np.zeros((len(matches.sizes), matches.num_classes), np.int64)
    np.add.at(counts, (objects.image, objects.label), 1)

    def metric(weights: np.ndarray) -> float:
        num_objects = weights @ counts
        values = [
            _weighted_average_precision(right[rows], weights[images[rows]], count)
            for rows, count in zip(classes, num_objects.tolist(), strict=True)
            if count
        ]
        return float(np.mean(values)) if values else np.nan

    return metric


def _weighted_average_precision(is_right: np.ndarray, weights: np.ndarray, num_objects: int) -> float:
    """Returns the average precision of detections in the order of decreasing scores, each as often as its weight."""
    drawn = weights > 0
    is_right, weights = is_right[drawn], weights[drawn]
    hits = np.cumsum(weights * is_right)
    precision = np.maximum.accumulate((hits / np.cumsum(weights))[::-1])[::-1]
    places = np.searchsorted(hits / num_objects, RECALLS)
    reached = places < len(precision)
    return float(precision[places[reached]].sum() / len(RECALLS))


def f1_of(matches: Matches, threshold: float | None) -> _Metric:
    """Returns F1 at a score threshold as a function of the images' weights, [I] int; NaN without objects and detections.

    Args:
      matches: the matched detections.
      threshold: the score threshold; with None no detection is kept.
    """
    found, num_images = matches.detections, len(matches.sizes)
    kept = (found.score >= (np.inf if threshold is None else threshold)) & ~found.ignored
    right = np.bincount(found.image[kept & found.right], minlength=num_images)
    total = np.bincount(found.image[kept], minlength=num_images) + np.bincount(matches.objects.image, minlength=num_images)

    def metric(weights: np.ndarray) -> float:
        denominator = int(weights @ total)
        return 2 * int(weights @ right) / denominator if denominator else np.nan

    return metric
