"""ROI align (arXiv:1703.06870, section 3) over the levels of a pyramid.

Every value of the result is a weighted sum of feature cells: a bin is the mean of `sampling_ratio` squared samples, and
a sample is interpolated between four cells. The weights are a product of one for the row and one for the column. All
levels are put into one table of cells, so a roi costs the same wherever it lies, and no level is computed for a roi of
another one.

Shapes: B pictures, R rois, S bins a side, T = 2 * sampling_ratio cells a bin and axis, C filters.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tpuseg import boxes as box_ops
from tpuseg.maskrcnn.config import RoiAlignConfig
from tpuseg.maskrcnn.tracing import compiles_with_xla

# arXiv:1612.03144, equation 1: a roi of ImageNet's 224 pixels goes to level 4.
_CANONICAL_LEVEL, _CANONICAL_SIZE = 4, 224.0
_FINEST_LEVEL = 2


def levels_of(rois: tf.Tensor, coarsest: int = 5) -> tf.Tensor:
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
    return tf.clip_by_value(tf.cast(tf.floor(exact), tf.int32), _FINEST_LEVEL, coarsest)


class _Cells(NamedTuple):
    """Which cells of an axis each bin reads: [B, R, S, T] rows (int32) and weights (float32)."""

    rows: tf.Tensor
    weights: tf.Tensor


def _axis_cells(
    first: tf.Tensor, last: tf.Tensor, stride: tf.Tensor, extent: tf.Tensor, num_bins: int, config: RoiAlignConfig
) -> _Cells:
    """Interpolation weights of one axis.

    Samples lie evenly: at (k + 0.5) / (bins * ratio) of the roi's side. A sample up to one cell outside of the map
    takes the border's value, one farther away is 0.

    Args:
      first: [B, R] where the roi begins, in pixels.
      last: [B, R] where it ends.
      stride: [B, R] pixels a cell.
      extent: [B, R] int32 cells of its level.
      num_bins: S.
      config: samples, and where a cell's centre is.
    """
    num_samples = num_bins * config.sampling_ratio
    start, side = first / stride, (last - first) / stride
    if config.aligned:
        start -= 0.5
    else:
        side = tf.maximum(side, 1.0)
    fractions = tf.constant((np.arange(num_samples) + 0.5) / num_samples, tf.float32)
    positions = start[..., None] + side[..., None] * fractions
    extent = extent[..., None]
    inside = (positions >= -1.0) & (positions <= tf.cast(extent, tf.float32))
    clamped = tf.clip_by_value(positions, 0.0, tf.cast(extent - 1, tf.float32))
    low = tf.cast(tf.floor(clamped), tf.int32)
    high = tf.minimum(low + 1, extent - 1)
    fraction = clamped - tf.cast(low, tf.float32)
    scale = tf.cast(inside, tf.float32) / config.sampling_ratio
    rows = tf.stack([low, high], axis=-1)
    weights = tf.stack([(1 - fraction) * scale, fraction * scale], axis=-1)
    shape = [*tf.unstack(tf.shape(first)), num_bins, 2 * config.sampling_ratio]
    return _Cells(tf.reshape(rows, shape), tf.reshape(weights, shape))


def _cells(
    pyramid: list[tf.Tensor], rois: tf.Tensor, num_bins: int, config: RoiAlignConfig
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Where every bin reads the table that `_table` makes.

    Returns:
      Rows of the table [B, R, S, T, S, T] int32, the weights of y [B, R, S, T] and of x [B, R, S, T].
    """
    heights = np.array([level.shape[1] for level in pyramid], np.int32)
    widths = np.array([level.shape[2] for level in pyramid], np.int32)
    starts = np.concatenate([[0], np.cumsum(heights * widths)]).astype(np.int32)
    level = levels_of(rois, _FINEST_LEVEL + len(pyramid) - 1) - _FINEST_LEVEL
    stride = tf.cast(2 ** (level + _FINEST_LEVEL), tf.float32)
    height, width = tf.gather(heights, level), tf.gather(widths, level)
    y = _axis_cells(rois[..., 0], rois[..., 2], stride, height, num_bins, config)
    x = _axis_cells(rois[..., 1], rois[..., 3], stride, width, num_bins, config)
    picture = tf.range(tf.shape(rois)[0])[:, None] * int(starts[-1])
    first = (picture + tf.gather(starts[:-1], level))[..., None, None]
    rows = (first + y.rows * width[..., None, None])[..., None, None] + x.rows[:, :, None, None]
    return rows, y.weights, x.weights


def _table(pyramid: list[tf.Tensor]) -> tf.Tensor:
    """Returns the cells of all pictures and levels, [B * cells, C]."""
    filters = pyramid[0].shape[-1]
    flat = [tf.reshape(level, [-1, level.shape[1] * level.shape[2], filters]) for level in pyramid]
    return tf.reshape(tf.concat(flat, axis=1), [-1, filters])


def _gathered(table: tf.Tensor, rows: tf.Tensor, y: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    """For XLA: reads every roi's S T x S T window and multiplies it with a matrix from both sides.

    The matrices are block diagonal ([S, S T]), which wastes multiplications that a matrix unit has, and leaves it dense
    products instead of sums over short axes.
    """
    batch, num_rois, bins, taps = tf.unstack(tf.shape(y))
    num_bins = y.shape[2]
    window = tf.reshape(tf.gather(table, rows), [batch, num_rois, bins * taps, bins * taps, table.shape[-1]])

    def matrix(weights: tf.Tensor) -> tf.Tensor:
        diagonal = tf.eye(num_bins)[:, :, None] * weights[:, :, None]
        return tf.cast(tf.reshape(diagonal, [batch, num_rois, bins, bins * taps]), table.dtype)

    narrowed = tf.einsum("brpi,brijc->brpjc", matrix(y), window)
    return tf.einsum("brqj,brpjc->brpqc", matrix(x), narrowed)


def _multiplied(table: tf.Tensor, rows: tf.Tensor, y: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    """Outside of XLA: one sparse matrix, [B R S S, B * cells], times the table.

    It never holds a roi's window in memory, and its gradient is the transposed product. (The gradient of
    `tf.image.crop_and_resize` loses updates on a CPU, because threads add to the same cell without a lock.)
    """
    batch, num_rois, bins, taps = tf.unstack(tf.shape(y))
    num_outputs, num_weights = batch * num_rois * bins * bins, taps * taps
    columns = tf.transpose(rows, [0, 1, 2, 4, 3, 5])
    weights = y[:, :, :, None, :, None] * x[:, :, None, :, None, :]
    indices = tf.stack([tf.repeat(tf.range(num_outputs), num_weights), tf.reshape(columns, [-1])], axis=-1)
    shape = tf.cast(tf.stack([num_outputs, tf.shape(table)[0]]), tf.int64)
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

    product = multiply(tf.cast(table, tf.float32))
    return tf.cast(tf.reshape(product, [batch, num_rois, bins, bins, table.shape[-1]]), table.dtype)


def roi_align(pyramid: list[tf.Tensor], rois: tf.Tensor, num_bins: int, config: RoiAlignConfig) -> tf.Tensor:
    """Cuts rois out of a pyramid, each from the level of its size.

    Args:
      pyramid: P2 to P5, [B, H / 2^l, W / 2^l, C].
      rois: [B, R, 4] pixels of the canvas; no gradient flows to them. R may be unknown outside of XLA.
      num_bins: S.
      config: samples and alignment.

    Returns:
      [B, R, S, S, C] in the features' type.
    """
    rows, y, x = _cells(pyramid, tf.stop_gradient(rois), num_bins, config)
    form = _gathered if compiles_with_xla() else _multiplied
    result = form(_table(pyramid), rows, y, x)
    return tf.ensure_shape(result, [rois.shape[0], rois.shape[1], num_bins, num_bins, pyramid[0].shape[-1]])
