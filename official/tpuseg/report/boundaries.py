"""Boundary IoU of class maps (arXiv:2103.16562).

Boundary IoU compares only the pixels of a class that are near its outline in the ground truth with those near its outline in the
prediction. A pixel is near the outline if a pixel of another class or of the outside of the image is within the square of side
2 d + 1 around it, which is an erosion by d pixels; d is 2 % of the image's diagonal.

Shapes: H x W the image, K classes.
"""

from typing import NamedTuple

import numpy as np

# Width of the boundary as a part of the image's diagonal (section 5.1 of the paper, for instances and panoptic segmentation).
_WIDTH = 0.02


class BoundaryCounts(NamedTuple):
    """Numbers of pixels near outlines.

    Attributes:
      shared: [K] int64, near the outline of the class in ground truth and prediction.
      union: [K] int64, near it in at least one of them.
    """

    shared: np.ndarray
    union: np.ndarray


def boundary_width(size: tuple[int, int]) -> int:
    """Returns the width of the boundary in pixels, at least 1.

    Args:
      size: (height, width) of the image.
    """
    return max(1, round(_WIDTH * float(np.hypot(*size))))


def is_boundary(classes: np.ndarray, width: int) -> np.ndarray:
    """Returns whether each pixel is near the outline of its class, [H, W] bool.

    Args:
      classes: [H, W] uint8 classes.
      width: d, the width of the boundary in pixels.
    """
    import cv2  # Imported here because it takes half a second.

    square = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    # All pixels in the square have the same class if the largest one is the smallest one.
    inside = cv2.erode(classes, square) == cv2.dilate(classes, square)
    inner = np.zeros(classes.shape, bool)
    inner[width:-width, width:-width] = inside[width:-width, width:-width]
    return ~inner


def count_boundaries(truth: np.ndarray, prediction: np.ndarray, valid: np.ndarray, num_classes: int, width: int) -> BoundaryCounts:
    """Counts the pixels near outlines in one image.

    Args:
      truth: [H, W] uint8 true classes.
      prediction: [H, W] uint8 predicted classes.
      valid: [H, W] bool; other pixels are not counted, and their outlines are the same in both.
      num_classes: K.
      width: d, the width of the boundary in pixels.
    """
    near_true = is_boundary(truth, width) & valid
    near_predicted = is_boundary(np.where(valid, prediction, truth), width) & valid
    shared = np.bincount(truth[near_true & near_predicted & (truth == prediction)], minlength=num_classes)
    total = np.bincount(truth[near_true], minlength=num_classes) + np.bincount(prediction[near_predicted], minlength=num_classes)
    return BoundaryCounts(shared, total - shared)
