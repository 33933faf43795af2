"""ROI align for a TPU: reading whole lines of cells, and matrix products.

To read one row of a table, a TPU transfers a tile of eight rows, and to scatter-add rows, it adds them one after the other. A roi
reads a few hundred cells, so eight times the necessary data would be transferred, and the gradient would take longer than all
convolutions. This implementation never reads single cells.

ROI align is a product along x and one along y. For each of its S T taps along y (see `samples.py`), a roi needs one line of cells,
whatever its size and level. An item is the work for one such tap and eight bins along x, which fill a tile. Items of all heads that
need the same line are sorted into groups of a size that suits the matrix unit. A group is one matrix product: the interpolation
along x, times the weight of the tap along y, times the line. The gradient is the transposed product, which is added to the line.
All transfers are whole tiles.

Example: one level of 2 x 2 cells with stride 4, one roi (0, 0, 8, 8), one bin (S = 1), and `sampling_ratio` 1. The single sample is
at position 0.5 in both axes, between the two cells, so T = 2 taps along y have the weight 0.5 each:

    cells       items                       interpolation along x       product
    a b         item 0: tap 0, line 0       0.5 * [0.5  0.5]            0.25 a + 0.25 b
    c d         item 1: tap 1, line 1       0.5 * [0.5  0.5]            0.25 c + 0.25 d

The bin is the sum of its T items, 0.25 (a + b + c + d). `group` shows how items are sorted by line.

Shapes: B images, R rois, S bins along a side, T = 2 * sampling_ratio taps per bin, N items per image, L lines per image, W cells
per line, K groups per image, G items per group, C filters.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tpuseg.maskrcnn.cells import FINEST_LEVEL, Cells
from tpuseg.maskrcnn.config import RoiAlignConfig
from tpuseg.maskrcnn.roi_align.samples import (
    Axis,
    Pooling,
    assign_levels,
    axes,
    coarsest_level,
    compute_taps,
    sample_positions,
    spread,
)
from tpuseg.ops.sorting import sort_with_rows

# Rows of a TPU's tile.
_TILE_ROWS = 8
# Items of a group: enough to justify loading a line into the matrix unit, but not so many that groups are mostly padding.
_GROUP_ITEMS = 32


class Groups(NamedTuple):
    """Items in groups that read the same line. A slot is one of the G positions of a group.

    Attributes:
      lines: [B, K] int32 line that a group reads; an arbitrary line if the group has no items.
      keys: [B, K G] int32 keys of the items in the slots.
      items: [B, K G] int32 item numbers in the slots; N or more for an empty slot.
      places: [B, N] int32 slot of each item.
    """

    lines: tf.Tensor
    keys: tf.Tensor
    items: tf.Tensor
    places: tf.Tensor


def group(keys: tf.Tensor, num_lines: int, parts: int, size: int) -> Groups:
    """Groups items by line, with static shapes.

    Every line gets fillers, so that its items occupy whole groups: items and fillers are sorted by line and cut into groups of G.
    There are always L (G - 1) fillers; those that are not needed are sorted to the end. For N = 5 items with the lines
    2, 0, 2, 2, 0, L = 3 lines and G = 2 slots per group, line 2 needs one filler (f), and two are not needed (-):

        line    0 0 | 2 2 | 2 2 | - -
        item    1 4 | 0 2 | 3 f | - -         places: 2 0 3 4 1

    Args:
      keys: [B, N] int32: the line of an item times `parts`, plus the part of the line that it reads.
      num_lines: L.
      parts: number of parts of a line.
      size: G.
    """
    num_items = keys.shape[1]
    items_of_line = tf.reduce_sum(tf.cast(keys[:, None] // parts == tf.range(num_lines)[:, None], tf.int32), axis=-1)
    fills = tf.range(size - 1) < (-items_of_line % size)[..., None]
    fillers = tf.where(fills, tf.range(num_lines)[:, None] * parts, num_lines * parts)
    everything = tf.concat([keys, tf.reshape(fillers, [-1, num_lines * (size - 1)])], axis=1)
    num_places = everything.shape[1] // size * size
    rising, items = (values[:, :num_places] for values in sort_with_rows(everything, num_lines * parts))
    # All fillers get the same number, so that the numbers are small enough to be packed into an int32 with their positions.
    _, places = sort_with_rows(tf.minimum(items, num_items), num_items)
    lines = tf.minimum(rising[:, ::size] // parts, num_lines - 1)
    return Groups(lines, rising, items, places[:, :num_items])


def _at(values: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
    """Returns [B, n] elements of `values` [B, R] at `rows` [B, n]; a masked sum, because gathers are slow on a TPU."""
    is_at = rows[..., None] == tf.range(values.shape[1])
    return tf.reduce_sum(tf.where(is_at, values[:, None], tf.zeros([], values.dtype)), axis=-1)


def _of_rows(values: tf.Tensor) -> tf.Tensor:
    """Repeats [B, K G] values of items for the eight rows of each item in the groups' products, [B K, 8 G]."""
    item_of_row = np.arange(_GROUP_ITEMS * _TILE_ROWS) // _TILE_ROWS
    is_own = np.arange(_GROUP_ITEMS)[:, None] == item_of_row
    by_group = tf.reshape(values, [-1, _GROUP_ITEMS, 1])
    return tf.reduce_sum(tf.where(is_own, by_group, tf.zeros([], values.dtype)), axis=1)


class _Items(NamedTuple):
    """Properties of items; all tensors have the same shape.

    Attributes:
      roi: int32 index of the roi.
      tap: int32 number of the roi's tap along y.
      num_bins: float32 S.
      first_bin: int32 number of the first of the eight bins.
    """

    roi: tf.Tensor
    tap: tf.Tensor
    num_bins: tf.Tensor
    first_bin: tf.Tensor


@dataclasses.dataclass(frozen=True)
class _Share:
    """The items of one pooling, ordered by roi, tap, and tile of eight bins.

    Attributes:
      num_rois: R.
      num_bins: S.
      bin_taps: T.
      first: number of the first item of this pooling.
    """

    num_rois: int
    num_bins: int
    bin_taps: int
    first: int

    @property
    def tiles(self) -> int:
        """Number of tiles for the bins along x."""
        return -(-self.num_bins // _TILE_ROWS)

    @property
    def size(self) -> int:
        """Number of items of an image."""
        return self.num_rois * self.num_bins * self.bin_taps * self.tiles

    def items(self, numbers: tf.Tensor) -> _Items:
        """Returns the properties of items by number; meaningless for the items of another pooling."""
        taps, local = self.num_bins * self.bin_taps, numbers - self.first
        return _Items(
            local // (taps * self.tiles),
            local // self.tiles % taps,
            tf.ones_like(local, tf.float32) * self.num_bins,
            local % self.tiles * _TILE_ROWS,
        )

    def tile_of(self, numbers: tf.Tensor) -> tf.Tensor:
        """Returns the number of the pooled tile of an image to which an item contributes."""
        local = numbers - self.first
        return local // (self.tiles * self.bin_taps) * self.tiles + local % self.tiles


def _shares(poolings: Sequence[Pooling], config: RoiAlignConfig) -> list[_Share]:
    shares: list[_Share] = []
    first = 0
    for pooling in poolings:
        shares.append(_Share(int(pooling.num_rois), pooling.num_bins, 2 * config.sampling_ratio, first))
        first += shares[-1].size
    return shares


class _Lines:
    """ROI align of given rois by lines, and its gradient."""

    def __init__(self, cells: Cells, rois: tf.Tensor, poolings: Sequence[Pooling], config: RoiAlignConfig) -> None:
        self._cells = cells
        self._rois = rois
        self._config = config
        self._batch = rois.shape[0]
        self._filters = cells.table.shape[-1]
        # Rows of the coarsest level in one line of the table.
        self._parts = 2 ** (coarsest_level(cells) - FINEST_LEVEL)
        # Cells in one of these parts of a line.
        self._part = cells.line // self._parts
        self._shares = _shares(poolings, config)
        self._num_items = self._shares[-1].first + self._shares[-1].size
        keys = tf.concat([self._keys(share) for share in self._shares], axis=1)
        self._groups = group(keys, cells.num_lines, self._parts, _GROUP_ITEMS)
        self._lines = self._of_all(self._groups.lines, cells.num_lines)

    def _of_all(self, rows: tf.Tensor, count: int) -> tf.Tensor:
        """Converts row numbers within an image, which has `count` rows, to row numbers over all images."""
        return tf.reshape(rows + tf.range(self._batch)[:, None] * count, [-1])

    def _keys(self, share: _Share) -> tf.Tensor:
        rois, taps = self._rois[:, : share.num_rois], np.arange(share.num_bins * share.bin_taps)
        level = assign_levels(rois, self._cells)
        axis_y, axis_x = axes(self._cells, rois, level, self._config)
        y, _ = compute_taps(axis_y.spread(taps), taps, share.num_bins, self._config)
        starts = spread(self._cells.starts(level), taps) + y * spread(axis_x.extent, taps)
        keys = tf.repeat((starts // self._part)[..., None], share.tiles, axis=-1)
        return tf.reshape(keys, [self._batch, share.size])

    def _items(self, numbers: tf.Tensor) -> _Items:
        found = self._shares[0].items(numbers)
        for share in self._shares[1:]:
            own = share.items(numbers)
            found = _Items(*(tf.where(numbers >= share.first, *pair) for pair in zip(own, found, strict=True)))
        return found

    def _interpolation(self, dtype: tf.DType) -> tf.Tensor:
        """Returns the weights of the cells of a group's line for the bins of its items, [B K, 8 G, W]."""
        groups, ratio = self._groups, self._config.sampling_ratio
        items = self._items(groups.items)
        corners = tf.stack([_at(corner, items.roi) for corner in tf.unstack(self._rois, axis=-1)], axis=-1)
        axis_y, axis_x = axes(self._cells, corners, self._cells.level_at(groups.keys * self._part), self._config)
        _, y_weights = compute_taps(axis_y, items.tap, items.num_bins, self._config)
        y_weights = tf.where(groups.items < self._num_items, y_weights, 0.0)
        offset = tf.cast(groups.keys % self._parts * self._part, tf.float32)

        axis = Axis(*(_of_rows(values) for values in axis_x))
        num_bins, offset = _of_rows(items.num_bins), _of_rows(offset)
        bins = _of_rows(items.first_bin) + np.tile(np.arange(_TILE_ROWS), _GROUP_ITEMS)
        across = tf.range(self._cells.line, dtype=tf.float32)
        matrix = 0.0
        for number in range(ratio):
            positions, shares = sample_positions(axis, bins * ratio + number, num_bins, self._config)
            counts = (shares > 0) & (tf.cast(bins, tf.float32) < num_bins)
            # Samples without weight are moved to a position without cells.
            positions = tf.where(counts, positions + offset, -1.0)
            matrix += tf.maximum(1 - tf.abs(positions[..., None] - across), 0.0)
        return tf.cast(matrix * (_of_rows(y_weights) / ratio)[..., None], dtype)

    def _by_line(self, table: tf.Tensor) -> tf.Tensor:
        return tf.reshape(table, [-1, self._cells.line, self._filters])

    def read(self, table: tf.Tensor) -> list[tf.Tensor]:
        """Returns the pooled rois of each pooling, [B, R, S, S, C]."""
        products = tf.matmul(self._interpolation(table.dtype), tf.gather(self._by_line(table), self._lines))
        return [self._pooled(tf.reshape(products, [-1, _TILE_ROWS, self._filters]), share) for share in self._shares]

    def _pooled(self, tiles: tf.Tensor, share: _Share) -> tf.Tensor:
        """Adds the taps of each bin: [B K G, 8, C] becomes [B, R, S, S, C]."""
        places = self._groups.places[:, share.first : share.first + share.size]
        of_items = tf.gather(tiles, self._of_all(places, self._groups.items.shape[1]))
        bins = share.tiles * _TILE_ROWS
        taps = tf.unstack(tf.reshape(of_items, [-1, share.bin_taps, bins, self._filters]), axis=1)
        total = tf.add_n([tf.cast(tap, tf.float32) for tap in taps])
        total = tf.reshape(total, [self._batch, share.num_rois, share.num_bins, bins, self._filters])
        return tf.cast(total[:, :, :, : share.num_bins], tiles.dtype)

    def add(self, of_table: tf.Tensor, upstream: list[tf.Tensor]) -> tf.Tensor:
        """Adds the gradients of the pooled rois to the gradient of the table."""
        tiles = tf.concat([self._in_tiles(*pair) for pair in zip(upstream, self._shares, strict=True)], axis=0)
        of_groups = tf.reshape(tf.gather(tiles, self._tiles_of_items()), [-1, _GROUP_ITEMS * _TILE_ROWS, self._filters])
        # The interpolation is recomputed: storing it would take as much memory as all lines that were read.
        of_lines = tf.matmul(self._interpolation(tiles.dtype), of_groups, transpose_a=True)
        total = tf.tensor_scatter_nd_add(self._by_line(of_table), self._lines[:, None], of_lines)
        return tf.reshape(total, tf.shape(of_table))

    def _in_tiles(self, upstream: tf.Tensor, share: _Share) -> tf.Tensor:
        """Pads the bins to whole tiles with repeated bins of weight 0; zeros would be added after the gather, which is slow."""
        bins = share.tiles * _TILE_ROWS
        repeated = tf.concat([upstream] * -(-bins // share.num_bins), axis=3)
        return tf.reshape(repeated[:, :, :, :bins], [-1, _TILE_ROWS, self._filters])

    def _tiles_of_items(self) -> tf.Tensor:
        """Returns the row of each item's tile in the tiles of all poolings; an arbitrary row for an empty slot."""
        numbers, found, first = tf.minimum(self._groups.items, self._num_items - 1), None, 0
        for share in self._shares:
            tiles_of_image = share.size // share.bin_taps
            own = share.tile_of(numbers) + tf.range(self._batch)[:, None] * tiles_of_image + first
            found = own if found is None else tf.where(numbers >= share.first, own, found)
            first += self._batch * tiles_of_image
        return tf.reshape(found, [-1])


def roi_align_by_lines(cells: Cells, rois: tf.Tensor, poolings: Sequence[Pooling], config: RoiAlignConfig) -> list[tf.Tensor]:
    """Computes ROI align (see `pooling.roi_align_all`); shapes are static, and the width halves from level to level."""
    lines = _Lines(cells, rois, poolings, config)
    return cells.with_custom_gradient(lines.read, lines.add)
