"""Convolutions of an image with stride 2, in a form that is efficient on a TPU.

A TPU processes 128 channels at a time, and an image has only three. This module combines each 2 x 2 pixels into one cell with
twelve channels. The convolution with stride 2 then becomes one with stride 1 and the same sums, plus a few terms that are zero:

    pixels of one row    a b | c d | e f      a kernel of 3 taps with stride 2
    cells                 0     1     2       a kernel of 2 cells with stride 1, whose 4th tap is zero

Shapes: B images, H x W pixels, C channels, k the side of the kernel, F filters.
"""

import tensorflow as tf


def to_cells(pixels: tf.Tensor) -> tf.Tensor:
    """Returns [B, ceil(H / 2), ceil(W / 2), 4 C]: the pixels of each 2 x 2 cell, row by row; odd sizes are padded with zeros."""
    height, width = pixels.shape[1], pixels.shape[2]
    even = tf.pad(pixels, [(0, 0), (0, height % 2), (0, width % 2), (0, 0)]) if height % 2 or width % 2 else pixels
    # Four slices instead of `tf.nn.space_to_depth`, whose transposition makes the compiler copy the image twice.
    return tf.concat([even[:, row::2, column::2] for row in (0, 1) for column in (0, 1)], axis=-1)


def _along_axis(size: int, kernel_size: int, before: int, size_out: int) -> tuple[int, tuple[int, int], tuple[int, int]]:
    """Returns the kernel size in cells, the zeros before and after the kernel's taps, and the padding in cells before and after."""
    cells_before = -(-before // 2)
    front = 2 * cells_before - before
    taps = -(-(front + kernel_size) // 2)
    behind = size_out - (-(-size // 2)) - cells_before + taps - 1
    return taps, (front, 2 * taps - kernel_size - front), (cells_before, behind)


def conv_of_stride_2(pixels: tf.Tensor, kernel: tf.Tensor, before: tuple[int, int], size_out: tuple[int, int]) -> tf.Tensor:
    """Convolves with stride 2.

    Args:
      pixels: [B, H, W, C] with static H and W.
      kernel: [k, k, C, F].
      before: rows of zero padding above the image and columns of zero padding to its left.
      size_out: height and width of the output.

    Returns:
      [B, *size_out, F].
    """
    channels, filters = kernel.shape[2], kernel.shape[3]
    axes = [
        _along_axis(pixels.shape[axis + 1], kernel.shape[axis], before[axis], size_out[axis]) for axis in (0, 1)
    ]
    (rows, row_zeros, row_padding), (columns, column_zeros, column_padding) = axes
    padded = tf.pad(kernel, [row_zeros, column_zeros, (0, 0), (0, 0)])
    split = tf.transpose(tf.reshape(padded, [rows, 2, columns, 2, channels, filters]), [0, 2, 1, 3, 4, 5])
    cell_kernel = tf.reshape(split, [rows, columns, 4 * channels, filters])
    return tf.nn.conv2d(to_cells(pixels), cell_kernel, 1, [(0, 0), row_padding, column_padding, (0, 0)])
