"""The cells of a pyramid, all levels and pictures in one table.

What reads single cells (ROI align, the RPN's samples) then is one gather wherever it reads, and the gradients of all readers meet
in one tensor before they are taken apart into levels.

Shapes: B pictures, C filters.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tpuseg.layers.scope import named
from tpuseg.maskrcnn.tracing import compiles_with_xla

FINEST_LEVEL = 2


@dataclasses.dataclass
class Cells:
    """A table and where what is in it.

    Attributes:
      table: [rows, C]; what the next reader shall read.
      grids: (height, width) of each level, from P2 on.
      picture_step: rows from a cell to the same one of the next picture.
      cell_step: rows from a cell to its right neighbour.
    """

    table: tf.Tensor
    grids: list[tuple[int, int]]
    picture_step: int
    cell_step: int | tf.Tensor

    def extents(self, level: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns height and width, int32 of the shape of `level` (2 for P2)."""
        heights, widths = np.array(self.grids, np.int32).T
        return tf.gather(heights, level - FINEST_LEVEL), tf.gather(widths, level - FINEST_LEVEL)

    def first_rows(self, level: tf.Tensor) -> tf.Tensor:
        """Returns the row of the first cell of a level, [B, R] int32; `level` is [B, R], and its rows are the pictures'."""
        sizes = [height * width for height, width in self.grids]
        starts = np.cumsum([0, *sizes[:-1]]).astype(np.int32) * self.cell_step
        pictures = tf.range(tf.shape(level)[0]) * self.picture_step
        return pictures[:, None] + tf.gather(starts, level - FINEST_LEVEL)

    def read(self, rows: tf.Tensor) -> tf.Tensor:
        """Returns rows of the table, [..., C]; rows are [...] int32.

        The table goes through each reader to the next one. So its gradient comes back through them, last reader first, and each
        adds its rows to it in place. Side by side each would fill a table of its own, and these would be added up; or, as the
        gradient of `tf.gather` is a list of rows, TensorFlow would join the lists, which a TPU's vector memory does not hold.
        """

        @tf.custom_gradient
        def gather(table: tf.Tensor) -> tuple[tuple[tf.Tensor, tf.Tensor], Callable[[tf.Tensor, tf.Tensor], tf.Tensor]]:
            def gradient(upstream: tf.Tensor, of_table: tf.Tensor) -> tf.Tensor:
                # TensorFlow names the gradients of its own operations like this.
                with tf.name_scope("gradient_tape/cells"):
                    return tf.tensor_scatter_nd_add(of_table, rows[..., None], upstream)

            return (tf.gather(table, rows), tf.identity(table)), gradient

        values, self.table = gather(self.table)
        return values


@named
def table_of(pyramid: list[tf.Tensor]) -> Cells:
    """Returns the cells of a pyramid.

    Args:
      pyramid: [B, height, width, C] from P2 on.
    """
    grids = [(level.shape[1], level.shape[2]) for level in pyramid]
    filters = pyramid[0].shape[-1]
    if compiles_with_xla():
        # The pictures' values of a cell next to each other: a TPU's convolutions write their results in this order.
        rows = [tf.reshape(tf.transpose(level, [1, 2, 0, 3]), [-1, filters]) for level in pyramid]
        batch = pyramid[0].shape[0] or tf.shape(pyramid[0])[0]
        return Cells(tf.concat(rows, axis=0), grids, picture_step=1, cell_step=batch)
    num_cells = sum(height * width for height, width in grids)
    flat = [tf.reshape(level, [-1, level.shape[1] * level.shape[2], filters]) for level in pyramid]
    return Cells(tf.reshape(tf.concat(flat, axis=1), [-1, filters]), grids, picture_step=num_cells, cell_step=1)
