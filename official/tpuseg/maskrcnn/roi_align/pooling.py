"""ROI align (arXiv:1703.06870, section 3) over the levels of a pyramid, in one of three forms with the same values.

All levels are in one table of cells, so a roi costs the same wherever it lies, and no level is computed for a roi of another one.

Shapes: B images, R rois, S bins a side, T = 2 * sampling_ratio cells a bin and axis, C filters.
"""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from tpuseg.maskrcnn.cells import Cells
from tpuseg.maskrcnn.config import RoiAlignConfig
from tpuseg.maskrcnn.roi_align.lines import by_lines
from tpuseg.maskrcnn.roi_align.samples import Pooling, axes, levels_of, spread, taps_of
from tpuseg.ops.tracing import compiles_with_xla, length
from tpuseg.utils import device


def _reads(
    cells: Cells, rois: tf.Tensor, taps_y: np.ndarray, taps_x: np.ndarray, num_bins: int, config: RoiAlignConfig
) -> tuple[tf.Tensor, tf.Tensor]:
    """Where rois read the table, and with which weights.

    Args:
      cells: the pyramid.
      rois: [B, R, 4].
      taps_y: [...] cells of the y axis; see `taps_of`.
      taps_x: [...] of the x axis; the two are broadcast against each other.
      num_bins: S.
      config: samples and alignment.

    Returns:
      Rows of the table (int32) and weights (float32), [B, R, ...].
    """
    level = levels_of(rois, cells)
    axis_y, axis_x = axes(cells, rois, level, config)
    y, y_weights = taps_of(axis_y.spread(taps_y), taps_y, num_bins, config)
    x, x_weights = taps_of(axis_x.spread(taps_x), taps_x, num_bins, config)
    return spread(cells.first_rows(level), taps_y) + y * spread(axis_x.extent, taps_y) + x, y_weights * x_weights


def _gathered(cells: Cells, rois: tf.Tensor, num_bins: int, config: RoiAlignConfig) -> tf.Tensor:
    """For XLA, but for a TPU's: reads the cells of all samples of a row of bins and multiplies them with a matrix of S rows.

    There are T S T of them, and the matrix is block diagonal, which wastes multiplications.
    """
    bin_taps = 2 * config.sampling_ratio
    across = np.arange(num_bins * bin_taps)
    down = np.arange(num_bins * bin_taps).reshape(num_bins, bin_taps, 1)
    taps_y = np.broadcast_to(down, [num_bins, bin_taps, len(across)]).reshape(num_bins, -1)
    taps_x = np.tile(across, bin_taps)[None]
    rows, weights = _reads(cells, rois, taps_y, taps_x, num_bins, config)
    is_own = np.arange(num_bins)[:, None] == taps_x // bin_taps
    matrix = weights[..., None, :] * tf.constant(is_own, tf.float32)
    batch, num_rois, _, _, size = matrix.shape
    windows = tf.reshape(cells.read(tf.reshape(rows, [-1])), [-1, size, cells.table.shape[-1]])
    pooled = tf.matmul(tf.reshape(tf.cast(matrix, windows.dtype), [-1, num_bins, size]), windows)
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


def roi_align(cells: Cells, rois: tf.Tensor, num_bins: int, config: RoiAlignConfig) -> tf.Tensor:
    """Cuts rois out of a pyramid; `roi_align_all` for one head."""
    return roi_align_all(cells, rois, [Pooling(length(rois), num_bins)], config)[0]


def roi_align_all(cells: Cells, rois: tf.Tensor, poolings: Sequence[Pooling], config: RoiAlignConfig) -> list[tf.Tensor]:
    """Cuts rois out of a pyramid, each from the level of its size, for several heads that look at the same ones.

    Args:
      cells: the pyramid from P2 on; of P6 nothing is read.
      rois: [B, R, 4] pixels of the canvas; no gradient flows to them. R may be unknown outside of XLA.
      poolings: what each head wants.
      config: samples and alignment.

    Returns:
      For each head [B, its number of rois, S, S, C] in the features' type.
    """
    with tf.name_scope("roi_align"):
        rois = tf.stop_gradient(rois)
        if compiles_with_xla() and device.is_tpu():
            return by_lines(cells, rois, poolings, config)
        form = _gathered if compiles_with_xla() else _multiplied
        return [_one(form, cells, rois[:, : pooling.num_rois], pooling.num_bins, config) for pooling in poolings]


def _one(form: Callable[..., tf.Tensor], cells: Cells, rois: tf.Tensor, num_bins: int, config: RoiAlignConfig) -> tf.Tensor:
    shape = [rois.shape[0], rois.shape[1], num_bins, num_bins, cells.table.shape[-1]]
    return tf.ensure_shape(form(cells, rois, num_bins, config), shape)
