"""Cutting objects at the borders of a window of their image.

Example: a window shows the first 30 columns of an object of 40 x 20 pixels (width x height), three quarters of it. The object of
the window has the box of these 30 columns and an area of 600 pixels. A neighbour without overlap shows the remaining quarter; with
`min_visible` 0.3 this is an ignored region there.

Worker processes import this module, so it does not import TensorFlow.
"""

import dataclasses

import numpy as np
import PIL.Image

from tpuseg.convert import images, objects
from tpuseg.convert.objects import Outline
from tpuseg.data.examples import Instance
from tpuseg.io import image_channels
from tpuseg.ops import mask_crops, mask_windows, masks
from tpuseg.ops.windows import Window


@dataclasses.dataclass(frozen=True)
class Visible:
    """The part of an object that a window shows.

    Attributes:
      outline: the object in the image.
      window: the window.
      shared: the window of the part's pixels and its surroundings, in pixels of the image.
      pixels: [h, w] uint8 mask in `shared`; None for an object that is completely in the window.
      share: the part of the object's pixels, more than 0 to 1.
    """

    outline: Outline
    window: Window
    shared: Window
    pixels: np.ndarray | None
    share: float

    @property
    def is_cut(self) -> bool:
        """Whether pixels of the object are outside of the window."""
        return self.share < 1


def find_visible(outline: Outline, around: Window, window: Window) -> Visible | None:
    """Returns the part of an object in a window; None if there is none.

    Args:
      outline: the object.
      around: the bounding box of its pixels, see `mask_windows.bounding_window`.
      window: the window.
    """
    shared = around.intersect(window)
    if min(shared.size) <= 0:
        return None
    if shared == around:
        return Visible(outline, window, shared, None, 1.0)
    pixels = mask_windows.crop(outline.runs, shared)
    count = int(pixels.sum())
    return Visible(outline, window, shared, pixels, count / masks.area(outline.runs)) if count else None


def draw(visible: Visible, min_visible: float) -> Instance:
    """Creates the object of a window.

    An object of which all pixels are visible keeps the values of its annotation, moved into the window. Of one that is cut, the
    area is the number of visible pixels, and the box their bounding box.

    Args:
      visible: the part in the window.
      min_visible: with a smaller share, the object becomes an ignored region.
    """
    outline, (top, left, _, _), size = visible.outline, visible.window, visible.window.size
    pixels = mask_windows.crop(outline.runs, visible.shared) if visible.pixels is None else visible.pixels
    mask = np.zeros(size, np.uint8)
    rows, columns = visible.shared.top - top, visible.shared.left - left
    mask[rows : rows + pixels.shape[0], columns : columns + pixels.shape[1]] = pixels
    (runs,) = mask_crops.to_run_lengths([mask_crops.Crop(masks.encode(pixels), rows, columns)], size)
    box, inside, area = _place(visible, runs)
    moved = dataclasses.replace(
        outline,
        is_crowd=is_ignored(visible, min_visible),
        polygons=[(np.reshape(polygon, (-1, 2)) - (left, top)).ravel().tolist() for polygon in outline.polygons],
        runs=runs,
        box=box,
        inside=inside,
        area=area,
    )
    return objects.draw(moved, images.png(PIL.Image.fromarray(mask), image_channels.FAST_COMPRESS_LEVEL))


def is_ignored(visible: Visible, min_visible: float) -> bool:
    """Returns whether an object is an ignored region of the window: it is one of the image, or too little of it is visible."""
    return visible.outline.is_crowd or visible.share < min_visible


def _place(visible: Visible, runs: masks.RunLengths) -> tuple[np.ndarray, np.ndarray, float]:
    """Returns the box x, y, width, height, the box yxyx in the window, and the area of the visible part."""
    outline, (top, left, _, _), size = visible.outline, visible.window, visible.window.size
    moved = outline.inside - [top, left, top, left]
    inside = np.clip(moved, 0, [*size, *size])
    if visible.is_cut or (inside[2:] <= inside[:2]).any():
        inside = masks.bounding_box(runs)
        return _to_xywh(inside), inside, float(masks.area(runs))
    box = outline.box - [left, top, 0, 0] if (inside == moved).all() else _to_xywh(inside)
    return box, inside, outline.area


def _to_xywh(box: np.ndarray) -> np.ndarray:
    return np.array([box[1], box[0], box[3] - box[1], box[2] - box[0]])
