"""Hashes of counters as random numbers."""

import numpy as np
import tensorflow as tf

from tpuseg.layers import noise


def test_mix_is_murmurhash3s_last_step():
    # Its published finalizer, in Python's integers.
    def expected(bits):
        for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
            bits = (bits ^ bits >> shift) * factor % 2**32
        return bits ^ bits >> 16

    numbers = [0, 1, 2, 12345, 2**31, 2**32 - 1]
    np.testing.assert_array_equal(noise.mix(tf.constant(numbers, tf.uint32)), [expected(number) for number in numbers])
    assert expected(1) == 0x514E28B7


def test_uniform_is_uniform_and_differs_by_key():
    counters = tf.range(100_000)
    keys = [noise.key_of(step, seed) for step in (0, 1, 2) for seed in (0, 7)]
    drawn = np.stack([noise.uniform(counters, key) for key in keys])
    assert drawn.min() >= 0 and drawn.max() < 1
    for row in drawn:
        counts, _ = np.histogram(row, bins=20, range=(0, 1))
        # 5000 a bin, with a deviation of 69.
        assert np.abs(counts - 5000).max() < 350
    # Neither keys nor neighbours know of each other: correlations have a deviation of 0.003.
    correlations = np.corrcoef(drawn) - np.eye(len(keys))
    assert np.abs(correlations).max() < 0.015
    for row in drawn:
        assert abs(np.corrcoef(row[1:], row[:-1])[0, 1]) < 0.015
