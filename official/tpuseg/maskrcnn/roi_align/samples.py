"""The positions at which ROI align (arXiv:1703.06870, section 3) samples the levels of the FPN.

Every output value is a weighted sum of feature cells: a bin is the mean of `sampling_ratio` squared samples, and a sample is
interpolated between four cells. Each weight is the product of a weight for the row and one for the column, so the two axes can be
treated separately. A tap is one of the two cells that a sample reads along an axis. For a roi that starts at 0.5, counted in cells
from the centre of the first cell, and is 4 cells long, with one bin and `sampling_ratio` 2:

    centres of cells    0    1    2    3    4    5
    roi                   [-------------------]
    samples                    x         x            at 1.5 and 3.5, with the weight 1/2 each
    taps                     1   2     3   4          with the weight 1/4 each

Shapes: B images, R rois, S bins along a side, T = 2 * sampling_ratio taps per bin and axis.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tpuseg.maskrcnn.cells import FINEST_LEVEL, Cells
from tpuseg.maskrcnn.config import RoiAlignConfig
from tpuseg.ops import boxes as box_ops

# arXiv:1612.03144, equation 1: a roi of ImageNet's 224 pixels goes to level 4.
_CANONICAL_LEVEL, _CANONICAL_SIZE = 4, 224.0
# P6 is only for the RPN.
_COARSEST_LEVEL = 5


class Pooling(NamedTuple):
    """The pooling that a head needs.

    Attributes:
      num_rois: the head uses this many of the first rois; a scalar tensor if shapes may depend on data.
      num_bins: S.
    """

    num_rois: int | tf.Tensor
    num_bins: int


def coarsest_level(cells: Cells) -> int:
    """Returns the coarsest level that rois are assigned to."""
    return min(_COARSEST_LEVEL, FINEST_LEVEL + len(cells.grids) - 1)


def assign_levels(rois: tf.Tensor, cells: Cells) -> tf.Tensor:
    """Assigns rois to levels: floor(4 + log2(sqrt(area) / 224)), at least 2 and at most 5 or the coarsest level of the FPN.

    Args:
      rois: [..., 4] boxes in pixels.
      cells: the levels of the FPN.

    Returns:
      [...] int32 levels, 2 for P2.
    """
    size = tf.sqrt(box_ops.areas(rois))
    # The constants are those of detectron2 and torchvision: 112 pixels, exactly level 3, must not be rounded to level 2.
    exact = _CANONICAL_LEVEL + tf.math.log(size / _CANONICAL_SIZE + 1e-8) / np.float32(np.log(2)) + 1e-6
    return tf.clip_by_value(tf.cast(tf.floor(exact), tf.int32), FINEST_LEVEL, coarsest_level(cells))


class Axis(NamedTuple):
    """One axis of rois, in cells of the level of each roi; all tensors have the same shape.

    Attributes:
      start: float32 start of the roi, in cells from the centre of the first cell.
      side: float32 length of the roi in cells.
      extent: int32 number of cells of the level.
    """

    start: tf.Tensor
    side: tf.Tensor
    extent: tf.Tensor

    def spread(self, like: np.ndarray) -> "Axis":
        """Reshapes [B, R] tensors so that they broadcast with [B, R, *like.shape]."""
        return Axis(*(spread(values, like) for values in self))


def axes(cells: Cells, rois: tf.Tensor, level: tf.Tensor, config: RoiAlignConfig) -> tuple[Axis, Axis]:
    """Returns the y and x axes of rois [..., 4], each with tensors of shape [...]."""
    stride = tf.cast(2**level, tf.float32)
    y0, x0, y1, x1 = tf.unstack(rois, axis=-1)

    def axis(first: tf.Tensor, last: tf.Tensor, extent: tf.Tensor) -> Axis:
        start, side = first / stride, (last - first) / stride
        return Axis(start - 0.5, side, extent) if config.aligned else Axis(start, tf.maximum(side, 1.0), extent)

    height, width = cells.extents(level)
    return axis(y0, y1, height), axis(x0, x1, width)


def spread(values: tf.Tensor, like: np.ndarray) -> tf.Tensor:
    """Reshapes [B, R] to [B, R, 1, ...], which broadcasts with [B, R, *like.shape]."""
    return tf.reshape(values, tf.concat([tf.shape(values), [1] * like.ndim], axis=0))


def sample_positions(
    axis: Axis, samples: tf.Tensor | np.ndarray, num_bins: int, config: RoiAlignConfig
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the positions and weights of samples along an axis.

    Sample k is at the fraction (k + 0.5) / (S * sampling_ratio) of the roi's side. A sample up to one cell outside of the feature
    map has the value at the border, and one farther away is 0.

    Args:
      axis: one axis of the rois.
      samples: sample numbers, 0 to S * sampling_ratio - 1; an array or a tensor that broadcasts with the axis.
      num_bins: S.
      config: `sampling_ratio` is used.

    Returns:
      Positions, clipped to the centres of the first and last cell, and weights; both float32 with the broadcast shape.
    """
    places = (tf.cast(samples, tf.float32) + 0.5) / (num_bins * config.sampling_ratio)
    positions = axis.start + axis.side * places
    extent = tf.cast(axis.extent, tf.float32)
    inside = (positions >= -1.0) & (positions <= extent)
    return tf.clip_by_value(positions, 0.0, extent - 1), tf.cast(inside, tf.float32) / config.sampling_ratio


def compute_taps(axis: Axis, taps: tf.Tensor | np.ndarray, num_bins: int, config: RoiAlignConfig) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the cells and weights of taps along an axis.

    Args:
      axis: one axis of the rois.
      taps: tap numbers, 0 to S T - 1: the T taps of the first bin, those of the second bin, and so on; an array or a tensor that
        broadcasts with the axis.
      num_bins: S.
      config: `sampling_ratio` is used.

    Returns:
      Cells (int32) and weights (float32), with the broadcast shape.
    """
    # The two taps of a sample are the cells before and after it.
    sample, second = taps // 2, tf.cast(taps % 2, tf.int32)
    positions, shares = sample_positions(axis, sample, num_bins, config)
    low = tf.floor(positions)
    weights = tf.abs(tf.cast(1 - second, tf.float32) - (positions - low)) * shares
    return tf.minimum(tf.cast(low, tf.int32) + second, axis.extent - 1), weights
