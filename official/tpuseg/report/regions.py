"""Regions of class maps in which a prediction contradicts the label.

Outlines of labels and predictions differ by a few pixels in most images, so that only regions that are thicker are found.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

# Pixels within this distance of the border of a region are not part of it.
_MARGIN = 3
_MIN_PIXELS = 16
# Area for which the size of a region counts one half, as a part of the image.
HALF_AREA = 0.0005
_NUM_RANGES = 21
# Number of predictions of a class for which its own share counts as much as that of all classes.
_PRIOR = 10.0


class Region(NamedTuple):
    """A connected region with one label and one prediction.

    Attributes:
      label: class of the label.
      predicted: predicted class.
      box: y0, x0, y1, x1 in pixels.
      area: number of pixels that are not near the border of the region.
      confidence: mean confidence of these pixels, 0 to 1.
      size_weight: weight of its size, 0 to 1; see `HALF_AREA`.
    """

    label: int
    predicted: int
    box: tuple[float, float, float, float]
    area: int
    confidence: float
    size_weight: float


def find_regions(truth: np.ndarray, prediction: np.ndarray, valid: np.ndarray, confidence: np.ndarray | None) -> Iterator[Region]:
    """Yields the regions in which a prediction contradicts the label.

    Args:
      truth: [H, W] uint8 labels.
      prediction: [H, W] uint8 predicted classes.
      valid: [H, W] bool; other pixels are never part of a region.
      confidence: [H, W] confidence of the prediction, 0 to 1; None counts as 1.
    """
    import cv2  # Imported here because it takes half a second.

    pairs = np.where((truth != prediction) & valid, truth.astype(np.int32) * 256 + prediction, -1)
    counts = np.bincount(pairs[pairs >= 0])
    square = np.ones((2 * _MARGIN + 1,) * 2, np.uint8)
    for pair in np.flatnonzero(counts >= _MIN_PIXELS).tolist():
        rows, columns = np.nonzero(pairs == pair)
        top, left = int(rows.min()), int(columns.min())
        part = (slice(top, int(rows.max()) + 1), slice(left, int(columns.max()) + 1))
        padded = np.pad((pairs[part] == pair).astype(np.uint8), 1)  # Outside of the image is no part of a region.
        inner = cv2.erode(padded, square)[1:-1, 1:-1]
        if not inner.any():
            continue
        number, marked, stats, _ = cv2.connectedComponentsWithStats(inner)
        areas = stats[:, cv2.CC_STAT_AREA]
        means = np.ones(number) if confidence is None else np.bincount(marked.ravel(), confidence[part].ravel(), number) / areas
        for place in range(1, number):
            if areas[place] < _MIN_PIXELS:
                continue
            x, y, width, height = stats[place, :4].tolist()
            y0, x0 = y + top - _MARGIN, x + left - _MARGIN
            box = (float(y0), float(x0), float(y0 + height + 2 * _MARGIN), float(x0 + width + 2 * _MARGIN))
            area = int(areas[place])
            weight = area / (area + HALF_AREA * truth.size)
            yield Region(pair // 256, pair % 256, box, area, float(means[place]), weight)


def mean_confidences(
    truth: np.ndarray, prediction: np.ndarray, valid: np.ndarray, confidence: np.ndarray | None, num_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the classes that are predicted rightly in an image, and the mean confidence of the right pixels of each, both [C].

    Args:
      truth: [H, W] uint8 labels.
      prediction: [H, W] uint8 predicted classes.
      valid: [H, W] bool; other pixels are not used.
      confidence: [H, W] confidence of the prediction, 0 to 1; None counts as 1.
      num_classes: number of classes.
    """
    right = valid & (truth == prediction)
    counts = np.bincount(prediction[right], minlength=num_classes)
    sums = counts if confidence is None else np.bincount(prediction[right], confidence[right], num_classes)
    classes = np.flatnonzero(counts >= _MIN_PIXELS)
    return classes, sums[classes] / counts[classes]


class Agreement:
    """How often predictions of a class and a confidence agree with the labels.

    Agreeing are the classes that are predicted rightly in an image, each with its mean confidence; disagreeing are regions. Both
    are counted in ranges of the confidence: after every second range, 1 - confidence is halved, because most are near 1.

    Attributes:
      counts: [2, K, 21] numbers of disagreeing and of agreeing predictions by class and range of the confidence.
    """

    def __init__(self, num_classes: int) -> None:
        self.counts = np.zeros((2, num_classes, _NUM_RANGES))

    def add(self, classes: np.ndarray, confidences: np.ndarray, agrees: bool) -> None:
        """Adds predictions.

        Args:
          classes: [C] predicted classes.
          confidences: [C] confidences.
          agrees: whether they agree with the labels.
        """
        places = classes * _NUM_RANGES + _ranges(confidences)
        self.counts[int(agrees)] += np.bincount(places, minlength=self.counts[0].size).reshape(self.counts[0].shape)

    def shares(self, classes: np.ndarray, confidences: np.ndarray) -> np.ndarray:
        """Returns the share of agreeing predictions of the class near each confidence, [C].

        It does not decrease with the confidence. With few predictions of a class, the share of all classes is included.

        Args:
          classes: [C] predicted classes.
          confidences: [C] confidences.
        """
        total = self.counts.sum(1)
        of_all = (total[1] + 1) / (total.sum(0) + 2)
        of_classes = (self.counts[1] + _PRIOR * of_all) / (self.counts.sum(0) + _PRIOR)
        known = np.where(total.sum(0) > 0, of_classes, 0.0)
        return np.maximum.accumulate(known, axis=1)[classes, _ranges(confidences)]


def _ranges(confidences: np.ndarray) -> np.ndarray:
    """Returns the range of each confidence, 0 to 20."""
    doubts = np.maximum(1 - np.asarray(confidences, np.float64), 2.0 ** -(_NUM_RANGES // 2))
    return np.clip(np.floor(-2 * np.log2(doubts)), 0, _NUM_RANGES - 1).astype(np.int64)
