"""ROI align for a TPU: whole lines of cells, and matrix products.

A TPU fetches a row of a table with the seven others of its tile, one transfer each, and adds rows to a table one after the other. A
roi reads some hundred cells, so what they hold passes through the memory eight times, and what the compiler makes of the gradient
takes longer than all convolutions. Here no single cells are read. ROI align is a product along x and one along y, and a roi needs a
line of cells for each of its S T taps along y, whatever its size and level: these are the items. Items of the same line are put
together in groups of a size that suits the matrix unit. A group is one product of their interpolation along x and the line; the
gradient is the transposed one, and groups are added to the lines where they came from. What is moved is always whole tiles.

Shapes: B pictures, R rois, S bins a side, T = 2 * sampling_ratio taps a bin, P = S filled up to whole tiles, N = R S T items of a
picture, L lines of the table a picture, W cells in a line, K groups a picture, G items a group, C filters.
"""

import dataclasses
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tpuseg.maskrcnn.cells import FINEST_LEVEL, Cells
from tpuseg.maskrcnn.config import RoiAlignConfig
from tpuseg.maskrcnn.roi_samples import Axis, axes, coarsest_level, levels_of, positions_of, spread, taps_of

# Rows of a TPU's tile, and of a group's product.
_TILE_ROWS = 8
_GROUP_ROWS = 256


class Groups(NamedTuple):
    """Items in groups of the same line.

    Attributes:
      lines: [B, K] int32, which line a group reads; any one if there are no items in it.
      keys: [B, K G] int32 keys of the items in the groups' places.
      items: [B, K G] int32, the items; N or more where a place is empty.
      places: [B, N] int32, where an item is.
    """

    lines: tf.Tensor
    keys: tf.Tensor
    items: tf.Tensor
    places: tf.Tensor


def group(keys: tf.Tensor, num_lines: int, parts: int, size: int) -> Groups:
    """Puts items of the same line together, with static shapes: each line gets as many places more as fill its last group.

    Args:
      keys: [B, N] int32, where items read: the line times `parts`, and which part of the line.
      num_lines: L.
      parts: of a line.
      size: G.
    """
    num_items = keys.shape[1]
    items_of_line = tf.reduce_sum(tf.cast(keys[:, None] // parts == tf.range(num_lines)[:, None], tf.int32), axis=-1)
    fills = tf.range(size - 1) < (-items_of_line % size)[..., None]
    fillers = tf.where(fills, tf.range(num_lines)[:, None] * parts, num_lines * parts)
    everything = tf.concat([keys, tf.reshape(fillers, [-1, num_lines * (size - 1)])], axis=1)
    num_places = everything.shape[1] // size * size
    falling, items = tf.math.top_k(-everything, num_places)
    _, places = tf.math.top_k(-items, num_items)
    lines = tf.minimum(-falling[:, ::size] // parts, num_lines - 1)
    return Groups(lines, -falling, items, places)


def _at(values: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
    """Returns [B, n] values of [B, R] at [B, n] rows; as a sum over zeros and one of them, for a TPU's gathers are slow."""
    is_at = rows[..., None] == tf.range(values.shape[1])
    return tf.reduce_sum(tf.where(is_at, values[:, None], tf.zeros([], values.dtype)), axis=-1)


def _whole_tiles(size: int) -> int:
    return -(-size // _TILE_ROWS) * _TILE_ROWS


@dataclasses.dataclass(frozen=True)
class _Lines:
    """ROI align of some rois by lines of a table.

    Attributes:
      cells: the pyramid.
      rois: [B, R, 4].
      num_bins: S.
      config: samples and alignment.
    """

    cells: Cells
    rois: tf.Tensor
    num_bins: int
    config: RoiAlignConfig

    @property
    def bins(self) -> int:
        """P."""
        return _whole_tiles(self.num_bins)

    @property
    def bin_taps(self) -> int:
        """T."""
        return 2 * self.config.sampling_ratio

    @property
    def parts(self) -> int:
        """Lines of the coarsest level in one of the table."""
        return 2 ** (coarsest_level(self.cells) - FINEST_LEVEL)

    def groups(self) -> Groups:
        """Returns the items: the taps along y of all rois, roi by roi."""
        taps = np.arange(self.num_bins * self.bin_taps)
        level = levels_of(self.rois, self.cells)
        axis_y, axis_x = axes(self.cells, self.rois, level)
        y, _ = taps_of(axis_y.spread(taps), taps, self.num_bins, self.config)
        starts = spread(self.cells.starts(level), taps) + y * spread(axis_x.extent, taps)
        keys = tf.reshape(starts // (self.cells.line // self.parts), [self.rois.shape[0], -1])
        return group(keys, self.cells.num_lines, self.parts, max(_GROUP_ROWS // self.bins, 1))

    def interpolation(self, groups: Groups) -> tf.Tensor:
        """Returns what each cell of a group's line counts for the bins of its items, [B K, G P, W] float32."""
        taps = self.num_bins * self.bin_taps
        roi_of_item = groups.items // taps
        corners = tf.stack([_at(corner, roi_of_item) for corner in tf.unstack(self.rois, axis=-1)], axis=-1)
        level = tf.maximum(_at(levels_of(self.rois, self.cells), roi_of_item), FINEST_LEVEL)
        axis_y, axis_x = axes(self.cells, corners, level)
        _, y_weights = taps_of(axis_y, groups.items % taps, self.num_bins, self.config)
        is_item = groups.items < self.rois.shape[1] * taps
        y_weights = tf.where(is_item, y_weights, 0.0)
        offset = tf.cast(groups.keys % self.parts * (self.cells.line // self.parts), tf.float32)

        size = groups.items.shape[1] // groups.lines.shape[1]
        first, last, stride, extent, y_weights, offset = (
            self._of_rows(values, size) for values in (*axis_x, y_weights, offset)
        )
        ratio, across = self.config.sampling_ratio, tf.range(self.cells.line, dtype=tf.float32)
        bin_of_row = np.tile(np.arange(self.bins), size)
        matrix = 0.0
        for number in range(ratio):
            samples = bin_of_row * ratio + number
            positions, shares = positions_of(Axis(first, last, stride, extent), samples, self.num_bins, self.config)
            counts = (shares > 0) & (bin_of_row < self.num_bins)
            # What does not count is put where no cell is.
            positions = tf.where(counts, positions + offset, -1.0)
            matrix += tf.maximum(1 - tf.abs(positions[..., None] - across), 0.0)
        return matrix * (y_weights / ratio)[..., None]

    def _of_rows(self, values: tf.Tensor, size: int) -> tf.Tensor:
        """Returns [B, K G] values of items for each row of the groups' products, [B K, G P]."""
        item_of_row = np.arange(size * self.bins) // self.bins
        by_group = tf.reshape(values, [-1, size, 1])
        is_own = np.arange(size)[:, None] == item_of_row
        return tf.reduce_sum(tf.where(is_own, by_group, tf.zeros([], values.dtype)), axis=1)


def by_lines(cells: Cells, rois: tf.Tensor, num_bins: int, config: RoiAlignConfig) -> tf.Tensor:
    """ROI align; see `roi.roi_align`. All shapes are static, and each level's width is half of the finer one's."""
    batch, num_rois = rois.shape[:2]
    filters = cells.table.shape[-1]
    form = _Lines(cells, rois, num_bins, config)
    bins, bin_taps = form.bins, form.bin_taps
    num_items = num_rois * num_bins * bin_taps
    groups = form.groups()

    def of_all(rows: tf.Tensor, count: int) -> tf.Tensor:
        """Returns rows of each picture's own as rows of all pictures', one after the other."""
        return tf.reshape(rows + tf.range(batch)[:, None] * count, [-1])

    lines, places = of_all(groups.lines, cells.num_lines), of_all(groups.places, groups.items.shape[1])
    bin_of_item = of_all(tf.minimum(groups.items, num_items - 1) // bin_taps, num_items // bin_taps)

    def read(table: tf.Tensor) -> tf.Tensor:
        matrix = tf.cast(form.interpolation(groups), table.dtype)
        products = tf.matmul(matrix, tf.gather(tf.reshape(table, [-1, cells.line, filters]), lines))
        of_items = tf.gather(tf.reshape(products, [-1, bins, filters]), places)
        taps = tf.unstack(tf.reshape(of_items, [-1, bin_taps, bins, filters]), axis=1)
        pooled = tf.add_n([tf.cast(tap, tf.float32) for tap in taps])
        return tf.cast(tf.reshape(pooled, [batch, num_rois, num_bins, bins, filters])[:, :, :, :num_bins], table.dtype)

    def add(of_table: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
        # Bins that count nothing fill the tiles; not zeros, which the compiler would add to each item only after the gather.
        filled = tf.concat([upstream] * -(-bins // num_bins), axis=3)[:, :, :, :bins]
        of_items = tf.gather(tf.reshape(filled, [-1, bins, filters]), bin_of_item)
        matrix = tf.cast(form.interpolation(groups), upstream.dtype)
        of_lines = tf.matmul(matrix, tf.reshape(of_items, [-1, matrix.shape[1], filters]), transpose_a=True)
        total = tf.tensor_scatter_nd_add(tf.reshape(of_table, [-1, cells.line, filters]), lines[:, None], of_lines)
        return tf.reshape(total, tf.shape(of_table))

    return cells.through(read, add)
