"""The evaluation report of an instance segmentation model, from its detections and the labels; no network is needed."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tpuseg.report import (
    advice,
    breakdowns,
    content,
    instance_cards,
    instance_labels,
    instance_sections,
    lost_precision,
    matching,
    scores,
    selection,
)
from tpuseg.report.instance_sections import ClassScores
from tpuseg.report.matching import Matches, Truth
from tpuseg.report.selection import Selection
from tpuseg.utils.messages import format_count

if TYPE_CHECKING:  # Importing it at run time would load TensorFlow.
    from tpuseg.evaluation.coco import CocoEvaluator

# Maximum number of labels to check; more are counted.
MAX_LABELS = 5000
# Detections with at least this score are used if none is right, so that no score threshold is the best.
_DEFAULT_THRESHOLD = 0.5
_PROBABLE = 0.9
_HIGH_SCORE = 0.8


@dataclasses.dataclass(frozen=True)
class Context:
    """What is known about the run; advice that needs an unknown value is not given.

    Attributes:
      drawn_score: `task.evaluation.drawn_score`.
      nms_iou: `task.model.detection.nms_iou`.
      max_detections: maximum number of detections per image.
      canvas_scales: factor from the pixels of each image to those of the network's input, by index of the image.
      training_instances: number of training instances of each class, by name.
      evaluations: metrics of the run's evaluations with `loss` and `step`, the earliest first.
    """

    drawn_score: float | None = None
    nms_iou: float | None = None
    max_detections: int | None = None
    canvas_scales: Sequence[float] | None = None
    training_instances: Mapping[str, int] | None = None
    evaluations: Sequence[Mapping[str, Any]] = ()


class Thresholds(NamedTuple):
    """The score thresholds with the largest F1 at IoU 0.5.

    Attributes:
      overall: the threshold for all classes; None if no detection is right.
      by_class: the threshold of each class by its name; None where no detection is right.
    """

    overall: float | None
    by_class: dict[str, float | None]


class _Names:
    """The names of images, annotations and classes."""

    def __init__(self, truths: Sequence[Truth], class_names: Sequence[str], image_names: Sequence[str] | None) -> None:
        self._truths = truths
        self._class_names = class_names
        self._image_names = image_names

    def image_id(self, index: int) -> str:
        return self._truths[index].source_id

    def image_name(self, index: int) -> str:
        return self._image_names[index] if self._image_names else self.image_id(index)

    def annotation_id(self, index: int, row: int) -> str:
        return str(self._truths[index].annotations[row].get("id", row))

    def class_name(self, label: int) -> str:
        return self._class_names[label]


def match_evaluation(evaluator: "CocoEvaluator") -> Matches:
    """Matches the detections of an evaluation to its objects."""
    category_ids = [category.id for category in evaluator.categories]
    return matching.match(evaluator.truths, evaluator.detections, category_ids)


def best_thresholds(matches: Matches, class_names: Sequence[str]) -> Thresholds:
    """Returns the score thresholds with the largest F1."""
    *classes, overall = instance_sections.class_scores(matches, class_names)
    by_class = {curve.name: None if curve.best is None else curve.best.threshold for curve in classes}
    return Thresholds(None if overall.best is None else overall.best.threshold, by_class)


def find_labels_to_check(
    truths: Sequence[Truth],
    detections: Mapping[int, list[dict[str, Any]]],
    category_ids: Sequence[int],
    class_names: Sequence[str],
) -> list[content.LabelToCheck]:
    """Returns the suspicious labels of a data set, the most suspicious first.

    Args:
      truths: the objects of each image.
      detections: detections of each image in COCO's form with run lengths, by index in `truths`.
      category_ids: the category id of each class.
      class_names: the name of each class.
    """
    matches = matching.match(truths, detections, category_ids)
    chosen = _select_best(matches, instance_sections.class_scores(matches, class_names))
    return _list_labels(matches, chosen, _Names(truths, class_names, None))[0]


def _select_best(matches: Matches, curves: Sequence[ClassScores]) -> Selection:
    best = curves[-1].best
    return selection.select(matches, _DEFAULT_THRESHOLD if best is None else best.threshold)


def _list_labels(matches: Matches, chosen: Selection, names: _Names) -> tuple[list[content.LabelToCheck], int]:
    """Returns the first labels to check, and the number of those that are left out."""
    found = instance_labels.find_suspicions(matches, chosen)
    first = instance_labels.Suspicions(*(column[:MAX_LABELS] for column in found))
    return instance_labels.describe(matches, first, names), len(found.kind) - len(first.kind)


def analyse(
    evaluator: "CocoEvaluator",
    image_url: Callable[[int], str],
    title: str = "Evaluation report",
    context: Context | None = None,
    image_names: Sequence[str] | None = None,
    matches: Matches | None = None,
) -> content.Report:
    """Returns the report of an evaluation.

    Errors are counted for the detections with at least the score that has the largest F1; AP uses all detections.

    Args:
      evaluator: the labels and detections.
      image_url: returns the relative URL of an image by its index.
      title: title of the page.
      context: what is known about the run.
      image_names: the name of each image; its id by default.
      matches: from `match_evaluation`, if they exist already.
    """
    context = context or Context()
    matches = matches or match_evaluation(evaluator)
    class_names = [category.name for category in evaluator.categories]
    names = _Names(evaluator.truths, class_names, image_names)
    curves = instance_sections.class_scores(matches, class_names)
    chosen = _select_best(matches, curves)
    found = matches.detections
    calibration = scores.calibration(found.score[~found.ignored], found.right[~found.ignored])
    lost = lost_precision.lost_by_type(matches)
    confusion = selection.confusion(matches, chosen)
    labels, num_left_out = _list_labels(matches, chosen, names)
    precisions = evaluator.precisions("segm")
    of_classes = breakdowns.by_class(matches, chosen, class_names)
    sections = [
        instance_sections.errors_section(lost, selection.count_errors(matches, chosen), chosen, of_classes),
        instance_sections.accuracy_section(precisions, curves),
        instance_sections.scores_section(curves, calibration),
        instance_sections.confusion_section(confusion, class_names, chosen),
        instance_sections.places_section(matches, chosen),
        instance_sections.labels_section(labels, num_left_out, chosen),
    ]
    findings = [
        *_find_advice(matches, chosen, lost, curves[-1], context),
        advice.confused_classes(confusion, class_names, "instances"),
        advice.calibration(calibration, "task.evaluation.drawn_score"),
        _advise_rare_class(context, precisions, class_names),
        advice.wrong_labels(sum(label.score >= _PROBABLE for label in labels), len(matches.objects.label), "labels"),
        advice.overfitting(context.evaluations),
    ]
    return content.Report(
        title=title,
        kind="instances",
        class_names=class_names,
        facts=_list_facts(matches, chosen, precisions, curves[-1]),
        advice=advice.choose(findings),
        sections=sections,
        cards=instance_cards.create_cards(matches, chosen, evaluator.truths, evaluator.detections, names, image_url),
        labels_to_check=labels,
    )


def _list_facts(matches: Matches, chosen: Selection, precisions: np.ndarray, overall: ClassScores) -> list[tuple[str, str]]:
    def mean(values: np.ndarray) -> str:
        known = values[values > -1]
        return f"{known.mean():.3f}" if known.size else "-"

    best = overall.best
    return [
        ("mask AP", mean(precisions[..., 0])),
        ("mask AP50", mean(precisions[0, ..., 0])),
        ("images", str(len(matches.sizes))),
        ("instances", str(len(matches.objects.label))),
        ("detections", str(len(matches.detections.label))),
        ("score threshold", f"{chosen.threshold:.3f}" + ("" if best is None else f" (best F1, {best.f1:.3f})")),
        ("shown", format_count(int(chosen.kept.sum()), "detection")),
    ]


def _find_advice(
    matches: Matches, chosen: Selection, lost: Mapping[str, float], overall: ClassScores, context: Context
) -> Iterator[advice.Finding | None]:
    """Yields the advice that follows from the matches."""
    found, objects = matches.detections, matches.objects
    counts = selection.count_errors(matches, chosen)
    num_objects = len(objects.label)
    if context.canvas_scales is not None:
        scales = np.asarray(context.canvas_scales, np.float64)[objects.image[chosen.missed]]
        yield advice.small_objects(np.sqrt(objects.area[chosen.missed]) * scales, lost["missed"])
    yield advice.missed_objects(counts["missed"], num_objects, lost["missed"])
    yield advice.duplicates(counts["duplicate"], lost["duplicate"], context.nms_iou)
    high = (found.score >= _HIGH_SCORE) & ~found.ignored
    yield advice.background_errors(int(high.sum()), int((high & (found.error == matching.BACKGROUND)).sum()), lost["background"])
    yield advice.localization(lost["localization"], counts["localization"])
    if context.max_detections is not None:
        per_image = np.bincount(objects.image, minlength=len(matches.sizes))
        at_limit = int((per_image >= context.max_detections).sum())
        yield advice.detection_limit(at_limit, len(matches.sizes), context.max_detections)
    if context.drawn_score is not None:
        kept = (found.score >= context.drawn_score) & ~found.ignored
        drawn_f1 = 2 * int((kept & found.right).sum()) / max(int(kept.sum()) + num_objects, 1)
        yield advice.score_threshold(overall.best, context.drawn_score, drawn_f1)


def _advise_rare_class(context: Context, precisions: np.ndarray, class_names: Sequence[str]) -> advice.Finding | None:
    if context.training_instances is None:
        return None
    values = precisions[..., 0].mean((0, 1))
    accuracy = {name: None if value < 0 else float(value) for name, value in zip(class_names, values.tolist(), strict=True)}
    return advice.rare_class(context.training_instances, accuracy, "instances")
