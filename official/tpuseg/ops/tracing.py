"""Whether shapes may depend on data.

XLA requires static shapes, so lists of boxes and masks are padded, and validity masks mark the real rows. Without XLA the padding
rows can be left out of the expensive layers: on a CPU most of the time of the mask head would be spent on rows that no loss uses.
"""

import tensorflow as tf

from tpuseg.utils import private_apis


def compiles_with_xla() -> bool:
    """Returns whether the function that is being traced will be compiled by XLA: on a TPU, or with `jit_compile=True`."""
    return not tf.executing_eagerly() and private_apis.is_in_xla_context()


def length(values: tf.Tensor, axis: int = 1) -> int | tf.Tensor:
    """Returns the size of an axis: a Python integer if it is static, otherwise a scalar tensor."""
    return tf.shape(values)[axis] if values.shape[axis] is None else int(values.shape[axis])


def num_rows(valid: tf.Tensor) -> int | tf.Tensor:
    """Returns the number of leading rows that contain all valid rows.

    Args:
      valid: [B, N] bool.

    Returns:
      N with XLA; otherwise a scalar: 1 + the last position at which any image has a valid row, at least 1.
    """
    if compiles_with_xla():
        return int(valid.shape[1])
    used = tf.reduce_any(valid, axis=0)
    return tf.maximum(tf.reduce_max(tf.where(used, tf.range(1, tf.shape(valid)[1] + 1), 0)), 1)


def pad_rows(rows: tf.Tensor, num_rows: int) -> tf.Tensor:
    """Returns `rows`, [B, n, ...], padded with zeros at the end to [B, N, ...] with a static N."""
    shape = rows.shape
    missing = num_rows - tf.shape(rows)[1]
    padded = tf.pad(rows, [(0, 0), (0, missing)] + [(0, 0)] * (shape.rank - 2))
    return tf.ensure_shape(padded, [shape[0], num_rows, *shape[2:]])
