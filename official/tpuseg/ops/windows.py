"""Overlapping windows of an image that is too large for the network, or whose objects are too small at the network's size.

A window is a rectangle of whole pixels. All windows of an image have the same size unless the image is smaller, and are evenly
spaced, so that neighbouring windows share at least the requested part. Example: an axis of 10 pixels, windows of 4 pixels that
share at least a quarter, so 1 pixel:

    pixel      0  1  2  3  4  5  6  7  8  9
    span 0    [0           4)
    span 1             [3           7)
    span 2                      [6           10)

This module computes with integers and NumPy only; training, evaluation, prediction and the converters use it.
"""

import dataclasses
import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

# The smallest side of a window in pixels: networks need some context, and the number of windows grows with the inverse square.
SMALLEST = 32
# A tenth to a quarter is usual for detection; an object smaller than the common part is seen as a whole by at least one window.
OVERLAP = 0.2


class Span(NamedTuple):
    """The pixels `start` to `stop` - 1 of an axis."""

    start: int
    stop: int


class Window(NamedTuple):
    """A rectangle of an image: the rows `top` to `bottom` - 1 and the columns `left` to `right` - 1."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.bottom - self.top, self.right - self.left

    def intersect(self, other: "Window") -> "Window":
        """Returns the common part; its size is not positive if there is none."""
        return Window(
            max(self.top, other.top), max(self.left, other.left), min(self.bottom, other.bottom), min(self.right, other.right)
        )


@dataclasses.dataclass(frozen=True)
class Tiling:
    """How an image is divided into windows.

    Attributes:
      size: side of a window in pixels of the image.
      overlap: smallest part of a side that neighbouring windows share, from 0 to less than 1.
      scale: factor by which a window is resized before it is placed on the network's canvas; more than 1 enlarges small objects.

    Raises:
      ValueError: a value is out of range.
    """

    size: int
    overlap: float = OVERLAP
    scale: float = 1.0

    def __post_init__(self) -> None:
        """Checks the values."""
        if self.size < SMALLEST:
            raise ValueError(f"the tile size is {self.size}, but must be at least {SMALLEST} pixels")
        if not 0 <= self.overlap < 1:
            raise ValueError(f"the overlap of tiles is {self.overlap:g}, but must be at least 0 and less than 1, such as {OVERLAP}")
        if not 0 < self.scale <= 16:
            raise ValueError(f"the scale of tiles is {self.scale:g}, but must be more than 0 and at most 16")


def scaled_size(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """Returns (height, width) of a window that is resized by a factor, at least one pixel."""
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


class Grid:
    """The windows of an image, in rows from the top to the bottom and from the left to the right.

    Attributes:
      size: (h, w) of the image.
      tiling: how the image is divided.
      rows: the spans of the rows of windows.
      columns: the spans of the columns of windows.
    """

    def __init__(self, size: tuple[int, int], tiling: Tiling) -> None:
        """Computes the windows.

        Args:
          size: (h, w) of the image in pixels.
          tiling: how to divide it.
        """
        self.size = size
        self.tiling = tiling
        self.rows = spans(size[0], tiling)
        self.columns = spans(size[1], tiling)

    def __len__(self) -> int:
        """Returns the number of windows."""
        return len(self.rows) * len(self.columns)

    def __getitem__(self, number: int) -> Window:
        """Returns a window by its number."""
        if not 0 <= number < len(self):
            raise IndexError(f"window {number} of {len(self)}")
        row, column = self.place(number)
        (top, bottom), (left, right) = self.rows[row], self.columns[column]
        return Window(top, left, bottom, right)

    def __iter__(self) -> Iterator[Window]:
        """Yields the windows in the order of their numbers."""
        return map(self.__getitem__, range(len(self)))

    def place(self, number: int) -> tuple[int, int]:
        """Returns the row and the column of a window."""
        return divmod(number, len(self.columns))

    def neighbours(self, number: int) -> list[int]:
        """Returns the numbers of the earlier windows that share pixels with a window."""
        row, column = self.place(number)
        top, left = self.rows[row].start, self.columns[column].start
        right = self.columns[column].stop
        above = [other for other in range(row) if self.rows[other].stop > top]
        beside = [other for other, span in enumerate(self.columns) if span.stop > left and span.start < right]
        found = [other * len(self.columns) + place for other in above for place in beside]
        return found + [row * len(self.columns) + place for place in beside if place < column]


def spans(length: int, tiling: Tiling) -> list[Span]:
    """Divides an axis into evenly spaced spans; a single span if the axis is not longer than a window.

    Args:
      length: number of pixels of the axis.
      tiling: the size of a window and the overlap.
    """
    size = tiling.size
    if length <= size:
        return [Span(0, length)]
    stride = max(1, math.floor(size * (1 - tiling.overlap)))
    count = -(-(length - size) // stride) + 1
    starts = [(length - size) * place // (count - 1) for place in range(count)]
    return [Span(start, start + size) for start in starts]


def weights(axis: list[Span], number: int) -> np.ndarray:
    """Returns the weights with which the pixels of a span enter an average with those of its neighbours.

    They fall linearly towards a border that a neighbour covers, over the common part, where the weights of two neighbours add up
    to 1; at the border of the image they do not fall. Example: spans 0..4 and 2..6 have the weights 1, 1, 0.75, 0.25 and 0.25,
    0.75, 1, 1. Where more than two spans meet, divide by the sum of the weights.

    Args:
      axis: all spans of the axis, from `spans`.
      number: the span.

    Returns:
      [stop - start] float32, more than 0.
    """
    start, stop = axis[number]
    pixels = np.arange(start, stop, dtype=np.float64) + 0.5
    result = np.ones(stop - start)
    if number > 0 and (shared := axis[number - 1].stop - start) > 0:
        result = np.minimum(result, (pixels - start) / shared)
    if number + 1 < len(axis) and (shared := stop - axis[number + 1].start) > 0:
        result = np.minimum(result, (stop - pixels) / shared)
    return result.astype(np.float32)


def strips(axis: list[Span]) -> list[Span]:
    """Returns the parts of an axis between all places where a span begins or ends; each span covers a part completely or not."""
    edges = sorted({edge for span in axis for edge in span})
    return [Span(*pair) for pair in zip(edges[:-1], edges[1:], strict=True)]


def nearest_pixels(size: int, target: int) -> np.ndarray:
    """Returns the pixel of an axis that is nearest to each pixel of the resized axis, [target] int64."""
    return ((np.arange(target) + 0.5) * size / target).astype(np.int64)


def resize_nearest(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Returns [h, w] class ids resized by nearest neighbour to `size`, (height, width)."""
    return labels[nearest_pixels(labels.shape[0], size[0])[:, np.newaxis], nearest_pixels(labels.shape[1], size[1])]
