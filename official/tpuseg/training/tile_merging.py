"""The interface of merging: an architecture combines the outputs for overlapping windows to the prediction of the whole image."""

import abc
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tpuseg.ops.windows import Grid

# Input and output of the network: the number of a window in the grid of its image.
WINDOW = "window"


def numbers(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Returns the inputs that say which image, and which window of it, a row of a batch is."""
    return {name: inputs[name] for name in ("index", WINDOW) if name in inputs}


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


class TiledImages:
    """The images of an evaluation whose windows are being predicted."""

    def __init__(self, grids: Sequence[Grid], create: Callable[[Grid], TileMerger]) -> None:
        """Creates the state of an evaluation.

        Args:
          grids: The windows of every image, by its position in the data.
          create: Creates the merger of an image.
        """
        self._grids = grids
        self._create = create
        self._mergers: dict[int, TileMerger] = {}
        self._num_missing: dict[int, int] = {}

    def add_batch(self, outputs: dict[str, np.ndarray]) -> Iterator[tuple[int, Any]]:
        """Adds windows, and yields the images that are complete: position in the data and prediction.

        Args:
          outputs: Outputs of `SegmentationTask.validation_step` with `index` and `window`; `index` is -1 in padding rows.
        """
        for row, (index, number) in enumerate(zip(outputs["index"].tolist(), outputs[WINDOW].tolist(), strict=True)):
            if index < 0:
                continue
            if index not in self._mergers:
                self._mergers[index] = self._create(self._grids[index])
                self._num_missing[index] = len(self._grids[index])
            self._mergers[index].add(number, outputs, row)
            self._num_missing[index] -= 1
            if not self._num_missing[index]:
                yield index, self._mergers.pop(index).finish()
