"""Pictures of objects."""

import numpy as np

from tpuseg import masks, visualize_instances


def test_mask_box_and_name_are_drawn_where_they_belong():
    image = np.full((250, 300, 3), 200, np.uint8)
    mask = np.zeros((250, 300), np.uint8)
    mask[60:80, 110:150] = 1
    drawn = visualize_instances.draw(image, np.array([[50.0, 100.0, 90.0, 160.0]]), [masks.encode(mask)], ["cat 0.9"])
    # The first colour of the map is (128, 0, 0): half of it inside the mask, all of it on the box's outermost pixels.
    np.testing.assert_array_equal(drawn[65, 120], [164, 100, 100])
    for row, column in ((50, 159), (89, 100), (89, 159), (70, 100)):
        np.testing.assert_array_equal(drawn[row, column], [128, 0, 0])
    for row, column in ((55, 155), (90, 160), (20, 50), (49, 190)):
        np.testing.assert_array_equal(drawn[row, column], [200, 200, 200])
    # Bright letters on the box's colour, above it.
    name = drawn[34:50, 100:140].reshape(-1, 3)
    assert (name.min(1) > 220).any() and (name == [128, 0, 0]).all(1).mean() > 0.3


def test_nothing_and_names_at_the_border():
    image = np.random.default_rng(0).integers(0, 255, (40, 60, 3)).astype(np.uint8)
    enlarged = visualize_instances.draw(image, np.zeros((0, 4)), [], [])
    np.testing.assert_array_equal(enlarged, image.repeat(6, 0).repeat(6, 1))
    full = masks.encode(np.ones((40, 60)))
    drawn = visualize_instances.draw(image, np.array([[0, 0, 40, 60], [39.4, 59.4, 39.6, 59.6]]), [full] * 2, ["a long name", "b"])
    assert drawn.shape == (240, 360, 3)
