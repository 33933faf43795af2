"""ROI align (arXiv:1703.06870, section 3) over the levels of a pyramid.

Every value of the result is a weighted sum of feature cells: a bin is the mean of `sampling_ratio` squared samples, and
a sample is interpolated between four cells. The weights are a product of one for the row and one for the column. All
levels are in one table of cells, so a roi costs the same wherever it lies, and no level is computed for a roi of another
one.

Shapes: B pictures, R rois, S bins a side, T = 2 * sampling_ratio cells a bin and axis, C filters.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tpuseg import boxes as box_ops
from tpuseg.layers.scope import named
from tpuseg.maskrcnn.cells import FINEST_LEVEL, Cells
from tpuseg.maskrcnn.config import RoiAlignConfig
from tpuseg.maskrcnn.tracing import compiles_with_xla

# arXiv:1612.03144, equation 1: a roi of ImageNet's 224 pixels goes to level 4.
_CANONICAL_LEVEL, _CANONICAL_SIZE = 4, 224.0
# P6 is for the RPN alone.
_COARSEST_LEVEL = 5


def levels_of(rois: tf.Tensor, coarsest: int = _COARSEST_LEVEL) -> tf.Tensor:
    """Assigns rois to levels: floor(4 + log2(sqrt(area) / 224)), within 2 and `coarsest`.

    Args:
      rois: [..., 4] pixels.
      coarsest: last level that there is.

    Returns:
      [...] int32.
    """
    size = tf.sqrt(box_ops.areas(rois))
    # As the references do, so that 112 pixels, which are exactly level 3, do not fall to level 2 by rounding.
    exact = _CANONICAL_LEVEL + tf.math.log(size / _CANONICAL_SIZE + 1e-8) / np.float32(np.log(2)) + 1e-6
    return tf.clip_by_value(tf.cast(tf.floor(exact), tf.int32), FINEST_LEVEL, coarsest)


class _Axis(NamedTuple):
    """An axis of rois, each on its level; all [B, R].

    Attributes:
      first: where the roi begins, in pixels.
      last: where it ends.
      stride: pixels a cell.
      extent: int32 cells of the level.
      step: int32 cells from one to the next along this axis, as the level's cells are counted.
    """

    first: tf.Tensor
    last: tf.Tensor
    stride: tf.Tensor
    extent: tf.Tensor
    step: tf.Tensor


def _axes(cells: Cells, rois: tf.Tensor, level: tf.Tensor) -> tuple[_Axis, _Axis]:
    """Returns the y and the x axis."""
    stride = tf.cast(2**level, tf.float32)
    height, width = cells.extents(level)
    y0, x0, y1, x1 = tf.unstack(rois, axis=-1)
    return _Axis(y0, y1, stride, height, width), _Axis(x0, x1, stride, width, tf.ones_like(width))


def _spread(values: tf.Tensor, like: np.ndarray) -> tf.Tensor:
    """Returns [B, R] as [B, R, 1, ...], to go with [B, R, *like.shape]."""
    return tf.reshape(values, tf.concat([tf.shape(values), [1] * like.ndim], axis=0))


def _positions(axis: _Axis, samples: np.ndarray, num_bins: int, config: RoiAlignConfig) -> tuple[tf.Tensor, tf.Tensor]:
    """Where samples lie, and what each counts.

    They lie evenly: at (k + 0.5) / (bins * ratio) of the roi's side. A sample up to one cell outside of the map takes the border's
    value, one farther away is 0.

    Args:
      axis: of the rois.
      samples: [...] numbers of samples, from 0 to S * sampling_ratio - 1.
      num_bins: S.
      config: samples, and where a cell's centre is.

    Returns:
      Positions between the centres of the first and the last cell, and shares, float32 [B, R, ...].
    """
    start, side = axis.first / axis.stride, (axis.last - axis.first) / axis.stride
    if config.aligned:
        start -= 0.5
    else:
        side = tf.maximum(side, 1.0)
    places = tf.constant((samples + 0.5) / (num_bins * config.sampling_ratio), tf.float32)
    positions = _spread(start, samples) + _spread(side, samples) * places
    extent = tf.cast(_spread(axis.extent, samples), tf.float32)
    inside = (positions >= -1.0) & (positions <= extent)
    return tf.clip_by_value(positions, 0.0, extent - 1), tf.cast(inside, tf.float32) / config.sampling_ratio


def _taps(axis: _Axis, taps: np.ndarray, num_bins: int, config: RoiAlignConfig) -> tuple[tf.Tensor, tf.Tensor]:
    """Which cells of an axis are read, and with which weights.

    Args:
      axis: of the rois.
      taps: [...] the cells asked for, numbered from 0 to S T - 1: those of the first bin, those of the second.
      num_bins: S.
      config: samples and alignment.

    Returns:
      Cells (int32) and weights (float32), both [B, R, ...].
    """
    # Of the two cells around a sample, the first or the second.
    sample, second = taps // 2, taps % 2
    positions, shares = _positions(axis, sample, num_bins, config)
    low = tf.floor(positions)
    weights = tf.abs(tf.constant(1 - second, tf.float32) - (positions - low)) * shares
    last_cell = _spread(axis.extent, taps) - 1
    return tf.minimum(tf.cast(low, tf.int32) + tf.constant(second, tf.int32), last_cell), weights


def _reads(
    cells: Cells, rois: tf.Tensor, taps_y: np.ndarray, taps_x: np.ndarray, num_bins: int, config: RoiAlignConfig
) -> tuple[tf.Tensor, tf.Tensor]:
    """Where rois read the table, and with which weights.

    Args:
      cells: the pyramid.
      rois: [B, R, 4].
      taps_y: [...] cells of the y axis; see `_taps`.
      taps_x: [...] of the x axis; the two are broadcast against each other.
      num_bins: S.
      config: samples and alignment.

    Returns:
      Rows of the table (int32) and weights (float32), [B, R, ...].
    """
    level = levels_of(rois, _coarsest(cells))
    axis_y, axis_x = _axes(cells, rois, level)
    y, y_weights = _taps(axis_y, taps_y, num_bins, config)
    x, x_weights = _taps(axis_x, taps_x, num_bins, config)
    places = y * _spread(axis_y.step, taps_y) + x
    return _spread(cells.first_rows(level), taps_y) + places * cells.cell_step, y_weights * x_weights


def _coarsest(cells: Cells) -> int:
    return min(_COARSEST_LEVEL, FINEST_LEVEL + len(cells.grids) - 1)


def _gathered(cells: Cells, rois: tf.Tensor, num_bins: int, config: RoiAlignConfig) -> tf.Tensor:
    """For XLA: reads what a row of bins needs and multiplies it with a matrix of S rows.

    What is gathered is never rearranged, and everything else is computed in that shape from the start: a TPU would pay for short
    last axes with 128 lanes each. Of the two forms it is the one that reads less.
    """
    window = _window_side(cells)
    if window < 2 * config.sampling_ratio * num_bins:
        return _gathered_windows(cells, rois, num_bins, window, config)
    return _gathered_taps(cells, rois, num_bins, config)


def _gathered_taps(cells: Cells, rois: tf.Tensor, num_bins: int, config: RoiAlignConfig) -> tf.Tensor:
    """Reads the cells of all samples of a row of bins, T S T of them, as often as samples share them.

    The matrix is block diagonal, which wastes multiplications that a matrix unit has.
    """
    bin_taps = 2 * config.sampling_ratio
    across = np.arange(num_bins * bin_taps)
    down = np.arange(num_bins * bin_taps).reshape(num_bins, bin_taps, 1)
    taps_y = np.broadcast_to(down, [num_bins, bin_taps, len(across)]).reshape(num_bins, -1)
    taps_x = np.tile(across, bin_taps)[None]
    rows, weights = _reads(cells, rois, taps_y, taps_x, num_bins, config)
    is_own = np.arange(num_bins)[:, None] == taps_x // bin_taps
    return _product(cells, rows, weights[..., None, :] * tf.constant(is_own, tf.float32))


def _window_side(cells: Cells) -> int:
    """Returns how many cells in a row hold all that a roi's samples read along its shorter side.

    The mean of a roi's sides is less than 28 cells of its level, but on the coarsest, whose cells are as many as they are; a
    sample at each end reads one cell more. Eights are what a TPU's registers hold.
    """
    side = 2 * _CANONICAL_SIZE / 2**_CANONICAL_LEVEL + 2
    return -(-max(int(side), *cells.grids[_coarsest(cells) - FINEST_LEVEL]) // 8) * 8


def _gathered_windows(cells: Cells, rois: tf.Tensor, num_bins: int, window: int, config: RoiAlignConfig) -> tf.Tensor:
    """Reads each cell of a roi's shorter side once: for a row of bins across the longer one, T rows of `window` cells."""
    level = levels_of(rois, _coarsest(cells))
    axis_y, axis_x = _axes(cells, rois, level)
    is_wide = axis_x.last - axis_x.first > axis_y.last - axis_y.first
    longer = _Axis(*(tf.where(is_wide, x, y) for y, x in zip(axis_y, axis_x, strict=True)))
    shorter = _Axis(*(tf.where(is_wide, y, x) for y, x in zip(axis_y, axis_x, strict=True)))

    bin_taps = 2 * config.sampling_ratio
    taps = np.repeat(np.arange(num_bins * bin_taps).reshape(num_bins, bin_taps), window, axis=1)
    along, along_weights = _taps(longer, taps, num_bins, config)
    samples = np.arange(num_bins * config.sampling_ratio).reshape(num_bins, config.sampling_ratio, 1)
    placed = [_positions(shorter, samples[:, number], num_bins, config) for number in range(config.sampling_ratio)]
    first, _ = placed[0]
    across = tf.floor(first[:, :, :1]) + tf.constant(np.tile(np.arange(window), bin_taps)[None], tf.float32)
    across_weights = tf.add_n([tf.maximum(1 - tf.abs(positions - across), 0.0) * shares for positions, shares in placed])
    # Behind the border no weight is left.
    across = tf.minimum(tf.cast(across, tf.int32), _spread(shorter.extent, taps) - 1)
    places = along * _spread(longer.step, taps) + across * _spread(shorter.step, taps)
    rows = _spread(cells.first_rows(level), taps) + places * cells.cell_step
    pooled = _product(cells, rows, along_weights[..., None, :] * across_weights[:, :, None])
    return _turned(pooled, is_wide)


def _turned(pooled: tf.Tensor, is_wide: tf.Tensor) -> tf.Tensor:
    """Exchanges the axes of some rois, [B, R, S, S, C]; which is its own inverse, and its own gradient."""

    def exchange(values: tf.Tensor) -> tf.Tensor:
        return tf.where(is_wide[..., None, None, None], tf.transpose(values, [0, 1, 3, 2, 4]), values)

    return tf.custom_gradient(lambda values: (exchange(values), exchange))(pooled)


def _product(cells: Cells, rows: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Returns [B, R, S, S, C]: for a row of bins the cells at `rows`, [B, R, S, size], times `weights`, [B, R, S, S, size]."""
    batch, num_rois, num_bins, _, size = weights.shape
    windows = tf.reshape(cells.read(tf.reshape(rows, [-1])), [-1, size, cells.table.shape[-1]])
    pooled = tf.matmul(tf.reshape(tf.cast(weights, windows.dtype), [-1, num_bins, size]), windows)
    return tf.reshape(pooled, [batch or -1, num_rois, num_bins, num_bins, windows.shape[-1]])


def _multiplied(cells: Cells, rois: tf.Tensor, num_bins: int, config: RoiAlignConfig) -> tf.Tensor:
    """Outside of XLA: one sparse matrix, [B R S S, rows], times the table.

    It never holds a roi's window in memory, and its gradient is the transposed product. (The gradient of
    `tf.image.crop_and_resize` loses updates on a CPU, because threads add to the same cell without a lock.)
    """
    bin_taps = 2 * config.sampling_ratio
    taps = np.arange(num_bins * bin_taps).reshape(num_bins, bin_taps)
    rows, weights = _reads(cells, rois, taps[:, None, :, None], taps[None, :, None, :], num_bins, config)
    num_outputs, num_weights = tf.reduce_prod(tf.shape(rois)[:2]) * num_bins**2, bin_taps**2
    indices = tf.stack([tf.repeat(tf.range(num_outputs), num_weights), tf.reshape(rows, [-1])], axis=-1)
    shape = tf.cast(tf.stack([num_outputs, tf.shape(cells.table)[0]]), tf.int64)
    # Compressed rows: a tenth of the time of a product with a `tf.SparseTensor`.
    matrix = tf.raw_ops.SparseTensorToCSRSparseMatrix(
        indices=tf.cast(indices, tf.int64), values=tf.reshape(weights, [-1]), dense_shape=shape
    )

    @tf.custom_gradient
    def multiply(dense: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            # Transposed first: with `transpose_a` threads add up in any order, and no two runs would be alike.
            return tf.raw_ops.SparseMatrixMatMul(a=tf.raw_ops.SparseMatrixTranspose(input=matrix, type=tf.float32), b=upstream)

        return tf.raw_ops.SparseMatrixMatMul(a=matrix, b=dense), gradient

    product = tf.cast(multiply(tf.cast(cells.table, tf.float32)), cells.table.dtype)
    return tf.reshape(product, [*tf.unstack(tf.shape(rois)[:2]), num_bins, num_bins, cells.table.shape[-1]])


@named
def roi_align(cells: Cells, rois: tf.Tensor, num_bins: int, config: RoiAlignConfig) -> tf.Tensor:
    """Cuts rois out of a pyramid, each from the level of its size.

    Args:
      cells: the pyramid from P2 on; of P6 nothing is read.
      rois: [B, R, 4] pixels of the canvas; no gradient flows to them. R may be unknown outside of XLA.
      num_bins: S.
      config: samples and alignment.

    Returns:
      [B, R, S, S, C] in the features' type.
    """
    form = _gathered if compiles_with_xla() else _multiplied
    result = form(cells, tf.stop_gradient(rois), num_bins, config)
    return tf.ensure_shape(result, [rois.shape[0], rois.shape[1], num_bins, num_bins, cells.table.shape[-1]])
