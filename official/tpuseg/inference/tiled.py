"""Predicting a large image as overlapping windows, which are read, predicted and merged one batch after the other."""

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from tpuseg.io.large_images import ImageSource
from tpuseg.ops import images, windows
from tpuseg.training.tile_merging import TileMerger

if TYPE_CHECKING:
    from tpuseg.inference.predictors import ImagePredictor

# Windows in a batch; more need more memory.
BATCH_SIZE = 4
# Called after each batch with the number of windows of the batch.
_OnBatch = Callable[[int, TileMerger], None]


def predict(
    predictor: "ImagePredictor",
    source: ImageSource,
    tiling: windows.Tiling,
    batch_size: int = BATCH_SIZE,
    on_batch: _OnBatch | None = None,
) -> Any:
    """Predicts an image by windows.

    Memory holds a batch of windows and what the merger needs, and not the image, if `source` reads windows of its file.

    Args:
      predictor: The model.
      source: The image.
      tiling: How to divide the image.
      batch_size: Number of windows in a batch.
      on_batch: Called after each batch with the number of its windows and the merger, whose finished rows it may take.

    Returns:
      The prediction, as `ImagePredictor.predict` returns it; a class map without the rows that `on_batch` has taken.

    Raises:
      ValueError: The file is damaged, or the architecture cannot predict by windows.
    """
    grid = windows.Grid(source.size, tiling)
    merger = predictor.task.predictions.merger(grid)
    numbers = iter(range(len(grid)))
    while batch := tuple(itertools.islice(numbers, batch_size)):
        outputs = predictor.outputs(predictor.task.predictions.inputs([_read(source, grid[number], tiling) for number in batch]))
        for row, number in enumerate(batch):
            merger.add(number, outputs, row)
        if on_batch is not None:
            on_batch(len(batch), merger)
    return merger.finish()


def _read(source: ImageSource, window: windows.Window, tiling: windows.Tiling) -> np.ndarray:
    """Returns the pixels of a window at the scale of the tiling, [height, width, C] uint8."""
    pixels = source.read(*window)
    return pixels if tiling.scale == 1 else images.rescale(tf.constant(pixels), tiling.scale).numpy()
