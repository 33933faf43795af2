"""ROI align for a TPU: whole lines of cells, and matrix products.

A TPU fetches a row of a table with the seven others of its tile, one transfer each, and adds rows to a table one after the other. A
roi reads some hundred cells, so what they hold passes through the memory eight times, and what the compiler makes of the gradient
takes longer than all convolutions. Here no single cells are read.

ROI align is a product along x and one along y. A roi needs a line of cells for each of its S T taps along y, whatever its size and
level. Such a tap for eight bins, which fill a tile, is an item. Items of the same line are put together in groups of a size that
suits the matrix unit, those of all heads: a group is one product of their interpolation along x and the line. The gradient is the
transposed one, and groups are added to the lines where they came from. What is moved is always whole tiles.

Shapes: B images, R rois, S bins a side, T = 2 * sampling_ratio taps a bin, N items of an image, L lines of the table an image,
W cells in a line, K groups an image, G items a group, C filters.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tpuseg.maskrcnn.cells import FINEST_LEVEL, Cells
from tpuseg.maskrcnn.config import RoiAlignConfig
from tpuseg.maskrcnn.roi_align.samples import Axis, Pooling, axes, coarsest_level, levels_of, positions_of, spread, taps_of
from tpuseg.ops.sorting import sort_with_rows

# Rows of a TPU's tile, and of a group's product: enough to be worth loading a line into the matrix unit, and little to fill up.
_TILE_ROWS = 8
_GROUP_ITEMS = 32


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
    rising, items = (values[:, :num_places] for values in sort_with_rows(everything, num_lines * parts))
    # What fills up comes last, all of one number: numbers are small then, and go into an int32 with their rows.
    _, places = sort_with_rows(tf.minimum(items, num_items), num_items)
    lines = tf.minimum(rising[:, ::size] // parts, num_lines - 1)
    return Groups(lines, rising, items, places[:, :num_items])


def _at(values: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
    """Returns [B, n] values of [B, R] at [B, n] rows; as a sum over zeros and one of them, for a TPU's gathers are slow."""
    is_at = rows[..., None] == tf.range(values.shape[1])
    return tf.reduce_sum(tf.where(is_at, values[:, None], tf.zeros([], values.dtype)), axis=-1)


def _of_rows(values: tf.Tensor) -> tf.Tensor:
    """Returns [B, K G] values of items for each row of the groups' products, [B K, 8 G]."""
    item_of_row = np.arange(_GROUP_ITEMS * _TILE_ROWS) // _TILE_ROWS
    is_own = np.arange(_GROUP_ITEMS)[:, None] == item_of_row
    by_group = tf.reshape(values, [-1, _GROUP_ITEMS, 1])
    return tf.reduce_sum(tf.where(is_own, by_group, tf.zeros([], values.dtype)), axis=1)


class _Items(NamedTuple):
    """What items are; all of one shape.

    Attributes:
      roi: int32 row of the roi.
      tap: int32, which of its taps along y.
      num_bins: float32 S.
      first_bin: int32 number of the first of the eight bins.
    """

    roi: tf.Tensor
    tap: tf.Tensor
    num_bins: tf.Tensor
    first_bin: tf.Tensor


@dataclasses.dataclass(frozen=True)
class _Share:
    """A pooling's items: taps by roi, tiles of bins by tap.

    Attributes:
      num_rois: R.
      num_bins: S.
      bin_taps: T.
      first: number of its first item.
    """

    num_rois: int
    num_bins: int
    bin_taps: int
    first: int

    @property
    def tiles(self) -> int:
        """Tiles that hold the bins of a tap."""
        return -(-self.num_bins // _TILE_ROWS)

    @property
    def size(self) -> int:
        """Items of an image."""
        return self.num_rois * self.num_bins * self.bin_taps * self.tiles

    def items(self, numbers: tf.Tensor) -> _Items:
        """Returns what the items of these numbers are; anything where they are another's."""
        taps, local = self.num_bins * self.bin_taps, numbers - self.first
        return _Items(
            local // (taps * self.tiles),
            local // self.tiles % taps,
            tf.ones_like(local, tf.float32) * self.num_bins,
            local % self.tiles * _TILE_ROWS,
        )

    def tile_of(self, numbers: tf.Tensor) -> tf.Tensor:
        """Returns which of its pooled tiles of an image an item belongs to."""
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
    """ROI align of some rois by the lines of a table: the reading, and its gradient."""

    def __init__(self, cells: Cells, rois: tf.Tensor, poolings: Sequence[Pooling], config: RoiAlignConfig) -> None:
        self._cells = cells
        self._rois = rois
        self._config = config
        self._batch = rois.shape[0]
        self._filters = cells.table.shape[-1]
        # Lines of the coarsest level in one of the table.
        self._parts = 2 ** (coarsest_level(cells) - FINEST_LEVEL)
        # Cells in one of these.
        self._part = cells.line // self._parts
        self._shares = _shares(poolings, config)
        self._num_items = self._shares[-1].first + self._shares[-1].size
        keys = tf.concat([self._keys(share) for share in self._shares], axis=1)
        self._groups = group(keys, cells.num_lines, self._parts, _GROUP_ITEMS)
        self._lines = self._of_all(self._groups.lines, cells.num_lines)

    def _of_all(self, rows: tf.Tensor, count: int) -> tf.Tensor:
        """Returns rows of each image's own `count` as rows of all images', one after the other."""
        return tf.reshape(rows + tf.range(self._batch)[:, None] * count, [-1])

    def _keys(self, share: _Share) -> tf.Tensor:
        rois, taps = self._rois[:, : share.num_rois], np.arange(share.num_bins * share.bin_taps)
        level = levels_of(rois, self._cells)
        axis_y, axis_x = axes(self._cells, rois, level, self._config)
        y, _ = taps_of(axis_y.spread(taps), taps, share.num_bins, self._config)
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
        """Returns what each cell of a group's line counts for the bins of its items, [B K, 8 G, W]."""
        groups, ratio = self._groups, self._config.sampling_ratio
        items = self._items(groups.items)
        corners = tf.stack([_at(corner, items.roi) for corner in tf.unstack(self._rois, axis=-1)], axis=-1)
        axis_y, axis_x = axes(self._cells, corners, self._cells.level_at(groups.keys * self._part), self._config)
        _, y_weights = taps_of(axis_y, items.tap, items.num_bins, self._config)
        y_weights = tf.where(groups.items < self._num_items, y_weights, 0.0)
        offset = tf.cast(groups.keys % self._parts * self._part, tf.float32)

        axis = Axis(*(_of_rows(values) for values in axis_x))
        num_bins, offset = _of_rows(items.num_bins), _of_rows(offset)
        bins = _of_rows(items.first_bin) + np.tile(np.arange(_TILE_ROWS), _GROUP_ITEMS)
        across = tf.range(self._cells.line, dtype=tf.float32)
        matrix = 0.0
        for number in range(ratio):
            positions, shares = positions_of(axis, bins * ratio + number, num_bins, self._config)
            counts = (shares > 0) & (tf.cast(bins, tf.float32) < num_bins)
            # What does not count is put where no cell is.
            positions = tf.where(counts, positions + offset, -1.0)
            matrix += tf.maximum(1 - tf.abs(positions[..., None] - across), 0.0)
        return tf.cast(matrix * (_of_rows(y_weights) / ratio)[..., None], dtype)

    def _by_line(self, table: tf.Tensor) -> tf.Tensor:
        return tf.reshape(table, [-1, self._cells.line, self._filters])

    def read(self, table: tf.Tensor) -> list[tf.Tensor]:
        """Returns what each pooling wants of a table, [B, R, S, S, C]."""
        products = tf.matmul(self._interpolation(table.dtype), tf.gather(self._by_line(table), self._lines))
        return [self._pooled(tf.reshape(products, [-1, _TILE_ROWS, self._filters]), share) for share in self._shares]

    def _pooled(self, tiles: tf.Tensor, share: _Share) -> tf.Tensor:
        """Adds up the taps of each bin; [B, R, S, S, C] of [B K G, 8, C]."""
        places = self._groups.places[:, share.first : share.first + share.size]
        of_items = tf.gather(tiles, self._of_all(places, self._groups.items.shape[1]))
        bins = share.tiles * _TILE_ROWS
        taps = tf.unstack(tf.reshape(of_items, [-1, share.bin_taps, bins, self._filters]), axis=1)
        total = tf.add_n([tf.cast(tap, tf.float32) for tap in taps])
        total = tf.reshape(total, [self._batch, share.num_rois, share.num_bins, bins, self._filters])
        return tf.cast(total[:, :, :, : share.num_bins], tiles.dtype)

    def add(self, of_table: tf.Tensor, upstream: list[tf.Tensor]) -> tf.Tensor:
        """Adds the gradients of what was read to that of the table."""
        tiles = tf.concat([self._in_tiles(*pair) for pair in zip(upstream, self._shares, strict=True)], axis=0)
        of_groups = tf.reshape(tf.gather(tiles, self._tiles_of_items()), [-1, _GROUP_ITEMS * _TILE_ROWS, self._filters])
        # Computed again, within the product: kept from the reading it would be as large as all lines that were read.
        of_lines = tf.matmul(self._interpolation(tiles.dtype), of_groups, transpose_a=True)
        total = tf.tensor_scatter_nd_add(self._by_line(of_table), self._lines[:, None], of_lines)
        return tf.reshape(total, tf.shape(of_table))

    def _in_tiles(self, upstream: tf.Tensor, share: _Share) -> tf.Tensor:
        """Fills up the tiles with bins that count nothing; not with zeros, which the compiler would add after the gather."""
        bins = share.tiles * _TILE_ROWS
        repeated = tf.concat([upstream] * -(-bins // share.num_bins), axis=3)
        return tf.reshape(repeated[:, :, :, :bins], [-1, _TILE_ROWS, self._filters])

    def _tiles_of_items(self) -> tf.Tensor:
        """Returns the rows of the items in the tiles of all poolings together; any one for an empty place."""
        numbers, found, first = tf.minimum(self._groups.items, self._num_items - 1), None, 0
        for share in self._shares:
            tiles_of_image = share.size // share.bin_taps
            own = share.tile_of(numbers) + tf.range(self._batch)[:, None] * tiles_of_image + first
            found = own if found is None else tf.where(numbers >= share.first, own, found)
            first += self._batch * tiles_of_image
        return tf.reshape(found, [-1])


def by_lines(cells: Cells, rois: tf.Tensor, poolings: Sequence[Pooling], config: RoiAlignConfig) -> list[tf.Tensor]:
    """ROI align; see `pooling.roi_align_all`. All shapes are static, and each level's width is half of the finer one's."""
    lines = _Lines(cells, rois, poolings, config)
    return cells.with_custom_gradient(lines.read, lines.add)
