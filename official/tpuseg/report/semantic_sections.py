"""The sections of the report of a semantic segmentation model.

Shapes: K classes.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tpuseg.report.boundaries import BoundaryCounts
from tpuseg.report.content import Chart, LabelToCheck, Matrix, Section, Series, Table


class ClassAccuracy(NamedTuple):
    """The accuracy of each class; NaN where it is not defined.

    Attributes:
      iou: [K] intersection over union.
      precision: [K] part of the predicted pixels that is right.
      recall: [K] part of the true pixels that is right.
      boundary_iou: [K] boundary IoU.
    """

    iou: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    boundary_iou: np.ndarray


def class_accuracy(counts: np.ndarray, boundaries: BoundaryCounts) -> ClassAccuracy:
    """Returns the accuracy of each class.

    Args:
      counts: [K, K] numbers of pixels; rows are true classes, columns predicted classes.
      boundaries: numbers of pixels near outlines.
    """
    hits, predicted, true = np.diag(counts), counts.sum(0), counts.sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return ClassAccuracy(hits / (predicted + true - hits), hits / predicted, hits / true, boundaries.shared / boundaries.union)


def mean_known(values: np.ndarray) -> float | None:
    """Returns the mean of the values that are not NaN; None if there are none."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else None


def _rounded(values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(value) else round(value, 4) for value in values.tolist()]


def classes_section(found: ClassAccuracy, counts: np.ndarray, class_names: Sequence[str]) -> Section:
    """Returns the section about the accuracy of classes.

    Args:
      found: from `class_accuracy`.
      counts: [K, K] numbers of pixels.
      class_names: name of each class.
    """
    columns = [_rounded(values) for values in found]
    places = list(map(float, range(len(class_names))))
    chart = Chart(
        "iou_by_class",
        "IoU by class",
        "bar",
        "class",
        "IoU",
        [Series("IoU", places, columns[0]), Series("boundary IoU", places, columns[3])],
        x_names=list(class_names),
        note="Boundary IoU counts only pixels within 2 % of the image's diagonal of an outline (arXiv:2103.16562).",
    )
    parts = counts.sum(1) / max(counts.sum(), 1)
    rows: list[list[str | float | int | None]] = [
        [name, *values, round(part, 6)] for name, part, *values in zip(class_names, parts.tolist(), *columns, strict=True)
    ]
    titles = ["class", "IoU", "precision", "recall", "boundary IoU", "part of the pixels"]
    return Section("classes", "Accuracy of classes", [], [chart, Table("classes", "Classes", titles, rows)])


def confusion_section(counts: np.ndarray, class_names: Sequence[str]) -> Section:
    """Returns the section with the confusion matrix; each row is divided by its sum.

    Args:
      counts: [K, K] numbers of pixels.
      class_names: name of each class.
    """
    sums = counts.sum(1, keepdims=True)
    parts = np.where(sums > 0, counts / np.maximum(sums, 1), np.nan)
    values = [_rounded(row) for row in parts]
    names, note = list(class_names), "Each row shows which part of the pixels of a class is predicted as each class."
    matrix = Matrix("confusion", "Confusion matrix", names, names, values, "true class", "predicted class", note)
    return Section("confusion", "Confusions", [], [matrix])


def images_section(scores: np.ndarray) -> Section:
    """Returns the section about the accuracy of images.

    Args:
      scores: [I] mean IoU of each image.
    """
    counts = np.histogram(scores, bins=10, range=(0, 1))[0].astype(float)
    names = [f"{low / 10:.1f} to {low / 10 + 0.1:.1f}" for low in range(10)]
    bars = Series("images", list(map(float, range(10))), counts.tolist())
    chart = Chart("image_scores", "Mean IoU of images", "bar", "mean IoU of the image", "number of images", [bars], x_names=names)
    return Section("images", "Accuracy of images", [], [chart])


def labels_section(labels: Sequence[LabelToCheck], pairs: Sequence[tuple[str, str]], num_left_out: int) -> Section:
    """Returns the section that explains the labels to check.

    Args:
      labels: the regions to check.
      pairs: names of the labelled and of the predicted class of each of them.
      num_left_out: number of regions with lower scores that are not listed.
    """
    numbers: dict[tuple[str, str], list[float]] = {}
    for label, pair in zip(labels, pairs, strict=True):
        numbers.setdefault(pair, []).append(label.score)
    rows: list[list[str | float | int | None]] = [
        [*pair, len(values), max(values)] for pair, values in sorted(numbers.items(), key=lambda item: -len(item[1]))
    ]
    text = [
        "Regions in which a prediction contradicts the label. The score is the share of predictions of this class with a similar"
        " confidence that agree with the labels, times a weight that grows with the area."
    ]
    if num_left_out:
        text.append(f"{num_left_out} more with lower scores are not listed.")
    titles = ["labelled", "predicted", "regions", "highest score"]
    return Section("labels", "Labels to check", text, [Table("label_pairs", "Regions by classes", titles, rows)])
