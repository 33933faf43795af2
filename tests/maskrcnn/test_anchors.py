"""Anchors against corners worked by hand."""

import numpy as np

from tpuseg.maskrcnn import anchors, config


def settings(**values):
    return config.AnchorConfig({"sizes": [32.0, 64.0, 128.0, 256.0, 512.0], "aspect_ratios": [1.0], **values})


def test_an_aspect_ratio_is_height_over_width_and_keeps_the_area():
    found = anchors.cell_anchors(16.0, settings(aspect_ratios=[0.25, 1.0, 4.0]))
    # 16 * 16 pixels as 8 x 32, 16 x 16 and 32 x 8.
    np.testing.assert_allclose(found, [[-4, -16, 4, 16], [-8, -8, 8, 8], [-16, -4, 16, 4]], rtol=1e-6)


def test_corners_are_rounded_half_to_even_only_where_asked():
    np.testing.assert_allclose(anchors.cell_anchors(5.0, settings()), [[-2.5, -2.5, 2.5, 2.5]])
    np.testing.assert_array_equal(anchors.cell_anchors(5.0, settings(rounded=True)), [[-2, -2, 2, 2]])
    np.testing.assert_array_equal(anchors.cell_anchors(7.0, settings(rounded=True)), [[-4, -4, 4, 4]])


def test_a_level_has_its_size_and_stride_row_by_row():
    # Level 3: stride 8, size 64.
    np.testing.assert_allclose(
        anchors.level_anchors(3, (2, 2), settings()),
        [[-32, -32, 32, 32], [-32, -24, 32, 40], [-24, -32, 40, 32], [-24, -24, 40, 40]],
    )


def test_the_offset_is_counted_in_strides():
    # Level 2: stride 4, size 32; half a stride is 2 pixels.
    np.testing.assert_allclose(
        anchors.level_anchors(2, (1, 2), settings(offset=0.5)), [[-14, -14, 18, 18], [-14, -10, 18, 22]]
    )


def test_the_shapes_of_a_cell_are_next_to_each_other():
    found = anchors.level_anchors(2, (1, 2), settings(aspect_ratios=[0.25, 4.0]))
    np.testing.assert_allclose(found, [[-8, -32, 8, 32], [-32, -8, 32, 8], [-8, -28, 8, 36], [-32, -4, 32, 12]], rtol=1e-6)
    assert found.dtype == np.float32


def test_each_level_has_its_own_size():
    found = [anchors.level_anchors(level, (1, 1), settings())[0].tolist() for level in anchors.LEVELS]
    assert found == [[-half, -half, half, half] for half in (16, 32, 64, 128, 256)]
