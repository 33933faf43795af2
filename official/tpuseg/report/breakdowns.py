"""Errors by the size and the position of objects and by the number of objects in the image.

Every error belongs to one group: that of its object, or if it has none, that of the detection.
"""

from typing import NamedTuple

import numpy as np

from tpuseg.report.content import ERRORS
from tpuseg.report.matching import Matches
from tpuseg.report.selection import Selection

# Limits of the groups: the square root of the area in pixels, and the number of objects in the image.
SIZES = (8, 16, 32, 64, 96, 192)
NUMBERS = (1, 2, 5, 10, 20, 50)
THIRDS = (("top", "middle", "bottom"), ("left", "centre", "right"))


class Breakdown(NamedTuple):
    """Objects and errors by group.

    Attributes:
      names: names of the G groups.
      objects: [G] number of objects.
      found: [G] number of objects that a detection takes.
      errors: [G, 6] number of errors of each of `ERRORS`.
    """

    names: list[str]
    objects: np.ndarray
    found: np.ndarray
    errors: np.ndarray


def break_down(
    matches: Matches, selection: Selection, names: list[str], of_objects: np.ndarray, of_detections: np.ndarray
) -> Breakdown:
    """Counts objects and errors by group.

    Args:
      matches: the matches.
      selection: the detections that are used.
      names: names of the G groups.
      of_objects: [N] group of each object.
      of_detections: [D] group of each detection; only used for those without a partner.
    """
    found, count = matches.detections, len(names)
    wrong = np.flatnonzero(selection.kept & ~found.right)
    partners = found.partner[wrong]
    groups = of_detections[wrong]
    groups[partners >= 0] = of_objects[partners[partners >= 0]]
    errors = np.zeros((count, len(ERRORS)), np.int64)
    np.add.at(errors, (groups, found.error[wrong]), 1)
    errors[:, ERRORS.index("missed")] = np.bincount(of_objects[selection.missed], minlength=count)
    taken = np.bincount(of_objects[selection.found], minlength=count)
    return Breakdown(names, np.bincount(of_objects, minlength=count), taken, errors)


def by_size(matches: Matches, selection: Selection) -> Breakdown:
    """Counts by the side of a square with the area of the object, in pixels of the image."""
    groups = [np.digitize(np.sqrt(part.area), SIZES) for part in (matches.objects, matches.detections)]
    return break_down(matches, selection, _range_names(SIZES, " px"), *groups)


def by_number(matches: Matches, selection: Selection) -> Breakdown:
    """Counts by the number of objects in the image."""
    numbers = np.bincount(matches.objects.image, minlength=len(matches.sizes))
    groups = [np.digitize(numbers[part.image], NUMBERS) for part in (matches.objects, matches.detections)]
    between = [f"{low} to {high - 1}" for low, high in zip(NUMBERS[1:-1], NUMBERS[2:], strict=True)]
    names = ["0", "1", *between, f"{NUMBERS[-1]} or more"]
    return break_down(matches, selection, names, *groups)


def by_position(matches: Matches, selection: Selection) -> Breakdown:
    """Counts by the third of the image in which the centre of the box is, vertically and horizontally; row by row."""
    groups = [_thirds(part.box, matches.sizes[part.image]) for part in (matches.objects, matches.detections)]
    return break_down(matches, selection, [f"{y} {x}" for y in THIRDS[0] for x in THIRDS[1]], *groups)


def by_class(matches: Matches, selection: Selection, class_names: list[str]) -> Breakdown:
    """Counts by class: that of the object for its errors, and that of the detection if it has none."""
    return break_down(matches, selection, class_names, matches.objects.label, matches.detections.label)


def _range_names(limits: tuple[int, ...], unit: str) -> list[str]:
    between = [f"{low} to {high}{unit}" for low, high in zip(limits[:-1], limits[1:], strict=True)]
    return [f"below {limits[0]}{unit}", *between, f"{limits[-1]}{unit} or more"]


def _thirds(boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Returns row * 3 + column of the thirds in which the centres of boxes are.

    Args:
      boxes: [D, 4] yxyx in pixels.
      sizes: [D, 2] height and width of the image of each box.
    """
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    thirds = np.clip((centres * 3 // sizes).astype(np.int64), 0, 2)
    return thirds[:, 0] * 3 + thirds[:, 1]
