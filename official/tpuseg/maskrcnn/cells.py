"""The cells of a pyramid, all levels and images in one table.

What reads single cells (ROI align, the RPN's samples) then is one gather wherever it reads, and the gradients of all readers meet
in one tensor before they are taken apart into levels.

Shapes: B images, C filters.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tpuseg.layers.scope import with_name_scope

FINEST_LEVEL = 2


@dataclasses.dataclass
class Cells:
    """A table and where what is in it.

    An image's levels lie behind each other, row by row, filled up to whole lines of the finest level.

    Attributes:
      table: [rows, C]; what the next reader shall read.
      grids: (height, width) of each level, from P2 on.
    """

    table: tf.Tensor
    grids: list[tuple[int, int]]

    @property
    def line(self) -> int:
        """Cells in a line of the finest level."""
        return self.grids[0][1]

    @property
    def num_lines(self) -> int:
        """Such lines that an image's cells fill."""
        return -(-sum(height * width for height, width in self.grids) // self.line)

    def extents(self, level: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns height and width, int32 of the shape of `level` (2 for P2)."""
        heights, widths = np.array(self.grids, np.int32).T
        return tf.gather(heights, level - FINEST_LEVEL), tf.gather(widths, level - FINEST_LEVEL)

    @property
    def _starts(self) -> np.ndarray:
        sizes = [height * width for height, width in self.grids]
        return np.cumsum([0, *sizes[:-1]]).astype(np.int32)

    def starts(self, level: tf.Tensor) -> tf.Tensor:
        """Returns how many cells of an image lie before a level's, int32 of the shape of `level`."""
        return tf.gather(self._starts, level - FINEST_LEVEL)

    def level_at(self, places: tf.Tensor) -> tf.Tensor:
        """Returns the level of an image's cells, int32 of the shape of `places`; these count the cells of all levels."""
        return tf.reduce_sum(tf.cast(places[..., None] >= self._starts[1:], tf.int32), axis=-1) + FINEST_LEVEL

    def first_rows(self, level: tf.Tensor) -> tf.Tensor:
        """Returns the row of the first cell of a level, [B, R] int32; `level` is [B, R], and its rows are the images'."""
        images = tf.range(tf.shape(level)[0]) * (self.num_lines * self.line)
        return images[:, None] + self.starts(level)

    def read(self, rows: tf.Tensor) -> tf.Tensor:
        """Returns rows of the table, [..., C]; rows are [...] int32."""
        (values,) = self.with_custom_gradient(
            lambda table: [tf.gather(table, rows)],
            lambda of_table, upstream: tf.tensor_scatter_nd_add(of_table, rows[..., None], upstream[0]),
        )
        return values

    def with_custom_gradient(
        self,
        read: Callable[[tf.Tensor], list[tf.Tensor]],
        add: Callable[[tf.Tensor, list[tf.Tensor]], tf.Tensor],
    ) -> list[tf.Tensor]:
        """Reads the table in a way that has a gradient of its own.

        The table goes through each reader to the next one. So its gradient comes back through them, last reader first, and each
        adds its part to it in place. Side by side each would fill a table of its own, and these would be added up; or, as the
        gradient of `tf.gather` is a list of rows, TensorFlow would join the lists, which a TPU's vector memory does not hold.

        Args:
          read: the table to what is read of it.
          add: the gradient of the table so far, and those of what was read, to their sum.
        """
        # TensorFlow names the gradients of its own operations like this; with the slash it is this name and not a new one.
        scope = "/".join(filter(None, ["gradient_tape", tf.get_current_name_scope()])) + "/"

        @tf.custom_gradient
        def reader(table: tf.Tensor) -> tuple[tuple[tf.Tensor, ...], Callable[..., tf.Tensor]]:
            def gradient(*upstream: tf.Tensor) -> tf.Tensor:
                with tf.name_scope(scope):
                    return add(upstream[-1], list(upstream[:-1]))

            return (*read(table), tf.identity(table)), gradient

        *values, self.table = reader(self.table)
        return values


@with_name_scope
def table_of(pyramid: list[tf.Tensor]) -> Cells:
    """Returns the cells of a pyramid.

    Args:
      pyramid: [B, height, width, C] from P2 on.
    """
    filters = pyramid[0].shape[-1]
    grids = [(level.shape[1], level.shape[2]) for level in pyramid]
    flat = tf.concat([tf.reshape(level, [-1, level.shape[1] * level.shape[2], filters]) for level in pyramid], axis=1)
    filled = tf.pad(flat, [(0, 0), (0, -flat.shape[1] % grids[0][1]), (0, 0)])
    return Cells(tf.reshape(filled, [-1, filters]), grids)
