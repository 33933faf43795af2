"""All forms of ROI align against cases worked by hand, without a compiler; test_compiled_forms.py compares them under XLA."""

import numpy as np
import pytest
import tensorflow as tf

from tpuseg.maskrcnn import config
from tpuseg.maskrcnn.cells import build_table
from tpuseg.maskrcnn.roi_align import lines, pooling
from tpuseg.maskrcnn.roi_align.samples import Pooling
from tpuseg.utils import device

FORMS = {
    "sparse": pooling._pool_by_sparse_matmul,
    "gathered": pooling._pool_by_gather,
    "lines": lambda cells, rois, num_bins, settings: lines.roi_align_by_lines(
        cells, rois, [Pooling(rois.shape[1], num_bins)], settings
    )[0],
}


@pytest.fixture(params=FORMS)
def form(request):
    return FORMS[request.param]


def pool(form, level, roi, num_bins, **settings):
    """Pools one roi of one level (stride 4) with one filter."""
    cells = build_table([tf.constant(level, tf.float32)[None, :, :, None]])
    found = form(cells, tf.constant([[roi]], tf.float32), num_bins, config.RoiAlignConfig(settings))
    return found[0, 0, :, :, 0].numpy().tolist()


GRID = [[0, 1], [2, 3]]


def test_a_roi_of_one_cell_is_that_cell(form):
    # A cell is 4 pixels; one sample at its centre.
    assert pool(form, GRID, [0, 4, 4, 8], 1, sampling_ratio=1) == [[1]]
    assert pool(form, GRID, [0, 0, 8, 8], 2, sampling_ratio=1) == [[0, 1], [2, 3]]


def test_samples_are_interpolated_between_four_cells(form):
    # The centre of the map lies between all four: (0 + 1 + 2 + 3) / 4.
    assert pool(form, GRID, [2, 2, 6, 6], 1, sampling_ratio=1) == [[1.5]]
    # A quarter of a cell below the first centre, half a cell right of it: 0.25 * 2 + 0.5 * 1.
    assert pool(form, GRID, [1, 2, 5, 6], 1, sampling_ratio=1) == [[1.0]]


def test_a_bin_is_the_mean_of_its_samples(form):
    # Two samples an axis at 1/4 and 3/4 of the roi: rows -0.25 (clipped to 0) and 0.25, columns alike: mean 0.125 + 0.25.
    assert pool(form, GRID, [0, 0, 4, 4], 1, sampling_ratio=2) == [[pytest.approx(0.125 * 2 + 0.125 * 1)]]


def test_samples_outside_of_the_map_take_the_borders_value_for_one_cell_and_are_0_beyond(form):
    ones = [[1, 1], [1, 1]]
    # Centres at -2 and -6 pixels: -1 cell and -2 cells from the first centre.
    assert pool(form, ones, [-4, 0, 0, 4], 1, sampling_ratio=1) == [[1]]
    assert pool(form, ones, [-8, 0, -4, 4], 1, sampling_ratio=1) == [[0]]
    assert pool(form, ones, [8, 0, 12, 4], 1, sampling_ratio=1) == [[1]]
    assert pool(form, ones, [9, 0, 13, 4], 1, sampling_ratio=1) == [[0]]
    # The same along x.
    assert pool(form, ones, [0, -8, 4, -4], 1, sampling_ratio=1) == [[0]]
    assert pool(form, ones, [0, 9, 4, 13], 1, sampling_ratio=1) == [[0]]


def test_rois_that_are_not_aligned_lie_half_a_cell_lower_and_are_at_least_one_cell_large(form):
    # The centre of (0, 0, 4, 4) is read at (0.5, 0.5) cells, in the middle of the four.
    assert pool(form, GRID, [0, 0, 4, 4], 1, sampling_ratio=1, aligned=False) == [[1.5]]
    assert pool(form, GRID, [0, 0, 1, 1], 1, sampling_ratio=1, aligned=False) == [[1.5]]
    assert pool(form, GRID, [0, 0, 1, 1], 1, sampling_ratio=1) == [[0]]


# Of 128 x 64 pixels: levels of 32 x 16, 16 x 8 and 8 x 4 cells.
GRIDS = [(32, 16), (16, 8), (8, 4)]


def ramps():
    """Two images with two filters; a cell is 1000 * level + 10 * y + x, 10,000 more in the second image, and its negative."""
    levels = []
    for level, (height, width) in enumerate(GRIDS, start=2):
        values = 1000.0 * level + 10 * np.arange(height)[:, None] + np.arange(width)
        levels.append(tf.constant(np.stack([values, values + 10_000])[..., None] * [1, -1], tf.float32))
    return levels


def test_each_roi_reads_its_own_image_and_level(form):
    # Sizes of 16 x 32 pixels (level 2), 128 x 128 (level 3) and 256 x 256 (level 4), all with their centres inside of the image.
    rois = [[16.0, 8, 32, 40], [0.0, 0, 128, 128], [-64.0, -96, 192, 160]]
    settings = config.RoiAlignConfig(sampling_ratio=1)
    found = form(build_table(ramps()), tf.constant([rois, rois[::-1]], tf.float32), 1, settings)
    assert found.shape == (2, 3, 1, 1, 2)
    # Centres in pixels: (24, 24), (64, 64), (64, 32). In cells: (5.5, 5.5), (7.5, 7.5 beyond the last: 7), (3.5, 1.5).
    first = [2000 + 55 + 5.5, 3000 + 75 + 7, 4000 + 35 + 1.5]
    np.testing.assert_allclose(found[0, :, 0, 0, 0], first, rtol=1e-6)
    np.testing.assert_allclose(found[1, :, 0, 0, 0], np.add(first[::-1], 10_000), rtol=1e-6)
    np.testing.assert_allclose(found[..., 1], -found[..., 0])


@pytest.mark.parametrize("sampling_ratio", [1, 2, 3])
def test_the_bins_of_a_ramp_are_its_values_at_their_centres(form, sampling_ratio):
    # Nine bins, which fill more than a tile of eight, 2 cells high and 1 cell wide, from the cell (2, 1) of level 2 on.
    found = form(
        build_table(ramps()), tf.constant([[[8.0, 4, 80, 40]]] * 2), 9, config.RoiAlignConfig(sampling_ratio=sampling_ratio)
    )
    y, x = np.mgrid[2.5:19:2, 1:10]
    np.testing.assert_allclose(found[0, 0, :, :, 0], 2000 + 10 * y + x, rtol=1e-6)
    np.testing.assert_allclose(found[1, 0, :, :, 1], -(12_000 + 10 * y + x), rtol=1e-6)


def test_the_gradient_of_a_roi_of_one_cell_goes_to_that_cell(form):
    levels = ramps()
    rois = tf.constant([[[4.0, 8, 8, 12]], [[0.0, 0, 4, 4]]])
    with tf.GradientTape() as tape:
        tape.watch(levels)
        found = form(build_table(levels), rois, 1, config.RoiAlignConfig(sampling_ratio=1))
        total = tf.reduce_sum(found * [[[[[1.0, 5.0]]]], [[[[2.0, 7.0]]]]])
    first, *others = tape.gradient(total, levels)
    expected = np.zeros([2, 32, 16, 2])
    expected[0, 1, 2] = [1, 5]
    expected[1, 0, 0] = [2, 7]
    np.testing.assert_allclose(first, expected)
    assert not any(tf.reduce_any(other != 0) for other in others)


def test_gradients_are_the_weights_of_what_was_read(form):
    # What is read is linear in the cells, so cells times their gradients are the result.
    levels = ramps()
    rois = tf.constant([[[16.0, 8, 32, 40], [0.0, 0, 128, 128]], [[-64.0, -96, 192, 160], [3.0, 5, 9, 60]]])
    factors = tf.constant(np.random.default_rng(0).normal(size=[2, 2, 3, 3, 2]), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(levels)
        total = tf.reduce_sum(factors * form(build_table(levels), rois, 3, config.RoiAlignConfig(sampling_ratio=2)))
    gradients = tape.gradient(total, levels)
    parts = [float(tf.reduce_sum(level * gradient)) for level, gradient in zip(levels, gradients, strict=True)]
    assert sum(parts) == pytest.approx(float(total), rel=1e-4) and 0 not in parts


def test_the_number_of_images_may_be_unknown_when_the_graph_is_built():
    rois = tf.constant([[[16.0, 8, 32, 40]], [[8.0, 4, 80, 40]]])
    settings = config.RoiAlignConfig(sampling_ratio=1)
    signature = [tf.TensorSpec([None, *level.shape[1:]]) for level in ramps()]

    # Without AutoGraph, which reads the source of the file, and not that of a mutant (tests/mutation.py).
    @tf.function(input_signature=[signature, tf.TensorSpec([None, 1, 4])], autograph=False)
    def gather(levels, rois):
        return pooling._pool_by_gather(build_table(levels), rois, 3, settings)

    expected = pooling._pool_by_gather(build_table(ramps()), rois, 3, settings)
    np.testing.assert_allclose(gather(ramps(), rois), expected, rtol=1e-6)


def test_several_heads_read_their_own_rois_and_bins():
    rois = tf.constant([[[16.0, 8, 32, 40], [0.0, 0, 128, 128], [8.0, 4, 80, 40]]] * 2)
    settings, poolings = config.RoiAlignConfig(sampling_ratio=2), [Pooling(3, 2), Pooling(1, 9), Pooling(2, 1)]
    cells = build_table(ramps())
    together = lines.roi_align_by_lines(cells, rois, poolings, settings)
    for found, one, plain in zip(together, poolings, pooling.roi_align_all(cells, rois, poolings, settings), strict=True):
        assert found.shape == plain.shape == (2, one.num_rois, one.num_bins, one.num_bins, 2)
        expected = pooling._pool_by_sparse_matmul(cells, rois[:, : one.num_rois], one.num_bins, settings)
        np.testing.assert_allclose(found, expected, rtol=1e-6)
        np.testing.assert_array_equal(plain, expected)


def test_the_gradients_of_several_heads_add_up():
    rois = tf.constant([[[16.0, 8, 32, 40], [0.0, 0, 128, 128]]] * 2)
    settings, poolings = config.RoiAlignConfig(sampling_ratio=1), [Pooling(2, 2), Pooling(1, 9)]
    random, levels, found = np.random.default_rng(1), ramps(), []
    factors = [tf.constant(random.normal(size=[2, one.num_rois, one.num_bins, one.num_bins, 2]), tf.float32) for one in poolings]
    for pool_all in (lines.roi_align_by_lines, pooling.roi_align_all):
        with tf.GradientTape() as tape:
            tape.watch(levels)
            pooled = pool_all(build_table(levels), rois, poolings, settings)
            total = tf.add_n([tf.reduce_sum(one * factor) for one, factor in zip(pooled, factors, strict=True)])
        found.append(tape.gradient(total, levels, unconnected_gradients="zero"))
    for mine, expected in zip(*found, strict=True):
        np.testing.assert_allclose(mine, expected, atol=1e-4)


def test_no_gradient_flows_to_the_rois_and_the_type_is_that_of_the_features():
    levels, rois = [tf.cast(level, tf.bfloat16) for level in ramps()], tf.constant([[[16.0, 8, 32, 40]]] * 2)
    with tf.GradientTape() as tape:
        tape.watch(rois)
        found = pooling.roi_align(build_table(levels), rois, 2, config.RoiAlignConfig())
        total = tf.reduce_sum(found)
    assert tape.gradient(total, rois) is None and found.dtype == tf.bfloat16


@pytest.mark.parametrize(
    ("xla", "tpu", "expected"),
    [(True, True, "lines"), (True, False, "gathered"), (False, True, "sparse"), (False, False, "sparse")],
)
def test_each_device_has_its_form(xla, tpu, expected, monkeypatch):
    used = []

    def record(name, form):
        return lambda *arguments: used.append(name) or form(*arguments)

    monkeypatch.setattr(pooling, "compiles_with_xla", lambda: xla)
    for name, kind in (("_pool_by_sparse_matmul", "sparse"), ("_pool_by_gather", "gathered"), ("roi_align_by_lines", "lines")):
        monkeypatch.setattr(pooling, name, record(kind, getattr(pooling, name)))
    with device.building_for_tpu(tpu):
        found = pooling.roi_align(build_table(ramps()), tf.constant([[[8.0, 4, 12, 8]]] * 2), 1, config.RoiAlignConfig())
    assert used == [expected] and found.shape == (2, 1, 1, 1, 2)
