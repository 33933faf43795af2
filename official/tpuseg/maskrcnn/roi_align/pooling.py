"""ROI align (arXiv:1703.06870, section 3) over the levels of the FPN: three implementations with the same values.

All levels are in one table of cells, so each roi is computed only on its own level, at the same cost for every level.

Shapes: B images, R rois, S bins along a side, T = 2 * sampling_ratio taps per bin and axis, C filters.
"""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from tpuseg.maskrcnn.cells import Cells
from tpuseg.maskrcnn.config import RoiAlignConfig
from tpuseg.maskrcnn.roi_align.lines import roi_align_by_lines
from tpuseg.maskrcnn.roi_align.samples import Pooling, assign_levels, axes, compute_taps, spread
from tpuseg.ops.tracing import compiles_with_xla, length
from tpuseg.utils import device


def _rows_and_weights(
    cells: Cells, rois: tf.Tensor, taps_y: np.ndarray, taps_x: np.ndarray, num_bins: int, config: RoiAlignConfig
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the rows of the table that rois read, and their weights.

    Args:
      cells: the levels of the FPN.
      rois: [B, R, 4] boxes in pixels of the canvas.
      taps_y: [...] tap numbers along the y axis; see `compute_taps`.
      taps_x: [...] tap numbers along the x axis; the two are broadcast against each other.
      num_bins: S.
      config: sampling ratio and alignment.

    Returns:
      Rows of the table (int32) and weights (float32), [B, R, ...].
    """
    level = assign_levels(rois, cells)
    axis_y, axis_x = axes(cells, rois, level, config)
    y, y_weights = compute_taps(axis_y.spread(taps_y), taps_y, num_bins, config)
    x, x_weights = compute_taps(axis_x.spread(taps_x), taps_x, num_bins, config)
    return spread(cells.first_rows(level), taps_y) + y * spread(axis_x.extent, taps_y) + x, y_weights * x_weights


def _pool_by_gather(cells: Cells, rois: tf.Tensor, num_bins: int, config: RoiAlignConfig) -> tf.Tensor:
    """Implementation for XLA, except on TPUs: gathers the T S T cells of a row of bins and multiplies them by a matrix with S rows.

    The matrix is block diagonal, so most multiplications are by zero.
    """
    bin_taps = 2 * config.sampling_ratio
    across = np.arange(num_bins * bin_taps)
    down = np.arange(num_bins * bin_taps).reshape(num_bins, bin_taps, 1)
    taps_y = np.broadcast_to(down, [num_bins, bin_taps, len(across)]).reshape(num_bins, -1)
    taps_x = np.tile(across, bin_taps)[None]
    rows, weights = _rows_and_weights(cells, rois, taps_y, taps_x, num_bins, config)
    is_own = np.arange(num_bins)[:, None] == taps_x // bin_taps
    matrix = weights[..., None, :] * tf.constant(is_own, tf.float32)
    batch, num_rois, _, _, size = matrix.shape
    windows = tf.reshape(cells.read(tf.reshape(rows, [-1])), [-1, size, cells.table.shape[-1]])
    pooled = tf.matmul(tf.reshape(tf.cast(matrix, windows.dtype), [-1, num_bins, size]), windows)
    return tf.reshape(pooled, [batch or -1, num_rois, num_bins, num_bins, windows.shape[-1]])


def _pool_by_sparse_matmul(cells: Cells, rois: tf.Tensor, num_bins: int, config: RoiAlignConfig) -> tf.Tensor:
    """Implementation without XLA: the product of one sparse matrix, [B R S S, rows], and the table.

    It never keeps the window of a roi in memory, and its gradient is the transposed product. (The gradient of
    `tf.image.crop_and_resize` loses updates on a CPU, because threads add to the same cell without a lock.)
    """
    bin_taps = 2 * config.sampling_ratio
    taps = np.arange(num_bins * bin_taps).reshape(num_bins, bin_taps)
    rows, weights = _rows_and_weights(cells, rois, taps[:, None, :, None], taps[None, :, None, :], num_bins, config)
    num_outputs, num_weights = tf.reduce_prod(tf.shape(rois)[:2]) * num_bins**2, bin_taps**2
    indices = tf.stack([tf.repeat(tf.range(num_outputs), num_weights), tf.reshape(rows, [-1])], axis=-1)
    shape = tf.cast(tf.stack([num_outputs, tf.shape(cells.table)[0]]), tf.int64)
    # The CSR format takes a tenth of the time of a product with a `tf.SparseTensor`.
    matrix = tf.raw_ops.SparseTensorToCSRSparseMatrix(
        indices=tf.cast(indices, tf.int64), values=tf.reshape(weights, [-1]), dense_shape=shape
    )

    @tf.custom_gradient
    def multiply(dense: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            # The matrix is transposed first: with `transpose_a`, threads add in random order, and results are not reproducible.
            return tf.raw_ops.SparseMatrixMatMul(a=tf.raw_ops.SparseMatrixTranspose(input=matrix, type=tf.float32), b=upstream)

        return tf.raw_ops.SparseMatrixMatMul(a=matrix, b=dense), gradient

    product = tf.cast(multiply(tf.cast(cells.table, tf.float32)), cells.table.dtype)
    return tf.reshape(product, [*tf.unstack(tf.shape(rois)[:2]), num_bins, num_bins, cells.table.shape[-1]])


def roi_align(cells: Cells, rois: tf.Tensor, num_bins: int, config: RoiAlignConfig) -> tf.Tensor:
    """Pools rois for one head; see `roi_align_all`."""
    return roi_align_all(cells, rois, [Pooling(length(rois), num_bins)], config)[0]


def roi_align_all(cells: Cells, rois: tf.Tensor, poolings: Sequence[Pooling], config: RoiAlignConfig) -> list[tf.Tensor]:
    """Pools rois for several heads, each roi from the level for its size.

    Args:
      cells: the levels of the FPN from P2; P6 is not read.
      rois: [B, R, 4] boxes in pixels of the canvas, without a gradient. R may be dynamic without XLA.
      poolings: number of rois and bins of each head.
      config: sampling ratio and alignment.

    Returns:
      For each head, [B, number of rois, S, S, C] in the dtype of the features.
    """
    with tf.name_scope("roi_align"):
        rois = tf.stop_gradient(rois)
        if compiles_with_xla() and device.is_tpu():
            return roi_align_by_lines(cells, rois, poolings, config)
        form = _pool_by_gather if compiles_with_xla() else _pool_by_sparse_matmul
        return [_one(form, cells, rois[:, : pooling.num_rois], pooling.num_bins, config) for pooling in poolings]


def _one(form: Callable[..., tf.Tensor], cells: Cells, rois: tf.Tensor, num_bins: int, config: RoiAlignConfig) -> tf.Tensor:
    shape = [rois.shape[0], rois.shape[1], num_bins, num_bins, cells.table.shape[-1]]
    return tf.ensure_shape(form(cells, rois, num_bins, config), shape)
