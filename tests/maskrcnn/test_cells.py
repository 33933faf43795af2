"""The table of a pyramid's cells, against numbers worked by hand; test_compiled_forms.py has what reads it, under XLA."""

import numpy as np
import tensorflow as tf

from tpuseg.maskrcnn.cells import Cells, build_table

# Levels of 2 x 3, 2 x 2 and 1 x 1 cells: 11 cells an image, which fill four lines of three.
GRIDS = [(2, 3), (2, 2), (1, 1)]


def levels():
    """Two images; a level's cells count up from its number times 10, in the second image from 100 more."""
    starts = [[10 * number, 10 * number + 100] for number in range(3)]
    return [
        tf.constant([np.arange(h * w).reshape(h, w, 1) + start for start in own], tf.float32)
        for own, (h, w) in zip(starts, GRIDS, strict=True)
    ]


def test_the_levels_of_an_image_are_behind_each_other_and_fill_whole_lines():
    cells = build_table(levels())
    assert (cells.line, cells.num_lines) == (3, 4)
    first = [0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 20, 0]
    np.testing.assert_array_equal(cells.table[:, 0], [*first, *(value + 100 for value in first[:-1]), 0])


def test_the_example_in_the_docstring():
    cells = build_table([tf.reshape(tf.range(1.0, 9.0), [2, 2, 2, 1]), tf.constant([[[[10.0]]], [[[20.0]]]])])
    assert (cells.line, cells.num_lines) == (2, 3)
    assert cells.table[:, 0].numpy().tolist() == [1, 2, 3, 4, 10, 0, 5, 6, 7, 8, 20, 0]
    assert cells.first_rows(tf.constant([[3], [3]])).numpy().tolist() == [[4], [10]]
    assert cells.level_at(tf.range(5)).numpy().tolist() == [2, 2, 2, 2, 3]


def test_a_pyramid_that_fills_its_lines_gets_no_more():
    cells = build_table([tf.ones([2, 2, 4, 5]), tf.ones([2, 1, 4, 5])])
    assert cells.num_lines == 3 and cells.table.shape == (24, 5) and bool(tf.reduce_all(cells.table == 1))
    assert build_table([tf.ones([1, 2, 4, 5])]).table.shape == (8, 5)


def test_sizes_and_places_of_levels():
    cells = build_table(levels())
    height, width = cells.extents(tf.constant([2, 3, 4]))
    assert height.numpy().tolist() == [2, 2, 1] and width.numpy().tolist() == [3, 2, 1]
    np.testing.assert_array_equal(cells.starts(tf.constant([2, 3, 4])), [0, 6, 10])
    # An image's rows are 12.
    np.testing.assert_array_equal(cells.first_rows(tf.constant([[2, 3, 4]] * 2)), [[0, 6, 10], [12, 18, 22]])


def test_the_level_of_a_cell():
    np.testing.assert_array_equal(build_table(levels()).level_at(tf.constant([[0, 5, 6], [9, 10, 0]])), [[2, 2, 3], [3, 4, 2]])


def test_the_gradients_of_all_readers_add_up_at_each_cell():
    pyramid = levels()
    with tf.GradientTape() as tape:
        tape.watch(pyramid)
        cells = build_table(pyramid)
        first, second = cells.read(tf.constant([[4, 4], [6, 22]])), cells.read(tf.constant([4]))
        total = tf.reduce_sum(first[..., 0] * [[1.0, 2], [4, 8]]) + 16 * tf.reduce_sum(second)
    np.testing.assert_array_equal(first[..., 0], [[4, 4], [10, 120]])
    gradients = tape.gradient(total, pyramid)
    # Cell 4 of the finest level three times; the first cell of the next one; the last cell of the second image.
    np.testing.assert_array_equal(gradients[0][0, :, :, 0], [[0, 0, 0], [0, 1 + 2 + 16, 0]])
    np.testing.assert_array_equal(gradients[1][0, :, :, 0], [[4, 0], [0, 0]])
    assert gradients[2][:, 0, 0, 0].numpy().tolist() == [0, 8]
    assert not gradients[0][1].numpy().any() and not gradients[1][1].numpy().any()


def test_a_reader_of_several_values_gets_the_gradients_of_all_and_that_of_the_table():
    table = tf.constant([[1.0], [2.0]])
    with tf.GradientTape() as tape:
        tape.watch(table)
        cells = Cells(table, [(1, 2)])
        values = cells.with_custom_gradient(
            lambda values: [2 * values, 3 * values, 4 * values],
            lambda of_table, upstream: of_table + 2 * upstream[0] + 3 * upstream[1] + 4 * upstream[2],
        )
        total = tf.reduce_sum(values[0]) + 10 * tf.reduce_sum(values[1]) + 100 * tf.reduce_sum(values[2])
        total += 1000 * tf.reduce_sum(cells.table)
    assert [value[1, 0].numpy() for value in values] == [4, 6, 8]
    np.testing.assert_array_equal(tape.gradient(total, table), [[2 + 30 + 400 + 1000]] * 2)
