"""Reports and comparisons in the form that the script of the page reads.

The page must open quickly with hundreds of thousands of objects. What filters need of an object is stored in arrays of numbers in
base64, which a browser decodes in milliseconds; boxes and outlines are in chunks, which it loads when it draws the images.
"""

import base64
import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tpuseg.report import checks
from tpuseg.report.comparison import Comparison
from tpuseg.report.content import ERRORS, Card, Mark, Report, Section
from tpuseg.visualization import drawing

# A chunk ends before an image with which it would have more objects or images than this.
_CHUNK_MARKS = 2000
_CHUNK_CARDS = 50
# Scores are integers of this fraction; objects without a score have the largest number.
_SCORE_UNIT = 10_000
_NO_SCORE = 65_535
_LARGEST_SIDE = 65_535
_PREDICTION = 128
# Coordinates are integers of this fraction of the longer side of their image.
_UNITS_PER_SIDE = 20_000
_LARGEST_INT16 = 32_767


def encode_report(report: Report) -> tuple[dict[str, Any], list[list[Any]]]:
    """Returns the data of a report and the chunks with its boxes and outlines.

    Args:
      report: the report; its images are sorted, those with the worst predictions first.

    Returns:
      data: dictionary for `report.js`.
      chunks: for each chunk, the marks of its images.

    Raises:
      ValueError: the report contradicts itself, or a value is not finite.
    """
    checks.check_report(report)
    cards = sorted(report.cards, key=lambda card: card.score)
    chunks = _encode_chunks(cards)
    data = {
        "page": "report",
        **_encode_shared(report.kind, report.class_names, report.sections),
        "cards": _encode_cards(cards),
        "labels": [dataclasses.asdict(label) for label in report.labels_to_check],
    }
    return _replace_non_finite(data), chunks


def encode_comparison(comparison: Comparison) -> tuple[dict[str, Any], list[list[Any]]]:
    """Returns the data of a comparison and the chunks with its boxes and outlines; see `encode_report`."""
    checks.check_comparison(comparison)
    cards = [card for difference in comparison.differences for card in difference.cards]
    chunks = _encode_chunks(cards)
    data = {
        "page": "comparison",
        **_encode_shared(comparison.kind, comparison.class_names, comparison.sections),
        "cards": _encode_cards(cards),
        "runs": comparison.runs,
        "metrics": [dataclasses.asdict(metric) for metric in comparison.metrics],
        "settings": [[setting.key, *map(_format_setting, setting.values)] for setting in comparison.settings],
    }
    return _replace_non_finite(data), chunks


def _format_setting(value: object) -> str | None:
    return None if value is None else str(value)


def _encode_shared(kind: str, class_names: Sequence[str], sections: Sequence[Section]) -> dict[str, Any]:
    colors = drawing.color_map()
    return {
        "kind": kind,
        "classNames": list(class_names),
        "classColors": [colors[number % len(colors)].tolist() for number in range(len(class_names))],
        "errorNames": list(ERRORS),
        "sections": [_encode_section(section) for section in sections],
    }


def _encode_section(section: Section) -> dict[str, Any]:
    parts = [{"type": type(part).__name__.lower(), **dataclasses.asdict(part)} for part in section.parts]
    return {"key": section.key, "title": section.title, "text": section.text, "parts": parts}


def _encode_cards(cards: Sequence[Card]) -> dict[str, Any]:
    """Returns one list for each property, so that names of properties are not repeated for every image."""
    names = [*ERRORS, *sorted({name for card in cards for name in card.errors} - set(ERRORS))]
    return {
        "ids": [card.image_id for card in cards],
        "names": [card.name for card in cards],
        "images": [card.image for card in cards],
        "sizes": [list(card.size) for card in cards],
        "scores": [round(card.score, 4) for card in cards],
        "layers": [card.layers for card in cards] if any(card.layers for card in cards) else [],
        "errorNames": names,
        "errors": [[card.errors.get(name, 0) for name in names] for card in cards],
        "labels": [sorted(card.labels) for card in cards],
        "counts": [len(card.marks) for card in cards],
        "chunks": [len(chunk) for chunk in _divide(cards)],
        "marks": _encode_marks([mark for card in cards for mark in card.marks]),
    }


def _encode_marks(marks: Sequence[Mark]) -> dict[str, str]:
    """Returns what filters need of all objects, as arrays of uint16 and, for `codes`, uint8.

    A code is the number of the error in `ERRORS` plus one, or 0 if the object is right; plus 128 for predictions.
    """
    numbers = {name: number for number, name in enumerate(("", *ERRORS))}
    codes = [numbers[mark.error] + _PREDICTION * (mark.kind == "prediction") for mark in marks]
    return {
        "labels": _to_base64([mark.label for mark in marks], "<u2"),
        "scores": _to_base64(_round_scores([mark.score for mark in marks]), "<u2"),
        "sizes": _to_base64(np.minimum(_measure_sizes([mark.box for mark in marks]), _LARGEST_SIDE), "<u2"),
        "codes": _to_base64(codes, "<u1"),
    }


def _round_scores(scores: Sequence[float | None]) -> np.ndarray:
    """Returns scores in units, rounded down, so that a filter shows no score that is below its value."""
    values = np.array([np.nan if score is None else score for score in scores], np.float64)
    return np.where(np.isnan(values), _NO_SCORE, np.floor(np.round(values * _SCORE_UNIT, 6)))


def _measure_sizes(boxes: Sequence[Sequence[float]]) -> np.ndarray:
    """Returns the side in pixels of a square with the area of each box, [N] float64."""
    values = np.array(boxes, np.float64).reshape(-1, 4)
    sides = np.maximum(values[:, 2:] - values[:, :2], 0)
    return np.sqrt(sides[:, 0] * sides[:, 1])


def _to_base64(numbers: Sequence[int] | np.ndarray, dtype: str) -> str:
    return base64.b64encode(np.asarray(numbers, dtype).tobytes()).decode()


def _divide(cards: Sequence[Card]) -> Iterator[Sequence[Card]]:
    """Divides the images into consecutive chunks."""
    start, num_marks = 0, 0
    for number, card in enumerate(cards):
        if number > start and (num_marks + len(card.marks) > _CHUNK_MARKS or number - start == _CHUNK_CARDS):
            yield cards[start:number]
            start, num_marks = number, 0
        num_marks += len(card.marks)
    if start < len(cards):
        yield cards[start:]


def _encode_chunks(cards: Sequence[Card]) -> list[list[Any]]:
    return [[_encode_outlines(card) for card in chunk] for chunk in _divide(cards)]


def _encode_outlines(card: Card) -> list[Any]:
    """Returns what is needed to draw the marks of an image.

    Returns:
      partners: partner of each mark, or -1.
      lengths: for each mark, the number of values of each polygon.
      values: the box and the polygons of each mark as int16 in base64, in units of the longer side / 20000: 0.05 pixels for a side
        of 1024. Values that are further outside of the image than half of its size are moved there.

    Raises:
      ValueError: a value is not finite.
    """
    lists = [values for mark in card.marks for values in (mark.box, *mark.outline)]
    values = np.fromiter(itertools.chain.from_iterable(lists), np.float64)
    if not np.isfinite(values).all():
        raise ValueError(f"image {card.image_id!r}: a box or an outline contains a value that is not finite")
    steps = np.clip(np.rint(values * (_UNITS_PER_SIDE / max(card.size))), -_LARGEST_INT16, _LARGEST_INT16)
    partners = [-1 if mark.partner is None else mark.partner for mark in card.marks]
    return [partners, [[len(polygon) for polygon in mark.outline] for mark in card.marks], _to_base64(steps, "<i2")]


def _replace_non_finite(value: Any) -> Any:
    """Returns the value with None for numbers that JSON does not have, and with Python's numbers for those of NumPy."""
    if isinstance(value, dict):
        return {str(key): _replace_non_finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_replace_non_finite(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
