"""The mean and deviation of each channel of a data set's images, for `task.model.pixel_mean` and `pixel_stddev`.

Worker processes import this module, so it leaves TensorFlow alone: its import would cost each of them several seconds.
"""

import dataclasses
from typing import Any

import numpy as np

from tpuseg.utils.messages import counted

COUNT, MEAN, STDDEV = "num_channels", "pixel_mean", "pixel_stddev"


@dataclasses.dataclass(frozen=True)
class ChannelValues:
    """Sums over the pixels of images, which add up.

    Attributes:
      count: pixels.
      sums: [C] float64 sums of their values, 0 to 255.
      squares: [C] float64 sums of the squares.
    """

    count: int
    sums: np.ndarray
    squares: np.ndarray

    @classmethod
    def of(cls, pixels: np.ndarray) -> "ChannelValues":
        """Returns the sums of one image, [H, W, C] uint8."""
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
        """Adds an image; None is one of three channels, of which nobody asks."""
        if values is not None:
            self._count += values.count
            self._sums, self._squares = self._sums + values.sums, self._squares + values.squares

    def summary(self) -> dict[str, Any]:
        """Returns what goes into the summary of a conversion: the number of channels, and of others than 3 their statistics."""
        if not self._count:
            return {COUNT: self._num_channels}
        mean = self._sums / self._count
        deviation = np.sqrt(np.maximum(self._squares / self._count - mean**2, 0))
        return {COUNT: self._num_channels, MEAN: _rounded(mean), STDDEV: _rounded(np.maximum(deviation, 1))}


def _rounded(values: np.ndarray) -> list[float]:
    return [round(value, 2) for value in values.tolist()]


def describe(summary: dict[str, Any]) -> list[str]:
    """Returns a line about the channels of a conversion, for people; none about three."""
    if MEAN not in summary:
        return []
    count = summary[COUNT]
    return [
        f"  {counted(count, 'channel')} (task.model.num_channels: {count}) with the mean {summary[MEAN]} and the"
        f" deviation {summary[STDDEV]}"
    ]
