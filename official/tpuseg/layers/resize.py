"""Bilinear resizing as two matrix multiplications.

They run on the matrix unit of a TPU, whereas TensorFlow's resize, and especially its gradient, uses gather operations, which are
slow there. Sizes are static, so the matrices are constants.
"""

import numpy as np
import tensorflow as tf


def sampling_matrix(positions: np.ndarray, size_in: int) -> np.ndarray:
    """Returns the matrix that interpolates a vector of values linearly.

    Args:
      positions: [P] float, in pixels of the input: 0 is the centre of its first pixel. Positions outside are clamped.
      size_in: number of input pixels N.

    Returns:
      [P, N] float32; each row adds up to 1.
    """
    clamped = np.clip(np.asarray(positions, np.float64), 0, size_in - 1)
    low = np.minimum(np.floor(clamped).astype(np.int64), max(size_in - 2, 0))
    fraction = clamped - low
    rows = np.arange(len(clamped))
    matrix = np.zeros((len(clamped), size_in), np.float64)
    matrix[rows, low] = 1 - fraction
    matrix[rows, np.minimum(low + 1, size_in - 1)] += fraction
    return matrix.astype(np.float32)


def to_input_positions(positions: np.ndarray, size_in: int, size_out: int) -> np.ndarray:
    """Maps pixel positions of an output of size `size_out` to positions of the input of size `size_in`.

    If the size is a multiple of the stride s plus one (129 features of 513 pixels), the features of `same` convolutions are centred
    on every s-th pixel from the first to the last one, so corners are aligned. Otherwise pixels are areas with half-pixel centres.
    """
    positions = np.asarray(positions, np.float64)
    if size_in > 1 and size_out % 2 == 1 and (size_out - 1) % (size_in - 1) == 0:
        return positions * (size_in - 1) / (size_out - 1)
    return (positions + 0.5) * size_in / size_out - 0.5


def resize_matrix(size_in: int, size_out: int) -> np.ndarray:
    """Returns the [size_out, size_in] float32 matrix that resizes one axis."""
    return sampling_matrix(to_input_positions(np.arange(size_out), size_in, size_out), size_in)


def bilinear_resize(features: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """Resizes features bilinearly, in their own dtype.

    Args:
      features: [B, h, w, C] with static h and w.
      size: (H, W) of the output; see `to_input_positions` for the alignment.

    Returns:
      [B, H, W, C].
    """
    height, width = features.shape[1], features.shape[2]
    if (height, width) == tuple(size):
        return features
    rows = tf.constant(resize_matrix(height, size[0]), features.dtype)
    columns = tf.constant(resize_matrix(width, size[1]), features.dtype)
    # Columns are resized first, because the intermediate result is smaller.
    widened = tf.einsum("Ww,bhwc->bhWc", columns, features)
    return tf.einsum("Hh,bhWc->bHWc", rows, widened)
