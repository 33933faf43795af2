"""ROI align (arXiv:1703.06870, section 3) over the levels of a pyramid.

Every value of the result is a weighted sum of feature cells: a bin is the mean of `sampling_ratio` squared samples, and
a sample is interpolated between four cells. The weights are a product of one for the row and one for the column. All
levels are in one table of cells, so a roi costs the same wherever it lies, and no level is computed for a roi of another
one.

Shapes: B pictures, R rois, S bins a side, T = 2 * sampling_ratio cells a bin and axis, C filters.
"""

from collections.abc import Callable

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


def _axis(
    first: tf.Tensor, last: tf.Tensor, stride: tf.Tensor, extent: tf.Tensor, taps: np.ndarray, num_bins: int, config: RoiAlignConfig
) -> tuple[tf.Tensor, tf.Tensor]:
    """Which cells of an axis are read, and with which weights.

    Samples lie evenly: at (k + 0.5) / (bins * ratio) of the roi's side. A sample up to one cell outside of the map
    takes the border's value, one farther away is 0.

    Args:
      first: [B, R] where the roi begins, in pixels.
      last: [B, R] where it ends.
      stride: [B, R] pixels a cell.
      extent: [B, R] int32 cells of its level.
      taps: [...] the cells asked for, numbered from 0 to S T - 1: those of the first bin, those of the second.
      num_bins: S.
      config: samples, and where a cell's centre is.

    Returns:
      Positions (int32) and weights (float32), both [B, R, ...].
    """
    num_samples = num_bins * config.sampling_ratio
    start, side = first / stride, (last - first) / stride
    if config.aligned:
        start -= 0.5
    else:
        side = tf.maximum(side, 1.0)

    def spread(values: tf.Tensor) -> tf.Tensor:
        return tf.reshape(values, tf.concat([tf.shape(values), [1] * taps.ndim], axis=0))

    # Of the two cells around a sample, the first or the second.
    sample, second = taps // 2, taps % 2
    positions = spread(start) + spread(side) * tf.constant((sample + 0.5) / num_samples, tf.float32)
    extent = spread(extent)
    inside = (positions >= -1.0) & (positions <= tf.cast(extent, tf.float32))
    clamped = tf.clip_by_value(positions, 0.0, tf.cast(extent - 1, tf.float32))
    low = tf.floor(clamped)
    weights = tf.abs(tf.constant(1 - second, tf.float32) - (clamped - low)) * tf.cast(inside, tf.float32)
    return tf.minimum(tf.cast(low, tf.int32) + tf.constant(second, tf.int32), extent - 1), weights / config.sampling_ratio


def _reads(
    cells: Cells, rois: tf.Tensor, taps_y: np.ndarray, taps_x: np.ndarray, num_bins: int, config: RoiAlignConfig
) -> tuple[tf.Tensor, tf.Tensor]:
    """Where rois read the table, and with which weights.

    Args:
      cells: the pyramid.
      rois: [B, R, 4].
      taps_y: [...] cells of the y axis; see `_axis`.
      taps_x: [...] of the x axis; the two are broadcast against each other.
      num_bins: S.
      config: samples and alignment.

    Returns:
      Rows of the table (int32) and weights (float32), [B, R, ...].
    """
    level = levels_of(rois, min(_COARSEST_LEVEL, FINEST_LEVEL + len(cells.grids) - 1))
    stride = tf.cast(2**level, tf.float32)
    height, width = cells.extents(level)
    y, y_weights = _axis(rois[..., 0], rois[..., 2], stride, height, taps_y, num_bins, config)
    x, x_weights = _axis(rois[..., 1], rois[..., 3], stride, width, taps_x, num_bins, config)

    def spread(values: tf.Tensor) -> tf.Tensor:
        return tf.reshape(values, tf.concat([tf.shape(values), [1] * taps_y.ndim], axis=0))

    rows = spread(cells.first_rows(level)) + (y * spread(width) + x) * cells.cell_step
    return rows, y_weights * x_weights


def _gathered(cells: Cells, rois: tf.Tensor, num_bins: int, config: RoiAlignConfig) -> tf.Tensor:
    """For XLA: reads what a row of bins needs, T S T cells, and multiplies it with a matrix of S rows.

    The matrix is block diagonal, which wastes multiplications that a matrix unit has. What is gathered is never rearranged, and
    everything else is computed in that shape from the start: a TPU would pay for short last axes with 128 lanes each.
    """
    bin_taps = 2 * config.sampling_ratio
    across = np.arange(num_bins * bin_taps)
    down = np.arange(num_bins * bin_taps).reshape(num_bins, bin_taps, 1)
    taps_y = np.broadcast_to(down, [num_bins, bin_taps, len(across)]).reshape(num_bins, -1)
    taps_x = np.tile(across, bin_taps)[None]
    rows, weights = _reads(cells, rois, taps_y, taps_x, num_bins, config)
    is_own = np.arange(num_bins)[:, None] == taps_x // bin_taps
    size, filters = taps_y.shape[1], cells.table.shape[-1]
    windows = tf.reshape(cells.read(tf.reshape(rows, [-1])), [-1, size, filters])
    matrix = tf.reshape(tf.cast(weights, windows.dtype), [-1, 1, size]) * tf.constant(is_own, windows.dtype)
    return tf.reshape(tf.matmul(matrix, windows), [-1, rois.shape[1], num_bins, num_bins, filters])


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
