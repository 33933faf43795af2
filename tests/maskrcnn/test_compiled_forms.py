"""What reads the cells of a pyramid, in the forms for each device, beside the same computed for all cells."""

import numpy as np
import pytest
import tensorflow as tf

from tpuseg.maskrcnn import config
from tpuseg.maskrcnn.cells import build_table
from tpuseg.maskrcnn.roi_align import pooling
from tpuseg.maskrcnn.roi_align.samples import Pooling
from tpuseg.maskrcnn.rpn import RpnHead
from tpuseg.utils import device

# P2 to P6 of a 128 x 192 canvas; the last one has an odd side.
_GRIDS = [(32, 48), (16, 24), (8, 12), (4, 6), (2, 3)]


@pytest.fixture(scope="module")
def pyramid():
    random = np.random.default_rng(0)
    return [tf.constant(random.normal(size=(2, *grid, 4)), tf.float32) for grid in _GRIDS]


def with_gradients(function, pyramid, variables, jit_compile, for_tpu=False):
    @tf.function(jit_compile=jit_compile)
    def run(pyramid):
        with tf.GradientTape() as tape:
            tape.watch(pyramid)
            results = function(pyramid)
            total = tf.add_n([tf.reduce_sum(tf.sin(result)) for result in results])
        found = tape.gradient(total, [*pyramid, *variables], unconnected_gradients="zero")
        return [*results, *map(tf.convert_to_tensor, found)]

    with device.building_for_tpu(for_tpu):
        return [value.numpy() for value in run(pyramid)]


def check(found, expected):
    assert len(found) == len(expected)
    for left, right in zip(found, expected, strict=True):
        # A compiler rounds positions of up to 48 cells differently, by 4e-6 of a cell.
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=2e-5 * max(np.abs(right).max(), 1))


@pytest.mark.parametrize("jit_compile", [False, True])
def test_rpn_at_some_anchors_is_the_rpn_at_all(pyramid, jit_compile):
    head = RpnHead(config.RpnConfig(), 4)
    head(pyramid)
    total = 3 * sum(height * width for height, width in _GRIDS)
    # The first and last anchors of the image, of a row and of a level, and some twice.
    ends = np.cumsum([0] + [3 * height * width for height, width in _GRIDS])[1:-1]
    rows = np.array([[0, 1, 3 * 47 + 2, 3 * 48, *(ends - 1), *ends, total - 1, 77, 77], np.linspace(0, total - 1, 15)], np.int32)

    def everywhere(pyramid):
        objectness, deltas = head(pyramid)
        codes = [tf.reshape(level, [2, -1, 4]) for level in deltas]
        return [tf.gather(tf.concat(parts, axis=1), rows, batch_dims=1) for parts in (objectness, codes)]

    def sampled(pyramid):
        return head.score_anchors(build_table(pyramid), tf.constant(rows))

    variables = head.trainable_variables
    expected = with_gradients(everywhere, pyramid, variables, jit_compile=False)
    check(with_gradients(sampled, pyramid, variables, jit_compile), expected)


@pytest.mark.parametrize("for_tpu", [False, True])
@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("sampling_ratio", [1, 2])
@pytest.mark.parametrize("num_bins", [3, 14, 28])
def test_roi_align_for_a_compiler_is_the_one_for_a_cpu(pyramid, num_bins, sampling_ratio, aligned, for_tpu):
    settings = config.RoiAlignConfig(sampling_ratio=sampling_ratio, aligned=aligned)
    # Of all sizes, beyond the border, empty, and long.
    boxes = [[3, 5, 30, 40], [-9, -9, 140, 200], [50, 60, 50, 60], [0, 0, 128, 9.5], [100, 150, 127, 191], [7, 0, 16, 192]]
    rois = tf.constant([boxes, boxes[::-1]], tf.float32)

    def pooled(pyramid):
        return [pooling.roi_align(build_table(pyramid), rois, num_bins, settings)]

    check(with_gradients(pooled, pyramid, [], True, for_tpu), with_gradients(pooled, pyramid, [], False))


def test_roi_align_for_a_tpu_at_a_real_size():
    random = np.random.default_rng(1)
    corners = random.uniform(-20, 1100, [2, 200, 2, 2])
    # Half of them small.
    corners[:, ::2, 1] = corners[:, ::2, 0] + random.uniform(0, 120, [2, 100, 2])
    rois = tf.constant(np.sort(corners, axis=2).reshape([2, 200, 4]), tf.float32)
    # P6 is there too, and read by nobody; its cells fill a line of the table in part.
    grids = [(1024 >> level, 768 >> level) for level in range(2, 7)]
    large = [tf.constant(random.normal(size=(2, *grid, 2)), tf.float32) for grid in grids]

    def pooled(pyramid):
        return [pooling.roi_align(build_table(pyramid), rois, 14, config.RoiAlignConfig())]

    check(with_gradients(pooled, large, [], True, for_tpu=True), with_gradients(pooled, large, [], False))


@pytest.mark.parametrize("for_tpu", [False, True])
def test_heads_that_share_rois_get_what_each_would_alone(pyramid, for_tpu):
    random = np.random.default_rng(2)
    rois = tf.constant(np.sort(random.uniform(-9, 150, [2, 5, 2, 2]), axis=2).reshape([2, 5, 4]), tf.float32)
    settings = config.RoiAlignConfig()

    def together(pyramid):
        poolings = [Pooling(5, 7), Pooling(2, 14), Pooling(3, 4)]
        return pooling.roi_align_all(build_table(pyramid), rois, poolings, settings)

    def alone(pyramid):
        cells = build_table(pyramid)
        return [pooling.roi_align(cells, rois[:, :count], bins, settings) for count, bins in ((5, 7), (2, 14), (3, 4))]

    check(with_gradients(together, pyramid, [], True, for_tpu), with_gradients(alone, pyramid, [], False))


def test_readers_of_a_table_add_up(pyramid):
    rows = [tf.constant([[3, 3], [500, 7]]), tf.constant([3, 0, 11])]

    def read(pyramid, gather):
        cells = build_table(pyramid)
        return [gather(cells, part) for part in rows]

    expected = with_gradients(lambda levels: read(levels, lambda cells, part: tf.gather(cells.table, part)), pyramid, [], True)
    check(with_gradients(lambda levels: read(levels, lambda cells, part: cells.read(part)), pyramid, [], True), expected)
