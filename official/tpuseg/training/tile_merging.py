"""The interface of merging: an architecture combines the outputs for overlapping windows to the prediction of the whole image."""

import abc
from typing import Any

import numpy as np


class TileMerger(abc.ABC):
    """Collects the outputs for the windows of one image, in any order."""

    @abc.abstractmethod
    def add(self, number: int, outputs: dict[str, np.ndarray], row: int) -> None:
        """Adds the outputs for one window.

        Args:
          number: Number of the window in the grid.
          outputs: Outputs of `SegmentationTask.validation_step` for a batch of windows.
          row: Index of the window in the batch.
        """

    @abc.abstractmethod
    def finish(self) -> Any:
        """Returns the prediction of the image, in the form of `Predictions.finish`, when all windows have been added."""

    def take_rows(self) -> list[tuple[int, np.ndarray]]:
        """Returns the finished rows of a class map and forgets them, so that the class map need not fit into memory.

        Returns:
          Pairs of the first row and [n, w] uint8 class ids, from the top to the bottom; empty for architectures that detect
          objects. After the last window, all rows of the image have been returned by the calls together.
        """
        return []
