"""Masks of objects: COCO's run lengths, pasting of predictions, and the small form in which records hold masks for training.

Run lengths are pycocotools' dictionaries {`size`: [height, width], `counts`: bytes}: a picture's pixels column by column, in
alternating runs beside and on the object. Masks that a network predicts, and those that it learns from, lie in the frame of a box:
[S, S], whatever the box's size is. Pixels are areas with their centres at half coordinates.

Shapes: D detections, N objects of a picture, S the side of a mask in its box's frame, H W the picture.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as coco_mask

RunLengths = dict[str, Any]

# A pixel is on the object from this probability on.
_THRESHOLD = 0.5
# Side of the masks that records hold, see `in_box_frame`.
FRAME_SIZE = 112


def run_lengths(segmentation: Any, height: int, width: int) -> RunLengths:
    """Reads any form in which COCO files hold a mask.

    Args:
      segmentation: polygons (a list of flat lists x0, y0, x1, y1 ... in pixels, whose union is the mask), or run lengths as a
        dictionary whose counts are a list or compressed.
      height: of the picture.
      width: of the picture.

    Returns:
      Compressed run lengths of the picture's size.

    Raises:
      ValueError: it is none of these forms, or of another size.
    """
    if isinstance(segmentation, dict):
        return _checked(segmentation, height, width)
    if not isinstance(segmentation, list):
        raise ValueError(f"the segmentation is a {type(segmentation).__name__}, neither polygons nor run lengths")
    polygons = [checked_polygon(polygon) for polygon in segmentation]
    if not polygons:
        return coco_mask.encode(np.zeros((height, width), np.uint8, order="F"))
    return coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))


def checked_polygon(polygon: Any) -> list[float]:
    """Returns a polygon's coordinates as numbers.

    Raises:
      ValueError: it has fewer than three corners, or something else than finite numbers.
    """
    try:
        values = [float(value) for value in polygon]
    except (TypeError, ValueError):
        raise ValueError(f"a polygon is {str(polygon)[:60]}, not a flat list of numbers x0, y0, x1, y1 ...") from None
    if len(values) < 6 or len(values) % 2:
        raise ValueError(f"a polygon has {len(values)} coordinates; at least 6, and an even number, make an area")
    if not all(map(math.isfinite, values)):
        raise ValueError("a polygon has coordinates that are not finite numbers")
    return values


def _checked(segmentation: dict[str, Any], height: int, width: int) -> RunLengths:
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if size is None or counts is None or [int(side) for side in size] != [height, width]:
        raise ValueError(f"the run lengths are of size {size}, the picture is [{height}, {width}] (height, width)")
    if isinstance(counts, str | bytes):
        result = {"size": [height, width], "counts": counts.encode() if isinstance(counts, str) else counts}
        counts = decode_counts(result["counts"])
    else:
        counts = np.asarray(counts, np.int64)
        result = {"size": [height, width], "counts": b""}
        if len(counts) and counts.min() >= 0:
            result = coco_mask.frPyObjects({"size": [height, width], "counts": counts.tolist()}, height, width)
    # pycocotools would read and write beyond its memory.
    if counts.sum() != height * width or (len(counts) and counts.min() < 0):
        raise ValueError(f"the run lengths add up to {counts.sum()} pixels, the picture has {height * width}")
    return result


def decode(runs: RunLengths) -> np.ndarray:
    """Returns [H, W] uint8, 1 on the object."""
    return coco_mask.decode(runs)


def area(runs: RunLengths) -> int:
    """Returns the number of pixels on the object."""
    return int(coco_mask.area(runs))


def bounding_box(runs: RunLengths) -> np.ndarray:
    """Returns the smallest box around all pixels, [4] float64 yxyx; zeros for an empty mask."""
    x, y, width, height = coco_mask.toBbox(runs)
    return np.array([y, x, y + height, x + width])


class Pasted(NamedTuple):
    """Masks at a picture's size.

    Attributes:
      runs: D run lengths.
      areas: [D] int64 pixels.
    """

    runs: list[RunLengths]
    areas: np.ndarray


def paste(masks: np.ndarray, boxes: np.ndarray, size: tuple[int, int]) -> Pasted:
    """Draws predicted masks into their boxes at the size of the picture (Mask R-CNN, arXiv:1703.06870, section 3.1).

    As detectron2 does: a pixel's centre is mapped into the box's frame, the mask, with zeros around it, is interpolated there
    bilinearly, and the pixel is on the object from one half on. But no pixel is drawn: within a column the interpolated mask is made
    of straight pieces between the rows of the [S, S] mask, and where these pass one half the runs begin and end. The work grows with
    the boxes' widths, not with their areas, and all masks of a picture are done in one go.

    Args:
      masks: [D, S, S] probabilities.
      boxes: [D, 4] yxyx pixels of the picture, over whose border they may reach.
      size: (H, W).

    Raises:
      ValueError: a box or mask has values that are not finite.
    """
    for name, values in (("boxes", boxes), ("masks", masks)):
        if not np.isfinite(values).all():
            raise ValueError(f"the {name} have values that are not finite numbers")
    height, width = size
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    owner, columns = _columns(boxes, size)
    values = _interpolate_columns(np.asarray(masks, np.float32), boxes, owner, columns)
    above = values >= _THRESHOLD
    nodes = values.shape[1]
    # The changes come in the order of the objects, their columns and rows: the order of the runs.
    changes = np.flatnonzero(above[:, 1:] != above[:, :-1])
    line, node = np.divmod(changes, nodes - 1)
    first = values[line, node].astype(np.float64)
    crossing = node + (_THRESHOLD - first) / (values[line, node + 1] - first)
    top, side = boxes[owner[line], 0], boxes[owner[line], 2] - boxes[owner[line], 0]
    # Node k is the centre of the mask's row k - 1; minus a half, as pixel i has its centre at i + 1/2.
    rows = top + (crossing - 0.5) * side / (nodes - 2) - 0.5
    rows = np.where(above[line, node], np.floor(rows) + 1, np.ceil(rows))
    rows = np.clip(rows, 0, height).astype(np.int64)
    starts = (owner[line] * width + columns[line]) * height + rows
    return _encode(starts, len(boxes), size)


def _columns(boxes: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Returns all columns of pixels with their centres in a box: the boxes' numbers and the columns, both [C] int64."""
    first = np.clip(np.ceil(boxes[:, 1] - 0.5), 0, size[1]).astype(np.int64)
    last = np.clip(np.floor(boxes[:, 3] - 0.5), -1, size[1] - 1).astype(np.int64)
    # A box without a height has columns all the same.
    counts = np.where(boxes[:, 2] > boxes[:, 0], np.maximum(last - first + 1, 0), 0)
    counts[boxes[:, 3] <= boxes[:, 1]] = 0
    owner = np.repeat(np.arange(len(boxes)), counts)
    return owner, np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts - first, counts)


def _interpolate_columns(masks: np.ndarray, boxes: np.ndarray, owner: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Returns the masks' values at the centres of columns, [C, S + 2] float32: a zero, the mask's S rows, a zero."""
    side = masks.shape[-1]
    padded = np.zeros((len(masks), side + 2, side + 2), np.float32)
    padded[:, 1:-1, 1:-1] = masks.transpose(0, 2, 1)
    left, right = boxes[owner, 1], boxes[owner, 3]
    places = (columns + 0.5 - left) / (right - left) * side + 0.5
    node = np.clip(places.astype(np.int64), 0, side)
    share = (places - node).astype(np.float32)[:, np.newaxis]
    values = padded[owner, node + 1]
    before = padded[owner, node]
    values -= before
    values *= share
    values += before
    return values


def _encode(starts: np.ndarray, num_masks: int, size: tuple[int, int]) -> Pasted:
    """Makes run lengths from the places where runs begin.

    Args:
      starts: not falling: mask number * H * W + place, every second one back to the background. Equal ones in pairs cancel out.
      num_masks: D.
      size: (H, W).
    """
    pixels = size[0] * size[1]
    starts = _without_pairs(starts)
    owner, place = np.divmod(starts, pixels)
    if len(starts) and (place == 0).any():
        # A run up to a picture's last pixel ends at the next mask's first: there, every second start is such an end.
        ends = (np.arange(len(starts)) % 2 == 1) & (place == 0)
        begins_too = ends  # With a run that begins there they would have cancelled out.
        owner, place = _repair_ends(starts, pixels, begins_too)
    per_mask = np.bincount(owner, minlength=num_masks)
    last = np.cumsum(per_mask + 1) - 1
    bounds = np.empty(len(place) + num_masks, np.int64)
    inner = np.ones(len(bounds), bool)
    inner[last] = False
    bounds[inner] = place
    bounds[last] = pixels
    return bounds
