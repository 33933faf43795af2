"""The cards of an instance segmentation model: each image with its objects, the detections that are used, and their errors."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tpuseg.report import matching, outlines
from tpuseg.report.content import ERRORS, Card, Mark
from tpuseg.report.instance_labels import Names
from tpuseg.report.matching import Matches, Truth
from tpuseg.report.selection import Selection

# Maximum number of points of all outlines together, which is the size of the page, and the smallest number for each outline.
_MAX_POINTS = 2_000_000
_MIN_OUTLINE_POINTS = 12


def image_scores(matches: Matches, selection: Selection) -> np.ndarray:
    """Returns the F1 of each image, [I]; 1 for an image without objects and detections."""
    count = len(matches.sizes)
    found, objects = matches.detections, matches.objects
    hits = np.bincount(objects.image[selection.found], minlength=count)
    total = np.bincount(found.image[selection.kept], minlength=count) + np.bincount(objects.image, minlength=count)
    return np.where(total > 0, 2 * hits / np.maximum(total, 1), 1.0)


def rank_images(matches: Matches, selection: Selection) -> list[int]:
    """Returns the indices of the images, the worst first: the lowest F1, and of equal ones the one with the most errors."""
    count = len(matches.sizes)
    wrong = matches.detections.image[selection.kept & ~matches.detections.right]
    errors = np.bincount(wrong, minlength=count) + np.bincount(matches.objects.image[~selection.found], minlength=count)
    return np.lexsort((-errors, image_scores(matches, selection))).tolist()


def create_cards(
    matches: Matches,
    selection: Selection,
    truths: Sequence[Truth],
    detections: Mapping[int, list[dict[str, Any]]],
    names: Names,
    image_url: Callable[[int], str],
) -> list[Card]:
    """Returns the cards of all images, the worst first.

    Args:
      matches: the matches.
      selection: the detections that are shown.
      truths: the objects of each image.
      detections: the detections of each image, by index.
      names: the names of images.
      image_url: returns the relative URL of an image by its index.
    """
    scores = image_scores(matches, selection)
    num_points = outline_points(int(selection.kept.sum()) + len(selection.found))
    parts = (matches.detections.image, matches.objects.image)
    bounds = [np.searchsorted(images, np.arange(len(matches.sizes) + 1)) for images in parts]
    cards = []
    for image in rank_images(matches, selection):
        (first, last), (start, stop) = ((limits[image], limits[image + 1]) for limits in bounds)
        shown = first + np.flatnonzero(selection.kept[first:last])
        rows = detections.get(image, [])
        marks = _create_marks(matches, selection, np.arange(start, stop), shown, truths[image], rows, num_points)
        errors = {name: sum(mark.error == name for mark in marks) for name in ERRORS}
        card = Card(
            image_id=names.image_id(image),
            name=names.image_name(image),
            size=(truths[image].height, truths[image].width),
            image=image_url(image),
            score=round(float(scores[image]), 4),
            marks=marks,
            layers={},
            errors={name: count for name, count in errors.items() if count},
            labels=sorted({mark.label for mark in marks}),
        )
        cards.append(card)
    return cards


def _create_marks(
    matches: Matches,
    selection: Selection,
    objects: np.ndarray,
    shown: np.ndarray,
    truth: Truth,
    rows: Sequence[dict[str, Any]],
    num_points: int,
) -> list[Mark]:
    """Returns the marks of one image: its objects and then its detections.

    Args:
      matches: the matches.
      selection: the detections that are shown.
      objects: indices of its objects.
      shown: indices of its detections that are shown.
      truth: its annotations.
      rows: its detections as they were given.
      num_points: maximum number of points of an outline.
    """
    places = {number: place for place, number in enumerate(objects.tolist())}
    found, known = matches.detections, matches.objects
    takers = {int(found.partner[number]): len(objects) + place for place, number in enumerate(shown) if found.right[number]}
    marks = []
    for number in objects.tolist():
        outline = outlines.find_outlines(truth.annotations[int(known.row[number])]["segmentation"], num_points)
        error = "missed" if selection.missed[number] else ""
        label, box = int(known.label[number]), _round(known.box[number])
        marks.append(Mark("truth", label, box, outline, None, error, takers.get(number)))
    for number in shown.tolist():
        outline = outlines.find_outlines(rows[int(found.row[number])]["segmentation"], num_points)
        code, partner = int(found.error[number]), places.get(int(found.partner[number]))
        error = "" if code == matching.RIGHT else ERRORS[code]
        label, score, box = int(found.label[number]), round(float(found.score[number]), 4), _round(found.box[number])
        marks.append(Mark("prediction", label, box, outline, score, error, partner))
    return marks


def outline_points(num_marks: int) -> int:
    """Returns the maximum number of points of an outline, which is smaller if there are very many outlines.

    Args:
      num_marks: number of outlines.
    """
    return min(outlines.MAX_POINTS, max(_MIN_OUTLINE_POINTS, _MAX_POINTS // max(num_marks, 1)))


def _round(box: np.ndarray) -> tuple[float, float, float, float]:
    y0, x0, y1, x1 = np.round(box, 1).tolist()
    return y0, x0, y1, x1
