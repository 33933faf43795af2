"""Images of objects."""

import numpy as np

from tpuseg.ops import masks
from tpuseg.visualization import instance_drawing


def test_mask_box_and_name_are_drawn_where_they_belong():
    image = np.full((250, 300, 3), 200, np.uint8)
    mask = np.zeros((250, 300), np.uint8)
    mask[60:80, 110:150] = 1
    drawn = instance_drawing.draw(image, np.array([[50.0, 100.0, 90.0, 160.0]]), [masks.encode(mask)], ["cat 0.9"], [0])
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
    enlarged = instance_drawing.draw(image, np.zeros((0, 4)), [], [], [])
    np.testing.assert_array_equal(enlarged, image.repeat(6, 0).repeat(6, 1))
    full = masks.encode(np.ones((40, 60)))
    boxes = np.array([[0, 0, 40, 60], [39.4, 59.4, 39.6, 59.6]])
    drawn = instance_drawing.draw(image, boxes, [full] * 2, ["a long name", "b"], [0, 1])
    assert drawn.shape == (240, 360, 3)


def test_an_object_smaller_than_its_name_is_not_hidden_by_it():
    image = np.full((300, 300, 3), 200, np.uint8)
    mask = np.zeros((300, 300), np.uint8)
    mask[100:108, 100:108] = 1
    box, runs = np.array([[100.0, 100.0, 108.0, 108.0]]), [masks.encode(mask)]
    drawn = instance_drawing.draw(image, box, runs, ["a name"], [0])
    assert (drawn[mask == 0] == 200).all() and drawn[104, 104].tolist() == [164, 100, 100]
    # Its class is below the image instead, with the number of objects.
    counted = instance_drawing.add_legend(drawn, [0], ["a name"])
    assert counted.shape[0] > 300 and (counted[300:] == [128, 0, 0]).all(-1).sum() > 50


def test_a_colour_is_that_of_the_class():
    image = np.full((300, 300, 3), 200, np.uint8)
    boxes = np.array([[10.0, 10.0, 60.0, 60.0], [110.0, 110.0, 160.0, 160.0], [210.0, 210.0, 260.0, 260.0]])
    runs = []
    for y0, x0, y1, x1 in boxes.astype(int):
        mask = np.zeros((300, 300), np.uint8)
        mask[y0:y1, x0:x1] = 1
        runs.append(masks.encode(mask))
    drawn = instance_drawing.draw(image, boxes, runs, ["", "", ""], [4, 1, 4])
    assert drawn[40, 40].tolist() == drawn[240, 240].tolist() != drawn[140, 140].tolist()
    alone = instance_drawing.draw(image, boxes[2:], runs[2:], [""], [4])
    np.testing.assert_array_equal(alone[205:265, 205:265], drawn[205:265, 205:265])
    # Two objects of one class that touch are told apart by their outlines, in the full colour.
    assert drawn[10, 40].tolist() == list(instance_drawing.color_of(4))
