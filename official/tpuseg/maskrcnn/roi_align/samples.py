"""Where ROI align (arXiv:1703.06870, section 3) samples the levels of a pyramid.

Every value of its result is a weighted sum of feature cells: a bin is the mean of `sampling_ratio` squared samples, and a sample is
interpolated between four cells. The weights are a product of one for the row and one for the column.

Shapes: B images, R rois, S bins a side, T = 2 * sampling_ratio cells a bin and axis.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tpuseg.maskrcnn.cells import FINEST_LEVEL, Cells
from tpuseg.maskrcnn.config import RoiAlignConfig
from tpuseg.ops import boxes as box_ops

# arXiv:1612.03144, equation 1: a roi of ImageNet's 224 pixels goes to level 4.
_CANONICAL_LEVEL, _CANONICAL_SIZE = 4, 224.0
# P6 is for the RPN alone.
_COARSEST_LEVEL = 5


class Pooling(NamedTuple):
    """What a head wants of rois.

    Attributes:
      num_rois: how many of them, the first ones; a scalar tensor where shapes may depend on data.
      num_bins: S.
    """

    num_rois: int | tf.Tensor
    num_bins: int


def coarsest_level(cells: Cells) -> int:
    """Returns the last level that rois are on."""
    return min(_COARSEST_LEVEL, FINEST_LEVEL + len(cells.grids) - 1)


def levels_of(rois: tf.Tensor, cells: Cells) -> tf.Tensor:
    """Assigns rois to levels: floor(4 + log2(sqrt(area) / 224)), within 2 and 5, or the coarsest that there is.

    Args:
      rois: [..., 4] pixels.
      cells: the pyramid.

    Returns:
      [...] int32.
    """
    size = tf.sqrt(box_ops.areas(rois))
    # As the references do, so that 112 pixels, which are exactly level 3, do not fall to level 2 by rounding.
    exact = _CANONICAL_LEVEL + tf.math.log(size / _CANONICAL_SIZE + 1e-8) / np.float32(np.log(2)) + 1e-6
    return tf.clip_by_value(tf.cast(tf.floor(exact), tf.int32), FINEST_LEVEL, coarsest_level(cells))


class Axis(NamedTuple):
    """An axis of rois, each on its level; all of one shape.

    Attributes:
      start: where the roi begins, float32 cells from the centre of the first one.
      side: its length in cells.
      extent: int32 cells of the level.
    """

    start: tf.Tensor
    side: tf.Tensor
    extent: tf.Tensor

    def spread(self, like: np.ndarray) -> "Axis":
        """Returns an axis of [B, R] as one that goes with [B, R, *like.shape]."""
        return Axis(*(spread(values, like) for values in self))


def axes(cells: Cells, rois: tf.Tensor, level: tf.Tensor, config: RoiAlignConfig) -> tuple[Axis, Axis]:
    """Returns the y and the x axis of [..., 4] rois, each [...]."""
    stride = tf.cast(2**level, tf.float32)
    y0, x0, y1, x1 = tf.unstack(rois, axis=-1)

    def axis(first: tf.Tensor, last: tf.Tensor, extent: tf.Tensor) -> Axis:
        start, side = first / stride, (last - first) / stride
        return Axis(start - 0.5, side, extent) if config.aligned else Axis(start, tf.maximum(side, 1.0), extent)

    height, width = cells.extents(level)
    return axis(y0, y1, height), axis(x0, x1, width)


def spread(values: tf.Tensor, like: np.ndarray) -> tf.Tensor:
    """Returns [B, R] as [B, R, 1, ...], to go with [B, R, *like.shape]."""
    return tf.reshape(values, tf.concat([tf.shape(values), [1] * like.ndim], axis=0))


def positions_of(axis: Axis, samples: tf.Tensor | np.ndarray, num_bins: int, config: RoiAlignConfig) -> tuple[tf.Tensor, tf.Tensor]:
    """Where samples lie, and what each counts.

    They lie evenly: at (k + 0.5) / (bins * ratio) of the roi's side. A sample up to one cell outside of the map takes the border's
    value, one farther away is 0.

    Args:
      axis: of the rois.
      samples: numbers of samples, from 0 to S * sampling_ratio - 1; an array or a tensor that goes with the axis' shape.
      num_bins: S.
      config: how many samples.

    Returns:
      Positions between the centres of the first and the last cell, and shares, float32, of the shape of both together.
    """
    places = (tf.cast(samples, tf.float32) + 0.5) / (num_bins * config.sampling_ratio)
    positions = axis.start + axis.side * places
    extent = tf.cast(axis.extent, tf.float32)
    inside = (positions >= -1.0) & (positions <= extent)
    return tf.clip_by_value(positions, 0.0, extent - 1), tf.cast(inside, tf.float32) / config.sampling_ratio


def taps_of(axis: Axis, taps: tf.Tensor | np.ndarray, num_bins: int, config: RoiAlignConfig) -> tuple[tf.Tensor, tf.Tensor]:
    """Which cells of an axis are read, and with which weights.

    Args:
      axis: of the rois.
      taps: the cells asked for, numbered from 0 to S T - 1: those of the first bin, those of the second; see `positions_of`.
      num_bins: S.
      config: how many samples.

    Returns:
      Cells (int32) and weights (float32), of the shape of both together.
    """
    # Of the two cells around a sample, the first or the second.
    sample, second = taps // 2, tf.cast(taps % 2, tf.int32)
    positions, shares = positions_of(axis, sample, num_bins, config)
    low = tf.floor(positions)
    weights = tf.abs(tf.cast(1 - second, tf.float32) - (positions - low)) * shares
    return tf.minimum(tf.cast(low, tf.int32) + second, axis.extent - 1), weights
