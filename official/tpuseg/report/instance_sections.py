"""The sections of the report of an instance segmentation model.

Shapes: K classes, D detections, N objects.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tpuseg.report import breakdowns, instance_labels, scores
from tpuseg.report.average_precision import RECALLS, by_class, precision_at_recalls
from tpuseg.report.breakdowns import Breakdown
from tpuseg.report.content import ERRORS, Chart, LabelToCheck, Matrix, Section, Series, Table
from tpuseg.report.matching import Matches
from tpuseg.report.selection import Selection

IOU_THRESHOLDS = np.arange(10, 20) / 20
_AREAS = ("all", "small (below 32 x 32 pixels)", "medium", "large (above 96 x 96 pixels)")
# Number of classes whose curves are drawn.
_NUM_CURVES = 8
_MEANINGS = {
    "classification": "the mask is right, the class is wrong",
    "localization": "the class is right, the mask overlaps the object with an IoU of 0.1 to 0.5",
    "both": "class and mask are wrong",
    "duplicate": "the object is already detected with a higher score",
    "background": "no object is here",
    "missed": "the object has no detection, not even with a wrong class or mask",
    "false positives": "all wrong detections",
    "false negatives": "all objects that no detection takes",
}


class ClassScores(NamedTuple):
    """What the scores of the detections of one class are worth, or of all classes.

    Attributes:
      name: name of the class.
      num_objects: number of objects.
      precision: [101] precision at the recalls.
      f1: [101] F1 at the score thresholds.
      best: the best threshold; None if no detection is right.
    """

    name: str
    num_objects: int
    precision: np.ndarray
    f1: np.ndarray
    best: scores.Best | None


def class_scores(matches: Matches, class_names: Sequence[str]) -> list[ClassScores]:
    """Returns what the scores are worth for each class, and at the end for all detections together."""
    found = matches.detections
    rows = np.flatnonzero(~found.ignored)
    score, right, label = found.score[rows], found.right[rows], found.label[rows]
    counts = np.bincount(matches.objects.label, minlength=matches.num_classes).tolist()
    groups = [*by_class(label, score, matches.num_classes), np.argsort(-score, kind="stable")]
    return [
        ClassScores(
            name,
            count,
            precision_at_recalls(right[group], count),
            scores.f1(score[group], right[group], count),
            scores.best_threshold(score[group], right[group], count),
        )
        for name, count, group in zip([*class_names, "all classes"], [*counts, sum(counts)], groups, strict=True)
    ]


def errors_section(lost: Mapping[str, float], counts: Mapping[str, int], chosen: Selection, of_classes: Breakdown) -> Section:
    """Returns the section about the types of errors.

    Args:
      lost: AP50 that each type costs.
      counts: number of errors of each type.
      chosen: the detections that are counted.
      of_classes: errors by class.
    """
    chart = Chart(
        "lost_ap",
        "AP50 that each type of error costs",
        "bar",
        "type of error",
        "AP50",
        [Series("AP50", list(map(float, range(len(ERRORS)))), [lost[name] for name in ERRORS])],
        x_names=list(ERRORS),
        note="AP50 of masks after correcting all errors of one type, minus AP50 (TIDE, arXiv:2008.08115).",
    )
    rows: list[list[str | float | int | None]] = [
        [name, meaning, round(lost[name], 4), counts.get(name)] for name, meaning in _MEANINGS.items()
    ]
    note = f"Numbers of detections with a score of at least {chosen.threshold:.2f}; AP50 uses all detections."
    table = Table("error_types", "Types of errors", ["type", "meaning", "AP50 lost", "number"], rows, note)
    classes = breakdown_table("errors_by_class", "Errors by class", "class", of_classes)
    return Section("errors", "Errors", ["Each wrong detection and each missed object has one type."], [chart, table, classes])


def accuracy_section(precisions: np.ndarray, curves: Sequence[ClassScores]) -> Section:
    """Returns the section about AP.

    Args:
      precisions: [10, 101, K, 4] precision of masks, from `CocoEvaluator.precisions`.
      curves: from `class_scores`.
    """
    rows: list[list[str | float | int | None]] = []
    for number, curve in enumerate(curves[:-1]):
        ap, ap50, ap75 = (_mean(precisions[part, :, number, 0]) for part in (slice(None), 0, 5))
        best = curve.best
        values = [None, None] if best is None else [round(best.threshold, 3), round(best.f1, 4)]
        rows.append([curve.name, curve.num_objects, ap, ap50, ap75, *values])
    columns = ["class", "instances", "AP", "AP50", "AP75", "best score threshold", "F1"]
    classes = Table("ap_by_class", "AP by class", columns, rows, "AP of masks; F1 at IoU 0.5 with the best score threshold.")
    sizes = Chart(
        "ap_by_size",
        "AP by the area of the object",
        "bar",
        "area",
        "AP",
        [Series("AP", [0.0, 1.0, 2.0, 3.0], [_mean(precisions[..., place]) for place in range(4)])],
        x_names=list(_AREAS),
    )
    levels = Chart(
        "ap_by_iou",
        "AP by IoU threshold",
        "line",
        "IoU of masks",
        "AP",
        [Series("AP", IOU_THRESHOLDS.tolist(), [_mean(precisions[place, ..., 0]) for place in range(10)])],
        note="A steep fall at high thresholds means that objects are found, but that their outlines are not exact.",
    )
    return Section("accuracy", "Average precision", [], [classes, sizes, levels])


def _mean(values: np.ndarray) -> float | None:
    """Returns the mean of the values that are known."""
    known = values[values > -1]
    return round(float(known.mean()), 4) if known.size else None


def scores_section(curves: Sequence[ClassScores], calibration: scores.Calibration) -> Section:
    """Returns the section about scores and thresholds.

    Args:
      curves: from `class_scores`.
      calibration: the calibration of all detections.
    """
    shown, note = _choose_curves(curves)
    precision = Chart(
        "precision_recall",
        "Precision and recall at IoU 0.5",
        "line",
        "recall",
        "precision",
        [Series(curve.name, RECALLS.tolist(), _rounded(curve.precision)) for curve in shown],
        note=note,
    )
    f1 = Chart(
        "f1",
        "F1 over the score threshold",
        "line",
        "score threshold",
        "F1",
        [Series(curve.name, scores.THRESHOLDS.tolist(), _rounded(curve.f1), _describe_best(curve.best)) for curve in shown],
        note=note,
    )
    best = curves[-1].best
    text = ["No detection is right." if best is None else f"All classes: {_describe_best(best)}."]
    return Section("scores", "Scores", text, [precision, f1, calibration_chart(calibration, "score", "detections")])


def _choose_curves(curves: Sequence[ClassScores]) -> tuple[list[ClassScores], str]:
    """Returns the curves that are drawn, all classes together first, and a note if not all of them are."""
    known = sorted((curve for curve in curves[:-1] if curve.num_objects), key=lambda curve: float(curve.precision.mean()))
    note = "" if len(known) <= _NUM_CURVES else f"The {_NUM_CURVES} of {len(known)} classes with the lowest AP50."
    return [curves[-1], *known[:_NUM_CURVES]], note


def _describe_best(best: scores.Best | None) -> str:
    return "" if best is None else f"best score threshold {best.threshold:.3f} with F1 {best.f1:.3f}"


def _rounded(values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(value) else round(value, 4) for value in np.asarray(values, np.float64).tolist()]


def calibration_chart(found: scores.Calibration, what: str, units: str) -> Chart:
    """Returns the reliability diagram.

    Args:
      found: the calibration.
      what: name of the score.
      units: what has scores, in the plural.
    """
    centres = ((np.arange(scores.NUM_BINS) + 0.5) / scores.NUM_BINS).tolist()
    error = "" if found.error is None else f"Expected calibration error {found.error:.3f}. "
    counts = Series("part that is right", centres, _rounded(found.precision), f"{int(found.number.sum())} {units}")
    return Chart(
        "calibration",
        f"Calibration of the {what}",
        "line",
        what,
        "part that is right",
        [counts, Series(f"mean {what}", centres, _rounded(found.score))],
        note=f"{error}Below the second line, {what}s are too high.",
    )


def confusion_section(counts: np.ndarray, class_names: Sequence[str], chosen: Selection) -> Section:
    """Returns the section with the confusion matrix.

    Args:
      counts: from `selection.confusion`.
      class_names: the names of the classes.
      chosen: the detections that are counted.
    """
    rows, columns = [*class_names, "no object"], [*class_names, "not detected"]
    note = f"Detections with a score of at least {chosen.threshold:.2f}, at IoU 0.5; numbers of instances."
    values: list[list[float | None]] = counts.astype(float).tolist()
    matrix = Matrix("confusion", "Confusion matrix", rows, columns, values, "true class", "predicted class", note)
    return Section("confusion", "Confusions", [], [matrix])


def places_section(matches: Matches, chosen: Selection) -> Section:
    """Returns the section about errors by size, position and number of objects."""
    sizes, positions = breakdowns.by_size(matches, chosen), breakdowns.by_position(matches, chosen)
    recall = _rounded(np.where(sizes.objects > 0, sizes.found / np.maximum(sizes.objects, 1), np.nan))
    chart = Chart(
        "recall_by_size",
        "Recall by size",
        "bar",
        "square root of the area",
        "part of the instances that is found",
        [Series("recall", list(map(float, range(len(recall)))), recall)],
        x_names=sizes.names,
    )
    parts: list[Chart | Matrix | Table] = [
        chart,
        breakdown_table("errors_by_size", "Errors by size", "square root of the area", sizes),
        *_position_matrices(positions),
        breakdown_table("errors_by_number", "Errors by number of instances", "in the image", breakdowns.by_number(matches, chosen)),
    ]
    return Section("places", "Where errors are", [f"Detections with a score of at least {chosen.threshold:.2f}."], parts)


def _position_matrices(found: Breakdown) -> list[Matrix]:
    """Returns the parts of the objects that are not found and the errors without an object, by thirds of the image."""
    rows, columns = (list(names) for names in breakdowns.THIRDS)
    part = np.where(found.objects > 0, 1 - found.found / np.maximum(found.objects, 1), np.nan).reshape(3, 3)
    background = found.errors[:, ERRORS.index("background")].reshape(3, 3)
    labels = ("vertical position", "horizontal position")
    missing, lonely = [_rounded(row) for row in part], [_rounded(row) for row in background]
    return [
        Matrix("not_found_by_position", "Part of the instances that is not found", rows, columns, missing, *labels),
        Matrix("background_by_position", "Detections without an object", rows, columns, lonely, *labels),
    ]


def breakdown_table(key: str, title: str, group: str, found: Breakdown) -> Table:
    """Returns a table of objects and errors by group.

    Args:
      key: key of the table.
      title: title of the table.
      group: title of the column of groups.
      found: the numbers.
    """
    rows: list[list[str | float | int | None]] = []
    numbers = zip(found.objects.tolist(), found.found.tolist(), found.errors.tolist(), strict=True)
    for name, (objects, taken, errors) in zip(found.names, numbers, strict=True):
        rows.append([name, objects, round(taken / objects, 4) if objects else None, *errors])
    return Table(key, title, [group, "instances", "found", *ERRORS], rows)


def labels_section(labels: Sequence[LabelToCheck], num_left_out: int, chosen: Selection) -> Section:
    """Returns the section that explains the labels to check.

    Args:
      labels: the labels to check.
      num_left_out: number of suspicious labels with lower scores that are not listed.
      chosen: the detections that were used.
    """
    rows: list[list[str | float | int | None]] = []
    for kind in instance_labels.KINDS:
        values = [label.score for label in labels if label.kind == kind]
        rows.append([kind, len(values), sum(value >= 0.9 for value in values)])
    text = [
        "The score of a label to check is the part of similar cases in which the model agrees with the labels. Only detections with"
        f" a score of at least {chosen.threshold:.2f} are used. Annotations are numbered from 0 within their image if their ids are"
        " not known."
    ]
    if num_left_out:
        text.append(f"{num_left_out} more with lower scores are not listed.")
    table = Table("label_kinds", "Number by kind", ["kind", "number", "score at least 0.9"], rows)
    return Section("labels", "Labels to check", text, [table])
