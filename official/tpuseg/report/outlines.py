"""Outlines of masks as polygons for drawing."""

import numpy as np

from tpuseg.ops import masks
from tpuseg.ops.masks import RunLengths

# Maximum number of points of a mask, and the number of its largest parts that are drawn.
MAX_POINTS = 60
_MAX_PARTS = 8


def find_outlines(runs: RunLengths, max_points: int = MAX_POINTS) -> list[list[float]]:
    """Returns the outlines of a mask as polygons with at most `max_points` points in total; holes are left out.

    Args:
      runs: run lengths of the mask.
      max_points: maximum number of points, at least 4. Small parts of the mask are left out if there are too many.

    Returns:
      Polygons as flat lists x0, y0, x1, y1 ... in pixels of the image, from the largest part to the smallest; the centre of the
      first pixel is (0.5, 0.5). Empty for an empty mask.
    """
    import cv2  # Imported here because it takes half a second.

    pixels, top, left = _crop(runs)
    if not pixels.size:
        return []
    # Each pixel becomes 2 x 2, because OpenCV's contours go through the centres of pixels: an object of one pixel has no area.
    doubled = cv2.resize(pixels, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    contours = cv2.findContours(doubled, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0]
    contours = sorted(contours, key=cv2.contourArea, reverse=True)[: min(_MAX_PARTS, max(max_points // 4, 1))]
    polygons = _simplify(contours, max_points)
    offset = np.array([left + 0.25, top + 0.25])
    return [np.round(polygon[:, ::-1] / 2 + offset, 1).ravel().tolist() for polygon in polygons]


def _crop(runs: RunLengths) -> tuple[np.ndarray, int, int]:
    """Returns the pixels of the bounding box of a mask as uint8, [width, height], and its first row and column.

    Run lengths go column by column, so only the columns of the box are decoded.
    """
    top, left, bottom, right = masks.bounding_box(runs).astype(int).tolist()
    height = runs["size"][0]
    counts = masks.decode_counts(runs["counts"])
    bounds = np.clip(np.cumsum(counts), left * height, right * height)
    values = (np.arange(len(counts)) % 2).astype(np.uint8)
    columns = np.repeat(values, np.diff(bounds, prepend=left * height)).reshape(right - left, height)
    return np.ascontiguousarray(columns[:, top:bottom]), top, left


def _simplify(contours: list[np.ndarray], max_points: int) -> list[np.ndarray]:
    """Returns contours with at most `max_points` points in total, each [P, 2]; the tolerance is doubled until that holds."""
    import cv2

    tolerance = 1.0
    while True:
        simple = [cv2.approxPolyDP(contour, tolerance, True).reshape(-1, 2) for contour in contours]
        simple = [points if len(points) > 2 else _corners(contour) for points, contour in zip(simple, contours, strict=True)]
        if sum(map(len, simple)) <= max_points:
            return simple
        tolerance *= 2


def _corners(contour: np.ndarray) -> np.ndarray:
    """Returns the corners of the bounding box of a contour, [4, 2]."""
    x, y = contour.reshape(-1, 2).T
    return np.array([[x.min(), y.min()], [x.max(), y.min()], [x.max(), y.max()], [x.min(), y.max()]])
