"""The class map of a large image from the class scores of overlapping windows.

The scores of the windows are averaged with weights that fall off towards the borders that another window covers, so that no seams
are visible, and the class with the largest average is chosen. Scores stay at the stride of the network until a strip of the image
is complete: memory holds the scores of about two rows of windows, whatever the height of the image is.

Shapes: h x w the scores of a window, K classes, H x W the canvas of the network.
"""

import numpy as np

from tpuseg.evaluation import miou
from tpuseg.layers.resize import sampling_matrix
from tpuseg.ops import windows
from tpuseg.ops.images import placed_size
from tpuseg.training.tile_merging import TileMerger


class ClassMerger(TileMerger):
    """Averages class scores over the windows of an image."""

    def __init__(self, grid: windows.Grid, canvas: tuple[int, int]) -> None:
        """Creates a merger without scores.

        Args:
          grid: The windows of the image.
          canvas: (H, W) of the network's input.
        """
        self._grid = grid
        self._canvas = canvas
        self._scores: dict[int, np.ndarray] = {}
        self._strips = windows.strips(grid.rows)
        self._rows: list[tuple[int, np.ndarray]] = []
        # By axis and number of the span; computing them takes as long as classifying a few rows.
        self._matrices: dict[tuple[int, int], np.ndarray] = {}

    def add(self, number: int, outputs: dict[str, np.ndarray], row: int) -> None:
        """See `TileMerger`."""
        self._scores[number] = np.asarray(outputs["logits"][row], np.float32)
        while self._strips and self._is_complete(self._strips[0]):
            strip = self._strips.pop(0)
            self._rows.append((strip.start, self._classify(strip)))
            self._forget_rows_above(strip.stop)

    def take_rows(self) -> list[tuple[int, np.ndarray]]:
        """See `TileMerger`."""
        rows, self._rows = self._rows, []
        return rows

    def finish(self) -> np.ndarray:
        """Returns the class ids of the rows that were not taken, [height, width] uint8."""
        return np.concatenate([np.zeros((0, self._grid.size[1]), np.uint8), *(rows for _, rows in self.take_rows())])

    def _window_rows(self, strip: windows.Span) -> list[int]:
        """Returns the rows of windows that cover a strip of the image."""
        return [place for place, span in enumerate(self._grid.rows) if span.start <= strip.start and strip.stop <= span.stop]

    def _is_complete(self, strip: windows.Span) -> bool:
        count = len(self._grid.columns)
        return all(row * count + column in self._scores for row in self._window_rows(strip) for column in range(count))

    def _forget_rows_above(self, stop: int) -> None:
        done = [number for number in self._scores if self._grid[number].bottom <= stop]
        for number in done:
            del self._scores[number]
        for number, span in enumerate(self._grid.rows):
            if span.stop <= stop:
                self._matrices.pop((0, number), None)

    def _classify(self, strip: windows.Span) -> np.ndarray:
        """Returns the class ids of a strip of the image, [strip height, width] uint8."""
        classes = np.empty((strip.stop - strip.start, self._grid.size[1]), np.uint8)
        num_classes = next(iter(self._scores.values())).shape[-1]
        step = max(1, miou.BLOCK // (classes.shape[1] * num_classes))
        for start in range(strip.start, strip.stop, step):
            block = windows.Span(start, min(start + step, strip.stop))
            classes[block.start - strip.start : block.stop - strip.start] = self._classify_block(block)
        return classes

    def _classify_block(self, block: windows.Span) -> np.ndarray:
        columns = self._grid.columns
        averages = [self._average_rows(block, column) for column in range(len(columns))]
        matrices = [self._sampling_matrix(1, place, averages[place].shape[1]) for place in range(len(columns))]
        classes = np.empty((block.stop - block.start, self._grid.size[1]), np.uint8)
        for part in windows.strips(columns):
            total = np.float32(0)
            for place, (start, stop) in enumerate(columns):
                if start <= part.start and part.stop <= stop:
                    total = total + np.matmul(matrices[place][part.start - start : part.stop - start], averages[place])
            classes[:, part.start : part.stop] = np.asarray(total).argmax(-1)
        return classes

    def _average_rows(self, block: windows.Span, column: int) -> np.ndarray:
        """Returns the scores of a column of windows at the rows of a block, averaged over the windows, [rows, w, K] float32."""
        total = np.float32(0)
        for row in self._window_rows(block):
            scores = self._scores[row * len(self._grid.columns) + column]
            height, width, num_classes = scores.shape
            start = self._grid.rows[row].start
            matrix = self._sampling_matrix(0, row, height)[block.start - start : block.stop - start]
            total = total + (matrix @ scores.reshape(height, width * num_classes)).reshape(-1, width, num_classes)
        return np.asarray(total)

    def _sampling_matrix(self, axis: int, number: int, num_scores: int) -> np.ndarray:
        """Returns the matrix that interpolates scores at the pixels of a span and multiplies them by the span's weights.

        Args:
          axis: 0 for the rows of the image, 1 for its columns.
          number: Number of the span.
          num_scores: Number of scores along the axis.

        Returns:
          [pixels of the span, num_scores] float32.
        """
        if (axis, number) not in self._matrices:
            axis_spans = (self._grid.rows, self._grid.columns)[axis]
            span = axis_spans[number]
            size = windows.scaled_size(self._grid[0].size, self._grid.tiling.scale)
            placed = placed_size(size, self._canvas)[axis]
            positions = miou.score_positions(span.stop - span.start, placed, num_scores, self._canvas[axis])
            weights = windows.weights(axis_spans, number)
            self._matrices[axis, number] = sampling_matrix(positions, num_scores) * weights[:, np.newaxis]
        return self._matrices[axis, number]
