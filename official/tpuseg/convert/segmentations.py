"""Converting masks in the forms of other programs to COCO's form, if they have only one possible meaning.

Worker processes import this module, so it does not import TensorFlow.
"""

import json
from typing import Any

import numpy as np

from tpuseg.ops import masks


def is_standard(segmentation: object) -> bool:
    """Returns whether a segmentation is a list of flat lists, the usual form, by checking its first element."""
    first = segmentation[0] if isinstance(segmentation, list) and segmentation else None
    return isinstance(first, list) and len(first) >= 6 and _is_number(first[0])


def standard_form(segmentation: object) -> tuple[Any, str]:
    """Converts polygons and run lengths to COCO's form.

    Args:
      segmentation: the segmentation in the file.

    Returns:
      A list of flat polygons, a list of run lengths (dictionaries), or the unchanged segmentation; and the name of its form if it
      is not COCO's, otherwise an empty string.
    """
    plain, form = _parse_text(segmentation)
    if form:
        return standard_form(plain)[0], form
    if not isinstance(segmentation, list) or not segmentation:
        return segmentation, ""
    if _is_flat(segmentation):
        return [segmentation], "one flat list"
    if all(isinstance(part, dict) and "counts" in part for part in segmentation):
        return segmentation, "a list of run lengths"
    if _are_points(segmentation):
        return [_flat(segmentation)], "a list of points"
    if all(isinstance(part, list) and part and _are_points(part) for part in segmentation):
        return [_flat(part) for part in segmentation], "lists of points"
    if all(isinstance(part, list) and part and all(map(_is_flat, part)) for part in segmentation):
        return [polygon for part in segmentation for polygon in part], "one list too many"
    # Several rings in one part could be a polygon and its holes.
    if all(isinstance(part, list) and len(part) == 1 and _are_points(part[0]) for part in segmentation):
        return [_flat(part[0]) for part in segmentation], "lists of lists of points"
    return segmentation, ""


def _parse_text(segmentation: Any) -> tuple[Any, str]:
    """Parses the parts of a segmentation that are strings, and returns it with the name of their form; empty if there are none.

    Cells of tables contain JSON as a string, `str` of Python's bytes puts b'...' around the counts (compressed counts contain no
    quotation marks), and sizes may be strings.
    """
    if isinstance(segmentation, str):
        try:
            inside = json.loads(segmentation)
        except (ValueError, RecursionError):
            return segmentation, ""
        return (inside, "JSON in a text") if isinstance(inside, list | dict) else (segmentation, "")
    parts = segmentation if isinstance(segmentation, list) else [segmentation]
    if not all(isinstance(part, dict) for part in parts):
        return segmentation, ""
    plain = [_plain_runs(part) for part in parts]
    if plain == parts:
        return segmentation, ""
    return plain if isinstance(segmentation, list) else plain[0], "run lengths with their size or bytes as text"


def _plain_runs(runs: dict[str, Any]) -> dict[str, Any]:
    plain = dict(runs)
    size, counts = runs.get("size"), runs.get("counts")
    if isinstance(size, list) and any(isinstance(side, str) for side in size):
        if all(str(side).isascii() and str(side).isdigit() and len(str(side)) < 10 for side in size):
            plain["size"] = [int(side) for side in size]
    if isinstance(counts, str) and counts[:2] in ("b'", 'b"') and len(counts) > 2 and counts[-1] == counts[1]:
        plain["counts"] = counts[2:-1].replace("\\\\", "\\")
    return plain


def is_bitmap(parts: object, size: tuple[int, int]) -> bool:
    """Returns whether a segmentation has a list of 0 and 1 for every row of the image."""
    if not isinstance(parts, list) or len(parts) != size[0] or size[0] < 3:
        return False
    if not all(isinstance(row, list) and len(row) == size[1] for row in parts):
        return False
    return all(_is_number(value) and value in (0, 1) for row in parts for value in row)


def are_relative(polygons: list[list[float]], size: tuple[int, int]) -> bool:
    """Returns whether all coordinates are between 0 and 1, so that they are probably fractions of width and height."""
    if min(size) <= 2 or not polygons:
        return False
    return all(0 <= min(polygon) and max(polygon) <= 1 for polygon in polygons)


def read_swapped_runs(
    segmentation: dict[str, Any], size: tuple[int, int], box: tuple[float, ...] | None
) -> masks.RunLengths | None:
    """Reads run lengths whose size is width and height instead of height and width.

    Either only the size is swapped, or the runs are also row by row. The alternative that fits the box better is used; without a
    box, the one with the shorter outline, because the wrong one consists of stripes.

    Args:
      segmentation: the run lengths in the file.
      size: height and width of the image.
      box: x, y, width, height; None if there is no box.

    Returns:
      The run lengths at the image's size; None if the size is not swapped.

    Raises:
      ValueError: the run lengths are damaged.
    """
    if size[0] == size[1] or not masks.has_size(segmentation, size[1], size[0]):
        return None
    by_columns = masks.run_lengths({**segmentation, "size": list(size)}, *size)
    by_rows = masks.encode(masks.decode(masks.run_lengths(segmentation, size[1], size[0])).T)
    candidates = (by_columns, by_rows)
    if box is None:
        return min(candidates, key=_outline)
    return max(candidates, key=lambda runs: _overlap(masks.bounding_box(runs), box))


def _is_flat(value: object) -> bool:
    return isinstance(value, list) and len(value) >= 6 and all(map(_is_number, value))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _are_points(values: Any) -> bool:
    """Returns whether a value is a list of at least three points, [x, y] or {"x": x, "y": y}."""
    return isinstance(values, list) and len(values) >= 3 and all(map(_is_point, values))


def _is_point(value: object) -> bool:
    if isinstance(value, dict):
        return set(value) == {"x", "y"} and all(map(_is_number, value.values()))
    return isinstance(value, list) and len(value) == 2 and all(map(_is_number, value))


def _flat(points: list[Any]) -> list[float]:
    return [value for point in points for value in ((point["x"], point["y"]) if isinstance(point, dict) else point)]


def _outline(runs: masks.RunLengths) -> int:
    pixels = np.pad(masks.decode(runs).astype(np.int8), 1)
    return int(np.count_nonzero(np.diff(pixels, axis=0)) + np.count_nonzero(np.diff(pixels, axis=1)))


def _overlap(around: np.ndarray, box: tuple[float, ...]) -> float:
    """Returns the IoU of a box yxyx and a box x, y, width, height."""
    other = np.array([box[1], box[0], box[1] + box[3], box[0] + box[2]])
    shared = np.prod(np.maximum(np.minimum(around[2:], other[2:]) - np.maximum(around[:2], other[:2]), 0))
    union = np.prod(around[2:] - around[:2]) + max(box[2] * box[3], 0) - shared
    return float(shared / union) if union > 0 else 0.0
