"""Advice: at most five sentences, each with its number and the setting that it refers to.

Every rule is a function of a few numbers. It returns None, or its advice with the size of the problem, which decides which
sentences are shown: the AP50, F1 or IoU that it costs, or an estimate on the same scale.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tpuseg.report.content import Advice
from tpuseg.report.scores import Best, Calibration
from tpuseg.utils.messages import format_count

MAX_SENTENCES = 5
# Sides on the canvas below which objects are hard to detect: the finest level of a feature pyramid has stride 4.
SMALL_SIDE = 16.0
# Classes with fewer training instances are called rare, if others have ten times as many.
_RARE = 100
# A class of pixels is rare below this part of the pixels.
_RARE_PIXELS = 0.002
# Costs below these are not worth a sentence.
_MIN_LOST = 0.01
_MIN_F1_GAIN = 0.01
_MIN_MISSED = 10
_MIN_CONFUSED = 0.1
_MIN_CALIBRATION_ERROR = 0.1
_HIGH_SCORE = 0.8
# IoU minus boundary IoU above which outlines are the problem.
_MIN_BOUNDARY_GAP = 0.25


class Finding(NamedTuple):
    """A piece of advice.

    Attributes:
      weight: size of the problem, 0 to 1.
      advice: the sentence and its setting.
    """

    weight: float
    advice: Advice


def choose(findings: Iterable[Finding | None]) -> list[Advice]:
    """Returns the advice about the largest problems, at most five, the largest first."""
    known = sorted((found for found in findings if found), key=lambda found: -found.weight)
    return [found.advice for found in known[:MAX_SENTENCES]]


def small_objects(missed_sides: np.ndarray, lost: float) -> Finding | None:
    """Says that most missed objects are small on the canvas.

    Args:
      missed_sides: square root of the area of each missed object, in pixels of the network's input.
      lost: AP50 that missed objects cost.
    """
    if len(missed_sides) < _MIN_MISSED:
        return None
    part = float((missed_sides < SMALL_SIDE).mean())
    if part < 0.4:
        return None
    text = (
        f"{part:.0%} of the {len(missed_sides)} missed instances are smaller than {SMALL_SIDE:.0f} pixels on the canvas:"
        " increase task.model.input_size, or divide large images into windows with task.evaluation.tile"
    )
    return Finding(lost * part, Advice(text, "task.model.input_size"))


def missed_objects(num_missed: int, num_objects: int, lost: float) -> Finding | None:
    """Says that many objects are missed.

    Args:
      num_missed: number of missed objects.
      num_objects: number of objects.
      lost: AP50 that they cost.
    """
    if lost < 0.05 or num_missed < _MIN_MISSED:
        return None
    text = (
        f"{num_missed / num_objects:.0%} of the instances are missed, which costs {lost:.3f} AP50: train for more steps"
        " (trainer.train_steps) or with more images"
    )
    return Finding(lost * 0.5, Advice(text, "trainer.train_steps"))


def rare_class(training_counts: Mapping[str, int], accuracy: Mapping[str, float | None], unit: str) -> Finding | None:
    """Says that a class with a low accuracy has few training examples.

    Args:
      training_counts: number of training examples of each class.
      accuracy: AP or IoU of each class; None where it is unknown.
      unit: what is counted, in the plural.
    """
    known = {name: value for name in training_counts if (value := accuracy.get(name)) is not None}
    if len(known) < 2:
        return None
    most = max(training_counts.values())
    mean = float(np.mean(list(known.values())))
    rare = [name for name in known if training_counts[name] < _RARE and training_counts[name] * 10 <= most and known[name] < mean]
    if not rare:
        return None
    worst = min(rare, key=lambda name: training_counts[name])
    others = format_count(len(rare) - 1, "other class has", "other classes have")
    also = f", and {others} fewer than {_RARE}" if len(rare) > 1 else ""
    text = f"class `{worst}` has {training_counts[worst]} training {unit}{also}: label more images with it"
    weight = sum(mean - known[name] for name in rare) / len(known)
    return Finding(weight, Advice(text, "task.train_data.input_path"))


def duplicates(count: int, lost: float, nms_iou: float | None) -> Finding | None:
    """Says that objects are detected several times.

    Args:
      count: number of duplicates above the score threshold.
      lost: AP50 that duplicates cost.
      nms_iou: the value of `task.model.detection.nms_iou`; None if it is unknown.
    """
    if lost < _MIN_LOST:
        return None
    now = "" if nms_iou is None else f", now {nms_iou:g}"
    text = (
        f"{format_count(count, 'object is', 'objects are')} detected again, and duplicates cost {lost:.3f} AP50: lower"
        f" task.model.detection.nms_iou{now}"
    )
    return Finding(lost, Advice(text, "task.model.detection.nms_iou"))


def background_errors(high_scores: int, high_background: int, lost: float) -> Finding | None:
    """Says that detections with high scores have no object.

    Args:
      high_scores: number of detections with a score of at least 0.8.
      high_background: number of them that have no object near.
      lost: AP50 that background errors cost.
    """
    part = high_background / max(high_scores, 1)
    if part < 0.05 or lost < _MIN_LOST:
        return None
    text = (
        f"{part:.0%} of the detections with a score of at least {_HIGH_SCORE:.1f} have no label near, and background errors cost"
        f" {lost:.3f} AP50: check these labels first, then add training images without objects"
    )
    return Finding(lost, Advice(text, "task.train_data.input_path"))


def localization(lost: float, count: int) -> Finding | None:
    """Says that masks are at the right place but do not fit.

    Args:
      lost: AP50 that localization errors cost.
      count: number of localization errors above the score threshold.
    """
    if lost < 2 * _MIN_LOST:
        return None
    text = (
        f"{format_count(count, 'detection overlaps', 'detections overlap')} an object of the class with an IoU below 0.5, which"
        f" costs {lost:.3f} AP50: choose anchors for these sizes and shapes (task.model.rpn.anchors.sizes and aspect_ratios;"
        " plan.py does) and train for more steps"
    )
    return Finding(lost, Advice(text, "task.model.rpn.anchors.sizes"))


def confused_classes(confusion: np.ndarray, class_names: Sequence[str], unit: str) -> Finding | None:
    """Says which class is most often taken for another one.

    Args:
      confusion: [K, K] or, with background, [K + 1, K + 1] numbers; rows are true classes, columns predicted classes.
      class_names: name of each of the K classes.
      unit: what is counted, in the plural.
    """
    size = len(class_names)
    wrong = confusion[:size, :size].astype(np.float64) * (1 - np.eye(size))
    if not wrong.size or wrong.max() < _MIN_MISSED:
        return None
    parts = wrong / np.maximum(confusion[:size].sum(1, keepdims=True), 1)
    parts[wrong < _MIN_MISSED] = 0
    true, predicted = np.unravel_index(parts.argmax(), parts.shape)
    part = float(parts[true, predicted])
    if part < _MIN_CONFUSED:
        return None
    text = (
        f"{part:.0%} of the {unit} of `{class_names[true]}` are predicted as `{class_names[predicted]}`: check the labels of both"
        " classes, and label more images that show how they differ"
    )
    return Finding(part / size, Advice(text, "task.train_data.input_path"))


def detection_limit(num_at_limit: int, num_images: int, max_detections: int | None) -> Finding | None:
    """Says that the maximum number of detections is too small.

    Args:
      num_at_limit: number of images with at least `max_detections` objects.
      num_images: number of images.
      max_detections: maximum number of detections per image; None if it is unknown.
    """
    if max_detections is None or not num_at_limit:
        return None
    text = (
        f"{format_count(num_at_limit, 'image has', 'images have')} at least as many instances as an image can have detections"
        f" ({max_detections}): increase task.model.detection.max_detections"
    )
    return Finding(num_at_limit / num_images, Advice(text, "task.model.detection.max_detections"))


def score_threshold(best: Best | None, drawn_score: float | None, drawn_f1: float) -> Finding | None:
    """Says that another score threshold gives a larger F1.

    Args:
      best: the best threshold.
      drawn_score: the value of `task.evaluation.drawn_score`; None if it is unknown.
      drawn_f1: F1 with this threshold.
    """
    if best is None or drawn_score is None or best.f1 - drawn_f1 < _MIN_F1_GAIN:
        return None
    text = (
        f"F1 is {best.f1:.3f} with the score threshold {best.threshold:.2f}, and {drawn_f1:.3f} with {drawn_score:.2f}: set"
        " task.evaluation.drawn_score, or predict with score_threshold=best"
    )
    return Finding(best.f1 - drawn_f1, Advice(text, "task.evaluation.drawn_score"))


def calibration(found: Calibration, setting: str) -> Finding | None:
    """Says that scores are higher or lower than the part that is right.

    Args:
      found: the calibration.
      setting: the setting with which scores are used; empty if there is none.
    """
    if found.error is None or found.error < _MIN_CALIBRATION_ERROR:
        return None
    known = found.number > 0
    weights = found.number[known]
    difference = float(((found.score[known] - found.precision[known]) * weights).sum() / weights.sum())
    side = "higher" if difference > 0 else "lower"
    text = (
        f"scores differ from the part of the predictions that is right by {found.error:.2f} on average, and most are {side}: do not"
        " use them as probabilities, and choose thresholds from the curves below"
    )
    return Finding(found.error / 10, Advice(text, setting))


def overfitting(rows: Sequence[Mapping[str, Any]]) -> Finding | None:
    """Says that the validation loss has risen.

    Args:
      rows: metrics of the run's evaluations with `loss` and `step`, the earliest first.
    """
    known = [(float(row["loss"]), int(row["step"])) for row in rows if isinstance(row.get("loss"), float)]
    if len(known) < 2:
        return None
    (lowest, step), last = min(known), known[-1][0]
    if last <= 1.1 * lowest:
        return None
    text = (
        f"the validation loss was lowest at step {step} ({lowest:.3f}) and is {last:.3f} now, which is overfitting: use more images"
        " or augmentation, or stop earlier with trainer.early_stopping"
    )
    return Finding(min(last / lowest - 1, 1.0) / 4, Advice(text, "trainer.early_stopping"))


def wrong_labels(num_probable: int, num_labels: int, what: str) -> Finding | None:
    """Says that many labels are probably wrong.

    Args:
      num_probable: number of labels with a score of at least 0.9.
      num_labels: number of labels.
      what: noun for a label in the plural.
    """
    if num_probable < max(5, 0.01 * num_labels):
        return None
    text = f"{num_probable} of {num_labels} {what} are probably wrong: check the first ones of labels_to_check.csv"
    return Finding(num_probable / num_labels, Advice(text, "task.validation_data.input_path"))


def rare_pixels(pixels: np.ndarray, iou: np.ndarray, class_names: Sequence[str]) -> Finding | None:
    """Says that a class with a low IoU has few pixels.

    Args:
      pixels: [K] number of true pixels of each class.
      iou: [K] IoU; NaN where it is unknown.
      class_names: name of each class.
    """
    part = pixels / max(pixels.sum(), 1)
    mean = np.nanmean(iou) if not np.isnan(iou).all() else 0.0
    rare = [number for number in range(len(part)) if 0 < part[number] < _RARE_PIXELS and iou[number] < mean]
    if not rare:
        return None
    worst = min(rare, key=lambda number: iou[number])
    text = (
        f"class `{class_names[worst]}` has {part[worst]:.2%} of the pixels and IoU {iou[worst]:.2f}: give it a larger weight in"
        " task.losses.class_weights, or add images with it"
    )
    weight = float(sum(mean - iou[number] for number in rare)) / len(part)
    return Finding(weight, Advice(text, "task.losses.class_weights"))


def coarse_outlines(iou: float | None, boundary_iou: float | None) -> Finding | None:
    """Says that outlines are much worse than areas.

    Args:
      iou: mean IoU.
      boundary_iou: mean boundary IoU.
    """
    if iou is None or boundary_iou is None or iou - boundary_iou < _MIN_BOUNDARY_GAP:
        return None
    text = (
        f"mean IoU is {iou:.3f}, but only {boundary_iou:.3f} near outlines: lower task.model.output_stride, or increase"
        " task.evaluation.input_size if images are reduced"
    )
    return Finding((iou - boundary_iou) / 5, Advice(text, "task.model.output_stride"))
