"""Average precision at one IoU threshold from matched detections, with COCO's 101 recalls."""

from collections.abc import Iterator

import numpy as np

RECALLS = np.arange(101) / 100


def precision_at_recalls(is_right: np.ndarray, num_objects: int) -> np.ndarray:
    """Returns the precision at each of `RECALLS`, [101]: the largest one at this or a higher recall.

    Args:
      is_right: [D] bool, the detections in the order of decreasing scores.
      num_objects: number of objects.
    """
    precision = np.zeros(len(RECALLS))
    if num_objects > 0 and len(is_right):
        hits = np.cumsum(is_right)
        highest = np.maximum.accumulate((hits / np.arange(1, len(hits) + 1))[::-1])[::-1]
        places = np.searchsorted(hits / num_objects, RECALLS)
        reached = places < len(highest)
        precision[reached] = highest[places[reached]]
    return precision


def by_class(labels: np.ndarray, scores: np.ndarray, num_classes: int) -> Iterator[np.ndarray]:
    """Yields for each class the indices of its detections in the order of decreasing scores.

    Args:
      labels: [D] classes of the detections.
      scores: [D] scores.
      num_classes: number of classes.
    """
    order = np.lexsort((-scores, labels))
    bounds = np.searchsorted(labels[order], np.arange(num_classes + 1))
    for start, stop in zip(bounds[:-1], bounds[1:], strict=True):
        yield order[start:stop]


def mean_average_precision(labels: np.ndarray, scores: np.ndarray, is_right: np.ndarray, num_objects: np.ndarray) -> float:
    """Returns the mean of the classes' average precision, 0 to 1.

    As in TIDE, a class that has detections but no objects counts with 0, and one that has neither does not count.

    Args:
      labels: [D] classes of the detections.
      scores: [D] scores.
      is_right: [D] bool.
      num_objects: [K] number of objects of each class.
    """
    values = [
        precision_at_recalls(is_right[rows], count).mean()
        for rows, count in zip(by_class(labels, scores, len(num_objects)), num_objects.tolist(), strict=True)
        if count or len(rows)
    ]
    return float(np.mean(values)) if values else 0.0
