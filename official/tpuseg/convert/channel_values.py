"""The mean and standard deviation of each channel of a data set, for `task.model.pixel_mean` and `pixel_stddev`.

Worker processes import this module, so it does not import TensorFlow, which would take several seconds in each of them.
"""

import dataclasses
from typing import Any

import numpy as np

from tpuseg.utils.messages import format_count

COUNT, MEAN, STDDEV = "num_channels", "pixel_mean", "pixel_stddev"


@dataclasses.dataclass(frozen=True)
class ChannelValues:
    """Sums over the pixels of an image, from which the statistics of several images can be computed.

    Attributes:
      count: number of pixels.
      sums: [C] float64 sum of the values of each channel, 0 to 255.
      squares: [C] float64 sum of the squares of the values.
    """

    count: int
    sums: np.ndarray
    squares: np.ndarray

    @classmethod
    def of(cls, pixels: np.ndarray) -> "ChannelValues":
        """Computes the sums for one image, [H, W, C] uint8."""
        histograms = [np.bincount(channel.ravel(), minlength=256) for channel in np.moveaxis(pixels, -1, 0)]
        values = np.arange(256, dtype=np.float64)
        counts = np.array(histograms, np.float64)
        return cls(pixels.shape[0] * pixels.shape[1], counts @ values, counts @ values**2)


class ChannelTally:
    """Adds up the images of a conversion."""

    def __init__(self, num_channels: int) -> None:
        self._num_channels, self._count = num_channels, 0
        self._sums, self._squares = np.zeros((2, num_channels))

    def add(self, values: ChannelValues | None) -> None:
        """Adds an image; None for an image with three channels, whose statistics are not needed."""
        if values is not None:
            self._count += values.count
            self._sums, self._squares = self._sums + values.sums, self._squares + values.squares

    def summary(self) -> dict[str, Any]:
        """Returns entries for the summary: the number of channels, and if it is not 3, their statistics."""
        if not self._count:
            return {COUNT: self._num_channels}
        mean = self._sums / self._count
        deviation = np.sqrt(np.maximum(self._squares / self._count - mean**2, 0))
        return {COUNT: self._num_channels, MEAN: _round(mean), STDDEV: _round(np.maximum(deviation, 1))}


def _round(values: np.ndarray) -> list[float]:
    return [round(value, 2) for value in values.tolist()]


def describe(summary: dict[str, Any]) -> list[str]:
    """Returns a line about the channels for the output of a converter; none if there are three."""
    if MEAN not in summary:
        return []
    count = summary[COUNT]
    return [
        f"  {format_count(count, 'channel')} (task.model.num_channels: {count}) with the mean {summary[MEAN]} and the"
        f" standard deviation {summary[STDDEV]}"
    ]
