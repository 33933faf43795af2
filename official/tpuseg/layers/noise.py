"""Random numbers as a hash of a counter and a key: fast on every device, and reproducible in a resumed run.

TensorFlow's stateless generators take one seed per call, so the random numbers of an image would depend on its index on its
replica, and on a TPU they take more cycles than the layer that uses them. The hashes are suitable for sampling and dropout, but not
for cryptography.
"""

import tensorflow as tf


def mix(bits: tf.Tensor) -> tf.Tensor:
    """Mixes the bits of uint32 numbers, so that every bit depends on all others (the last step of MurmurHash3)."""
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        bits = tf.bitwise.bitwise_xor(bits, tf.bitwise.right_shift(bits, tf.constant(shift, tf.uint32)))
        bits *= tf.constant(factor, tf.uint32)
    return tf.bitwise.bitwise_xor(bits, tf.bitwise.right_shift(bits, tf.constant(16, tf.uint32)))


def key_of(*seeds: tf.Tensor | int) -> tf.Tensor:
    """Combines several integers into one uint32 key, elementwise."""
    key = tf.constant(0, tf.uint32)
    for seed in seeds:
        key = mix(key + tf.cast(seed, tf.uint32))
    return key


def uniform(counters: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
    """Returns uniformly distributed numbers.

    Args:
      counters: integers of any shape; each gives one number.
      key: uint32, broadcast against the counters.

    Returns:
      float32 in 0..1 (1 excluded), of the broadcast shape.
    """
    spaced = tf.cast(counters, tf.uint32) * tf.constant(0x9E3779B9, tf.uint32)
    bits = mix(mix(spaced + key) + key)
    # A float32 represents 24 bits exactly.
    top = tf.cast(tf.bitwise.right_shift(bits, tf.constant(8, tf.uint32)), tf.int32)
    return tf.cast(top, tf.float32) * 2.0**-24
