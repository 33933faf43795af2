"""Converting the shapes of annotation programs to annotations.

Coordinates are in pixels of the image: x to the right, y down, from the upper left corner of the first pixel. The converters check
the coordinates (`objects.instance`).
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tpuseg.convert.objects import Annotation
from tpuseg.data.examples import Category
from tpuseg.ops import masks

# Maximum distance in pixels between an ellipse and the sides of the polygon that approximates it.
_FLATNESS = 0.1
_LARGEST = 1e9
_FEWEST_CORNERS, _MOST_CORNERS = 16, 720


def outline(name: str, category: Category, class_index: int, polygons: Sequence[Sequence[float]]) -> Annotation:
    """Creates an object from one or more polygons.

    Args:
      name: name of the object in messages.
      category: category of the object.
      class_index: index of the category.
      polygons: flat lists x0, y0, x1, y1 ... in pixels; some may not be usable.
    """
    usable = []
    for polygon in polygons:
        try:
            usable.append(masks.check_polygon(polygon))
        except ValueError:
            continue  # Reported when the annotation is converted.
    box, area = None, None
    if usable:
        x = [value for polygon in usable for value in polygon[0::2]]
        y = [value for polygon in usable for value in polygon[1::2]]
        box = (min(x), min(y), max(x) - min(x), max(y) - min(y))
        area = sum(map(polygon_area, usable))
    return Annotation(name, category, class_index, False, box, area, [list(polygon) for polygon in polygons])


def pixel_mask(name: str, category: Category, class_index: int, runs: masks.RunLengths) -> Annotation:
    """Creates an object from a mask at the size of the image."""
    y0, x0, y1, x1 = masks.bounding_box(runs).tolist()
    return Annotation(name, category, class_index, False, (x0, y0, x1 - x0, y1 - y0), float(masks.area(runs)), runs)


def box(name: str, category: Category, class_index: int, polygon: Sequence[float], is_mask: bool) -> Annotation:
    """Creates an object from a rectangle.

    Args:
      name: name of the object in messages.
      category: category of the object.
      class_index: index of the category.
      polygon: the four corners of the rectangle, which may be rotated, as x0, y0, x1, y1 ... in pixels.
      is_mask: whether the rectangle is the outline of the object; otherwise the object has a box and no mask.
    """
    annotation = outline(name, category, class_index, [polygon])
    if is_mask or annotation.box is None:
        return annotation
    return Annotation(name, category, class_index, False, annotation.box, annotation.box[2] * annotation.box[3], None)


def polygon_area(polygon: Sequence[float]) -> float:
    """Returns the area of a polygon in square pixels by the shoelace formula, as in COCO's annotations."""
    x, y = polygon[0::2], polygon[1::2]
    return abs(sum(x[place - 1] * y[place] - x[place] * y[place - 1] for place in range(len(x)))) / 2


def rectangle(
    x0: float, y0: float, x1: float, y1: float, degrees: float = 0.0, center: tuple[float, float] | None = None
) -> list[float]:
    """Returns the corners of a rectangle.

    Args:
      x0: left edge in pixels.
      y0: top edge in pixels.
      x1: right edge in pixels.
      y1: bottom edge in pixels.
      degrees: angle of a clockwise rotation.
      center: centre x, y of the rotation; by default, that of the rectangle.
    """
    return rotate([x0, y0, x1, y0, x1, y1, x0, y1], degrees, center or ((x0 + x1) / 2, (y0 + y1) / 2))


def ellipse(x: float, y: float, radius_x: float, radius_y: float, degrees: float = 0.0) -> list[float]:
    """Returns the corners of a polygon that approximates an ellipse, rotated clockwise by an angle in degrees."""
    largest = max(abs(radius_x), abs(radius_y))
    if not math.isfinite(largest) or largest <= 0:
        return []
    corners = math.pi / math.acos(max(1 - _FLATNESS / largest, 0.0))
    count = int(min(max(math.ceil(corners), _FEWEST_CORNERS), _MOST_CORNERS))
    points = []
    for place in range(count):
        angle = 2 * math.pi * place / count
        points += [x + radius_x * math.cos(angle), y + radius_y * math.sin(angle)]
    return rotate(points, degrees, (x, y))


def rotate(polygon: Sequence[float], degrees: float, center: tuple[float, float]) -> list[float]:
    """Rotates a polygon clockwise around a point; the y axis points down."""
    if not degrees or not math.isfinite(degrees):
        return list(polygon)
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    points = []
    for x, y in zip(polygon[0::2], polygon[1::2], strict=True):
        right, down = x - center[0], y - center[1]
        points += [center[0] + right * cosine - down * sine, center[1] + right * sine + down * cosine]
    return points


def flatten(points: Sequence[Sequence[float]]) -> list[float]:
    """Converts pairs x, y to a flat list x0, y0, x1, y1 ..."""
    return [value for point in points for value in point]


def as_crowd(annotation: Annotation) -> Annotation:
    """Returns an annotation as an ignored region."""
    return dataclasses.replace(annotation, is_crowd=True)


def read_points(given: Any) -> list[tuple[float, float]] | None:
    """Converts a list of [x, y] from a file to pairs of finite numbers; returns None for any other value."""
    if not isinstance(given, list) or not given:
        return None
    points = []
    for point in given:
        if not isinstance(point, list) or len(point) != 2:
            return None
        x, y = (read_number(value) for value in point)
        if x is None or y is None:
            return None
        points.append((x, y))
    return points


def read_number(given: Any) -> float | None:
    """Returns a number from a file if it is finite and not larger than any image; otherwise None."""
    if isinstance(given, bool) or not isinstance(given, int | float) or not abs(given) <= _LARGEST:
        return None
    return float(given)


def paste_runs(part: np.ndarray, x: int, y: int, size: tuple[int, int]) -> masks.RunLengths | None:
    """Converts the mask of a part of an image to run lengths.

    Args:
      part: [h, w] bool mask of the part.
      x: column of the part's first pixel.
      y: row of the part's first pixel.
      size: height and width of the image in pixels.

    Returns:
      Run lengths at the image's size; None if the part is not within the image.
    """
    height, width = part.shape
    if x < 0 or y < 0 or y + height > size[0] or x + width > size[1]:
        return None
    whole = np.zeros(size, np.uint8)
    whole[y : y + height, x : x + width] = part
    return masks.encode(whole)
