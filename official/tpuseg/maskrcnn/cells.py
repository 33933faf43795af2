"""The cells of all FPN levels and images in one table.

Code that reads single cells (ROI align, the RPN at sampled anchors) is then one gather for all levels, and the gradients of all
readers are added in one tensor before it is split into levels.

The levels of an image follow each other, row by row. A line is as many rows of the table as P2 has columns, and an image is padded
with zeros to whole lines. For two levels of 2 x 2 and 1 x 1 cells:

    P2: a b    P3: e        table of an image:   row   0 1 | 2 3 | 4 5
        c d                                      cell  a b | c d | e 0
                                                 line   0     1     2

    num_lines is 3, so the second image begins at row 6. P3 starts at cell 4 of an image: first_rows is 4 for P3 of the first
    image and 10 for P3 of the second, and level_at is 2 for the cells 0 to 3 and 3 for cell 4.

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
    """The table, and the positions of the levels in it; see the module's docstring.

    Attributes:
      table: [rows, C] features; each reader replaces it by the tensor for the next reader (see `with_custom_gradient`).
      grids: (height, width) in cells of each level, from P2.
    """

    table: tf.Tensor
    grids: list[tuple[int, int]]

    @property
    def line(self) -> int:
        """Number of cells in a line."""
        return self.grids[0][1]

    @property
    def num_lines(self) -> int:
        """Number of lines of an image."""
        return -(-sum(height * width for height, width in self.grids) // self.line)

    def extents(self, level: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the height and width in cells of levels (2 for P2), int32 with the shape of `level`."""
        heights, widths = np.array(self.grids, np.int32).T
        return tf.gather(heights, level - FINEST_LEVEL), tf.gather(widths, level - FINEST_LEVEL)

    @property
    def _starts(self) -> np.ndarray:
        sizes = [height * width for height, width in self.grids]
        return np.cumsum([0, *sizes[:-1]]).astype(np.int32)

    def starts(self, level: tf.Tensor) -> tf.Tensor:
        """Returns the number of cells of an image before those of a level, int32 with the shape of `level`."""
        return tf.gather(self._starts, level - FINEST_LEVEL)

    def level_at(self, places: tf.Tensor) -> tf.Tensor:
        """Returns the level of cells, int32 with the shape of `places`, which are cell numbers within an image over all levels."""
        return tf.reduce_sum(tf.cast(places[..., None] >= self._starts[1:], tf.int32), axis=-1) + FINEST_LEVEL

    def first_rows(self, level: tf.Tensor) -> tf.Tensor:
        """Returns the table row of the first cell of a level, [B, R] int32, for `level` [B, R] with one row per image."""
        images = tf.range(tf.shape(level)[0]) * (self.num_lines * self.line)
        return images[:, None] + self.starts(level)

    def read(self, rows: tf.Tensor) -> tf.Tensor:
        """Returns rows of the table, [..., C], for row numbers [...] int32."""
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
        """Reads the table with a custom gradient.

        Each reader passes the table to the next one, so the gradient passes through the readers in reverse order, and each adds its
        part in place:

            forward    table ---> reader 1 ---> reader 2
            backward   gradient <--- add 1 <--- add 2 <--- zeros

        If the readers were independent, each would create a gradient of the size of the table, to be added afterwards. The
        gradient of `tf.gather` would avoid that by a list of rows, but TensorFlow concatenates the lists of all readers, and the
        result does not fit into the vector memory of a TPU.

        Args:
          read: computes the outputs of this reader from the table.
          add: computes the new gradient of the table from the gradient so far and the gradients of the outputs.
        """
        # TensorFlow uses this name for the gradients of its own operations. The slash at the end reuses the scope.
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
def build_table(pyramid: list[tf.Tensor]) -> Cells:
    """Builds the table from the levels of the FPN.

    Args:
      pyramid: [B, height, width, C] features of each level, from P2.
    """
    filters = pyramid[0].shape[-1]
    grids = [(level.shape[1], level.shape[2]) for level in pyramid]
    flat = tf.concat([tf.reshape(level, [-1, level.shape[1] * level.shape[2], filters]) for level in pyramid], axis=1)
    filled = tf.pad(flat, [(0, 0), (0, -flat.shape[1] % grids[0][1]), (0, 0)])
    return Cells(tf.reshape(filled, [-1, filters]), grids)
