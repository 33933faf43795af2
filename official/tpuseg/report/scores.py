"""What the scores of detections are worth: precision and recall, F1 over the score, the best threshold, and calibration."""

from typing import NamedTuple

import numpy as np

# Scores at which F1 is drawn.
THRESHOLDS = np.arange(101) / 100
NUM_BINS = 10


class Best(NamedTuple):
    """The score threshold with the largest F1.

    Attributes:
      threshold: detections with at least this score are kept.
      f1: F1 of the detections that are kept.
    """

    threshold: float
    f1: float


def f1(scores: np.ndarray, is_right: np.ndarray, num_objects: int) -> np.ndarray:
    """Returns F1 of the detections with at least each of `THRESHOLDS`, [101]; 0 where nothing is right.

    Args:
      scores: [D] scores.
      is_right: [D] bool.
      num_objects: number of objects.
    """
    order = np.argsort(scores)
    first = np.searchsorted(scores[order], THRESHOLDS)
    hits = np.concatenate([np.cumsum(is_right[order][::-1])[::-1], [0]])[first]
    return 2 * hits / np.maximum(len(scores) - first + num_objects, 1)


def best_threshold(scores: np.ndarray, is_right: np.ndarray, num_objects: int) -> Best | None:
    """Returns the score threshold with the largest F1; None if no detection is right.

    The threshold is in the middle between the lowest score that is kept and the highest one that is not, so that rounding does not
    change what is kept.

    Args:
      scores: [D] scores.
      is_right: [D] bool.
      num_objects: number of objects.
    """
    if not is_right.any():
        return None
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    values = 2 * np.cumsum(is_right[order]) / (np.arange(1, len(ranked) + 1) + num_objects)
    # Detections with the same score are kept or removed together.
    values[:-1][ranked[1:] == ranked[:-1]] = 0
    place = int(values.argmax())
    below = ranked[place + 1] if place + 1 < len(ranked) else 0.0
    return Best(float((ranked[place] + below) / 2), float(values[place]))


class Calibration(NamedTuple):
    """The reliability of scores (arXiv:1706.04599, section 2).

    Attributes:
      score: [10] mean score in each bin of width 0.1; NaN in an empty bin.
      precision: [10] part of the detections that is right; NaN in an empty bin.
      number: [10] number of detections.
      error: expected calibration error, the mean of |precision - score| over all detections; None without detections.
    """

    score: np.ndarray
    precision: np.ndarray
    number: np.ndarray
    error: float | None


def calibration_of_sums(count: np.ndarray, scores: np.ndarray, hits: np.ndarray) -> Calibration:
    """Returns the calibration from sums over each bin.

    Args:
      count: [10] number of detections.
      scores: [10] sum of their scores.
      hits: [10] number that is right.
    """
    with np.errstate(invalid="ignore"):
        score, precision = scores / count, hits / count
    error = float(np.abs(hits - scores).sum() / count.sum()) if count.sum() else None
    return Calibration(score, precision, count, error)


def bins_of(scores: np.ndarray) -> np.ndarray:
    """Returns the bin of each score, 0 to 9; the score 1 is in the last one."""
    return np.clip((scores * NUM_BINS).astype(np.int64), 0, NUM_BINS - 1)


def calibration(scores: np.ndarray, is_right: np.ndarray) -> Calibration:
    """Returns the calibration of detections.

    Args:
      scores: [D] scores, 0 to 1.
      is_right: [D] bool.
    """
    sums = [np.bincount(bins_of(scores), weights, NUM_BINS) for weights in (None, scores, is_right.astype(np.float64))]
    return calibration_of_sums(*sums)
