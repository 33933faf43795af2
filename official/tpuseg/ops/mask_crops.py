"""Masks of objects that are small compared with their image.

A crop is a mask in a rectangle of its own at a position of the image. Operations on crops take time and memory in proportion to the
objects and not to the image, which can have hundreds of megapixels.

Shapes: D detections, S the side of a box mask.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tpuseg.ops import masks
from tpuseg.ops.masks import RunLengths
from tpuseg.ops.windows import Window

# pycocotools reads run lengths of at most 30 bits with their sign.
_MAX_PIXELS = 2**29


class Crop(NamedTuple):
    """A mask in a part of an image.

    Attributes:
      runs: run lengths in a rectangle, which may be larger than the object.
      top: row of the image where the rectangle begins; the part of the rectangle beyond the image is 0.
      left: column of the image where the rectangle begins.
    """

    runs: RunLengths
    top: int
    left: int

    @property
    def window(self) -> Window:
        """The rectangle in pixels of the image."""
        height, width = self.runs["size"]
        return Window(self.top, self.left, self.top + height, self.left + width)


def paste(box_masks: np.ndarray, boxes: np.ndarray, origin: tuple[int, int] = (0, 0)) -> list[Crop]:
    """Pastes predicted box masks as crops; the pixels are those of `masks.paste`.

    Args:
      box_masks: [D, S, S] probabilities in the frames of the boxes.
      boxes: [D, 4] yxyx boxes in pixels of a window, within the window.
      origin: row and column of the image where the window begins.

    Raises:
      ValueError: a box or mask has values that are not finite.
    """
    corners = np.floor(np.nan_to_num(boxes[:, :2])).astype(np.int64)
    sides = np.ceil(np.nan_to_num(boxes[:, 2:]) - corners).max(axis=1, initial=1)
    # Masks of a similar size are pasted together in rectangles of the same size.
    orders = np.ceil(np.log2(np.maximum(sides, 1))).astype(int)
    crops: dict[int, Crop] = {}
    for order in np.unique(orders).tolist():
        rows = np.flatnonzero(orders == order)
        side = 1 << order
        moved = boxes[rows] - np.tile(corners[rows], 2)
        pasted = masks.paste(box_masks[rows], moved, (side, side))
        for row, runs in zip(rows.tolist(), pasted.runs, strict=True):
            crops[row] = Crop(runs, int(corners[row, 0]) + origin[0], int(corners[row, 1]) + origin[1])
    return [crops[row] for row in range(len(boxes))]


def pixels(crop: Crop, window: Window) -> np.ndarray:
    """Returns the mask in a window of the image, [height, width] bool; 0 outside of the crop."""
    result = np.zeros((max(window.bottom - window.top, 0), max(window.right - window.left, 0)), bool)
    common = crop.window.intersect(window)
    if min(common.size) > 0:
        result[_slices(common, window)] = masks.decode(crop.runs)[_slices(common, crop.window)]
    return result


def _slices(part: Window, window: Window) -> tuple[slice, slice]:
    """Returns the slices of a window's pixels that a part of it has."""
    return slice(part.top - window.top, part.bottom - window.top), slice(part.left - window.left, part.right - window.left)


def count_pixels(crop: Crop, window: Window) -> int:
    """Returns the number of pixels of a mask in a window."""
    return int(np.count_nonzero(pixels(crop, window)))


def count_shared_pixels(crop: Crop, other: Crop) -> int:
    """Returns the number of pixels that two masks have in common."""
    common = crop.window.intersect(other.window)
    return int(np.count_nonzero(pixels(crop, common) & pixels(other, common))) if min(common.size) > 0 else 0


def unite(crops: Sequence[Crop]) -> Crop:
    """Returns the union of masks."""
    corners = np.array([crop.window for crop in crops])
    window = Window(*corners[:, :2].min(0).tolist(), *corners[:, 2:].max(0).tolist())
    united = np.zeros(window.size, bool)
    for crop in crops:
        united[_slices(crop.window, window)] |= masks.decode(crop.runs).astype(bool)
    return Crop(masks.encode(united), window.top, window.left)


def to_box_mask(crop: Crop, box: np.ndarray, side: int) -> np.ndarray:
    """Returns the part of each cell of a box that the mask covers.

    Args:
      crop: the mask.
      box: [4] yxyx in pixels of the image, not empty.
      side: S.

    Returns:
      [S, S] float32, 0 to 1.
    """
    decoded = masks.decode(crop.runs)
    corner = (crop.top, crop.left)
    y, x = (
        masks.cell_overlaps(box[axis] - corner[axis], box[axis + 2] - corner[axis], decoded.shape[axis], side) for axis in (0, 1)
    )
    return (y @ decoded @ x.T).astype(np.float32)


def to_run_lengths(crops: Sequence[Crop], size: tuple[int, int]) -> list[RunLengths]:
    """Returns the run lengths of masks at the size of the image.

    Args:
      crops: D masks.
      size: (height, width) of the image.

    Raises:
      ValueError: the image has more pixels than COCO's run lengths allow.
    """
    height, width = size
    if height * width >= _MAX_PIXELS:
        raise ValueError(
            f"an image of {width}x{height} pixels is too large for COCO's run lengths, which allow fewer than {_MAX_PIXELS:,d}"
            " pixels; cut it into parts"
        )
    bounds = [_bounds(crop, size) + number * (height * width + 1) for number, crop in enumerate(crops)]
    return masks.encode_bounds(np.concatenate(bounds) if bounds else np.zeros(0, np.int64), len(crops), size).runs


def _bounds(crop: Crop, size: tuple[int, int]) -> np.ndarray:
    """Returns the positions in the image, column by column, where runs of the mask begin and end."""
    window = crop.window.intersect(Window(0, 0, *size))
    columns = np.pad(pixels(crop, window).T, ((0, 0), (1, 1)))
    column, row = np.nonzero(columns[:, 1:] != columns[:, :-1])
    return (window.left + column) * size[0] + window.top + row
