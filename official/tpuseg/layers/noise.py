"""Random numbers that are a function of their place: cheap on every device, and the same again in a run that starts anew.

TensorFlow's stateless generators take one seed a call, which would tie an image's numbers to its place on its replica, and a TPU
spends more cycles on their rounds than on the layer around them. These are hashes of counters: fit for sampling and dropout, not
for cryptography.
"""

import tensorflow as tf


def mix(bits: tf.Tensor) -> tf.Tensor:
    """Spreads every bit of uint32 numbers over all others (the last step of MurmurHash3)."""
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        bits = tf.bitwise.bitwise_xor(bits, tf.bitwise.right_shift(bits, tf.constant(shift, tf.uint32)))
        bits *= tf.constant(factor, tf.uint32)
    return tf.bitwise.bitwise_xor(bits, tf.bitwise.right_shift(bits, tf.constant(16, tf.uint32)))


def key_of(*seeds: tf.Tensor | int) -> tf.Tensor:
    """Returns one uint32 that depends on all of some integers, elementwise."""
    key = tf.constant(0, tf.uint32)
    for seed in seeds:
        key = mix(key + tf.cast(seed, tf.uint32))
    return key


def uniform(counters: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
    """Returns float32 numbers in 0..1 (1 excluded) for integer counters; keys are uint32 that go with their shape."""
    spaced = tf.cast(counters, tf.uint32) * tf.constant(0x9E3779B9, tf.uint32)
    bits = mix(mix(spaced + key) + key)
    # 24 bits are what a float32 holds exactly.
    top = tf.cast(tf.bitwise.right_shift(bits, tf.constant(8, tf.uint32)), tf.int32)
    return tf.cast(top, tf.float32) * 2.0**-24
