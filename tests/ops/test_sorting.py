"""Numbers and their rows in one sort."""

import numpy as np
import pytest
import tensorflow as tf

from tpuseg.ops.sorting import sort_with_rows


@pytest.mark.parametrize("jit_compile", [False, True], ids=["plain", "XLA"])
def test_numbers_and_rows_are_those_of_a_stable_sort(jit_compile):
    keys = np.random.default_rng(0).integers(0, 20, size=(3, 500), endpoint=True).astype(np.int32)
    found, rows = tf.function(lambda keys: sort_with_rows(keys, most=20), jit_compile=jit_compile)(tf.constant(keys))
    np.testing.assert_array_equal(rows, np.argsort(keys, axis=-1, kind="stable"))
    np.testing.assert_array_equal(found, np.sort(keys, axis=-1))


def test_the_largest_keys_that_go_into_an_int32_together_with_rows():
    keys = tf.constant([[2**28 - 2, 0, 2**28 - 2] + [1] * 5])
    found, rows = sort_with_rows(keys, most=2**28 - 2)
    np.testing.assert_array_equal(found[0, -2:], [2**28 - 2] * 2)
    np.testing.assert_array_equal(rows[0, -2:], [0, 2])
    with pytest.raises(ValueError, match="keys up to 268435455 and 8 rows"):
        sort_with_rows(keys, most=2**28 - 1)
