"""Confidence intervals of metrics by the bootstrap: the images of the evaluation are drawn again, with replacement."""

import dataclasses
from collections.abc import Callable

import numpy as np

_NUM_SAMPLES = 1000
_CONFIDENCE = 0.95
_SEED = 0


@dataclasses.dataclass(frozen=True)
class Interval:
    """A value with its confidence interval.

    Attributes:
      value: value on the images of the evaluation.
      low: lower end of the interval.
      high: upper end of the interval.
    """

    value: float
    low: float
    high: float


def estimate_interval(
    metric: Callable[[np.ndarray], float],
    num_images: int,
    num_samples: int = _NUM_SAMPLES,
    confidence: float = _CONFIDENCE,
    seed: int = _SEED,
) -> Interval:
    """Estimates the percentile interval of a metric (Efron and Tibshirani, An Introduction to the Bootstrap, chapter 13).

    The metric is computed from weights: how often each image is in a sample. For the mean of values of the images it is
    `average_of(values)`, for a metric of summed confusion matrices [N, K, K], `lambda w: mean_iou(np.tensordot(w, matrices, 1))`.
    For two runs on the same images, the interval of `lambda w: metric_b(w) - metric_a(w)` is that of the paired difference.

    Args:
      metric: from [N] int64 weights, whose sum is N, to the value of the metric.
      num_images: N.
      num_samples: number of samples that are drawn.
      confidence: fraction of the samples whose value is inside of the interval.
      seed: the result is the same for the same seed.

    Returns:
      The value for all weights 1, and the interval. Samples for which the metric is not a number are left out, for example those
      without an object; if no sample has a value, the ends are not numbers.

    Raises:
      ValueError: there are no images.
    """
    if num_images < 1:
        raise ValueError("a confidence interval needs at least one image; the evaluation has none")
    random = np.random.default_rng(seed)
    values = [metric(_draw_weights(random, num_images)) for _ in range(num_samples)]
    finite = [value for value in values if np.isfinite(value)]
    tail = (1 - confidence) / 2
    low, high = np.quantile(finite, [tail, 1 - tail]) if finite else (np.nan, np.nan)
    return Interval(float(metric(np.ones(num_images, np.int64))), float(low), float(high))


def _draw_weights(random: np.random.Generator, num_images: int) -> np.ndarray:
    """Returns [N] int64, how often each image is drawn in a sample of N images with replacement."""
    return np.bincount(random.integers(num_images, size=num_images), minlength=num_images)


def average_of(values: np.ndarray) -> Callable[[np.ndarray], float]:
    """Returns the metric that is the mean of the images' values.

    Args:
      values: [N] float; images whose value is not a number are left out.
    """
    known = np.isfinite(values)

    def average(weights: np.ndarray) -> float:
        total = weights[known].sum()
        return float(weights[known] @ values[known] / total) if total else float("nan")

    return average
