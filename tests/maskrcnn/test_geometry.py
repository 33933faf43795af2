"""Rotation and mirroring of images, boxes and masks, against cases worked by hand."""

import math

import numpy as np
import pytest
import tensorflow as tf
from instance_examples import HEIGHT, WIDTH, example, object_of, record_of, settings

from tpuseg.maskrcnn import geometry, inputs
from tpuseg.ops import masks

SIDE = 56


def objects(boxes, shown=None, is_crowd=None):
    """Objects with the given masks, which are full if there are none."""
    count = len(boxes)
    return {
        "boxes": tf.constant(boxes, tf.float32),
        "classes": tf.range(count),
        "is_crowd": tf.constant([False] * count if is_crowd is None else is_crowd),
        "masks": tf.constant(np.full((count, SIDE, SIDE), 255) if shown is None else shown, tf.uint8),
    }


# An image of 4 x 6 pixels with one bright one in row 1, column 4, and the object on it.
IMAGE = np.zeros((4, 6, 3), np.uint8)
IMAGE[1, 4] = 255
BOX = [[1, 4, 2, 5]]
# The upper half of a frame, and the left one.
UPPER, LEFT = (np.zeros((1, SIDE, SIDE), np.uint8) for _ in range(2))
UPPER[:, : SIDE // 2], LEFT[:, :, : SIDE // 2] = 255, 255


def test_mirror_is_left_to_right():
    image, made = geometry.mirror(tf.constant(IMAGE), objects(BOX, LEFT))
    assert image.numpy()[1, 1, 0] == 255 and image.numpy().sum() == 3 * 255
    np.testing.assert_array_equal(made["boxes"], [[1, 1, 2, 2]])
    np.testing.assert_array_equal(made["masks"], 255 - LEFT)


def test_flip_is_top_to_bottom():
    image, made = geometry.flip(tf.constant(IMAGE), objects(BOX, UPPER))
    assert image.numpy()[2, 4, 0] == 255 and image.numpy().sum() == 3 * 255
    np.testing.assert_array_equal(made["boxes"], [[2, 4, 3, 5]])
    np.testing.assert_array_equal(made["masks"], 255 - UPPER)


@pytest.mark.parametrize(
    ("turns", "size", "box"),
    [(0, (4, 6), [1, 4, 2, 5]), (1, (6, 4), [1, 1, 2, 2]), (2, (4, 6), [2, 1, 3, 2]), (3, (6, 4), [4, 2, 5, 3])],
)
def test_rotations_by_right_angles_are_counterclockwise(turns, size, box):
    rotated = np.rot90(IMAGE, turns)
    assert rotated.shape[:2] == size and rotated[box[0], box[1], 0] == 255
    assert geometry.rotate_size(tf.constant([4, 6]), tf.constant(turns)).numpy().tolist() == list(size)
    found = geometry.rotate_boxes(tf.constant([BOX[0], BOX[0]], tf.float32), tf.constant([4, 6]), tf.constant(turns))
    assert found.numpy().tolist() == [box, box]
    np.testing.assert_array_equal(geometry.rotate_masks(tf.constant(UPPER), tf.constant(turns)), np.rot90(UPPER, turns, (1, 2)))
    # A window of the rotated image, and the window of the original image with the same pixels.
    window = {"offset": tf.constant(box[:2]), "extent": tf.constant([1, 1])}
    source = geometry.rotate_window_back(window, tf.constant([4, 6]), tf.constant(turns))
    assert source["offset"].numpy().tolist() == [1, 4] and source["extent"].numpy().tolist() == [1, 1]


def test_a_window_of_a_rotated_image_has_the_pixels_of_a_window_of_the_original():
    values = np.arange(24).reshape(4, 6)
    for turns in range(4):
        rotated = np.rot90(values, turns)
        window = {"offset": tf.constant([1, 0]), "extent": tf.constant([2, 3])}
        source = geometry.rotate_window_back(window, tf.constant([4, 6]), tf.constant(turns))
        (top, left), (height, width) = source["offset"].numpy(), source["extent"].numpy()
        np.testing.assert_array_equal(np.rot90(values[top : top + height, left : left + width], turns), rotated[1:3, 0:3])


def test_rotation_by_90_degrees_is_that_of_numpy():
    image = np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype(np.uint8)
    given = objects([[4, 10, 12, 30]], UPPER)
    made_image, made = geometry.rotate(tf.constant(image), given, tf.constant(90.0))
    np.testing.assert_allclose(made_image.numpy().astype(int), np.rot90(image).astype(int), atol=1)
    # The upper half of the box, [4, 10, 8, 30], is rotated: (y, x) becomes (40 - x, y).
    np.testing.assert_allclose(made["boxes"], [[10, 4, 30, 8]], atol=20 / SIDE)
    assert (made["masks"].numpy() >= 128).mean() > 0.95


def test_rotation_by_0_degrees_changes_nothing():
    image = np.random.default_rng(0).integers(0, 256, (30, 50, 3)).astype(np.uint8)
    made_image, made = geometry.rotate(tf.constant(image), objects([[4, 10, 12, 30]], LEFT), tf.constant(0.0))
    np.testing.assert_array_equal(made_image, image)
    np.testing.assert_allclose(made["boxes"], [[4, 10, 12, 20]], atol=1e-3)


def test_rotation_is_counterclockwise_around_the_centre_and_corners_become_grey():
    image = np.full((41, 41, 3), 200, np.uint8)
    image[20, 35] = 0  # Right of the centre.
    made, _ = geometry.rotate(tf.constant(image), objects([[0, 0, 5, 5]]), tf.constant(90.0))
    assert made.numpy()[5, 20, 0] == 0  # Above it.
    made, _ = geometry.rotate(tf.constant(image), objects([[0, 0, 5, 5]]), tf.constant(45.0))
    assert made.numpy()[0, 0].tolist() == [127] * 3 and made.numpy()[20, 20].tolist() == [200] * 3


def test_a_square_that_is_rotated_by_45_degrees_has_a_box_as_wide_as_its_diagonal():
    image = tf.zeros([100, 100, 3], tf.uint8)
    _, made = geometry.rotate(image, objects([[40, 40, 60, 60], [40, 60, 60, 80]]), tf.constant(45.0))
    half = 10 * math.sqrt(2)
    # The second centre is 20 right of the image's, and goes up to 20 / sqrt(2) right and above.
    y, x = 50 - 20 / math.sqrt(2), 50 + 20 / math.sqrt(2)
    expected = [[50 - half, 50 - half, 50 + half, 50 + half], [y - half, x - half, y + half, x + half]]
    np.testing.assert_allclose(made["boxes"], expected, atol=2 * 2 * half / SIDE)
    # A square on its tip fills half of its box.
    areas = (made["masks"].numpy() / 255).mean(axis=(1, 2)) * np.prod(made["boxes"][:, 2:] - made["boxes"][:, :2], axis=1)
    np.testing.assert_allclose(areas, 400, rtol=0.05)


def test_a_rotated_object_is_cut_off_at_the_border_and_a_crowd_keeps_its_corners():
    image = tf.zeros([100, 100, 3], tf.uint8)
    given = objects([[0, 80, 20, 100], [0, 0, 2, 2], [40, 40, 60, 60]], is_crowd=[False, False, True])
    _, made = geometry.rotate(image, given, tf.constant(45.0))
    # Corners of the image are rotated out of it; the second object is dropped.
    assert made["classes"].numpy().tolist() == [0, 2]
    boxes = made["boxes"].numpy()
    assert (boxes >= 0).all() and (boxes <= 100).all()
    # The corner (20, 80) of the first object is rotated to 42.4 above the centre; the visible part is above that.
    np.testing.assert_allclose(boxes[0], [0, 42.4, 7.6, 57.6], atol=1.0)
    np.testing.assert_allclose(boxes[1], [50 - 14.142, 50 - 14.142, 50 + 14.142, 50 + 14.142], atol=1e-2)


AUGMENTED = {
    "flip_vertical": "task.train_data.flip_vertical=true",
    "right angles": "task.train_data.rotate_right_angles=true",
    "degrees": "task.train_data.rotate_degrees=25",
    "all": "task.train_data.flip=true,task.train_data.flip_vertical=true,task.train_data.rotate_right_angles=true,"
    "task.train_data.rotate_degrees=10",
}


@pytest.mark.parametrize("override", AUGMENTED.values(), ids=AUGMENTED)
def test_augmented_masks_cover_the_pixels_of_their_objects(override):
    task = settings(f"{override},task.train_data.scale_min=0.8,task.train_data.scale_max=1.6")
    record = record_of([object_of((24, 12, 60, 30)), object_of((100, 50, 40, 40), class_index=1)])
    seen = set()
    for number in range(5):
        made = example(record, task, (1, number))
        shown = made["image"][..., 0] > 190  # Between the corners' grey and white.
        drawn = np.zeros(shown.shape, bool)
        valid = made["classes"] >= 0
        for runs in masks.paste(made["masks"][valid] / 255.0, made["boxes"][valid], shown.shape).runs:
            drawn |= masks.decode(runs) > 0
        height, width = made["image_size"]
        canvas = np.zeros(shown.shape, bool)
        canvas[:height, :width] = True
        assert ((shown & canvas) != drawn).sum() <= 0.06 * max(shown[canvas].sum(), 1) + 120, number
        boxes = made["boxes"][valid]
        assert (boxes >= 0).all() and (boxes[:, 2:] <= made["image_size"]).all()
        again = example(record, task, (1, number))
        assert all((again[name] == made[name]).all() for name in made)
        seen.add(made["boxes"].tobytes())
    assert len(seen) == 5


def test_right_angles_are_equally_frequent_and_rotated_images_fill_the_canvas():
    record = record_of([object_of((24, 12, 60, 30))])
    task = settings("task.train_data.rotate_right_angles=true,task.train_data.scale_min=1.0,task.train_data.scale_max=1.0")
    # 96 x 144 pixels on 128 x 192; rotated, 144 x 96 become 128 x 85.
    sizes = [tuple(example(record, task, (0, number))["image_size"].tolist()) for number in range(24)]
    assert set(sizes) == {(128, 192), (128, 85)} and 6 <= sizes.count((128, 85)) <= 18
    assert (HEIGHT, WIDTH) == (96, 144)


def test_color_jitter_changes_only_the_image():
    record = record_of([object_of((24, 12, 60, 30))])
    plain, jittered = (example(record, settings(f"task.train_data.color_jitter={strength}"), (0, 3)) for strength in (0.0, 0.4))
    assert (plain["image"] != jittered["image"]).any()
    assert all((plain[name] == jittered[name]).all() for name in plain if name != "image")


JITTER = ",task.train_data.color_jitter=0.1"


def test_disabled_augmentations_do_not_change_the_random_numbers_of_others():
    """The stream of an experiment without the other augmentations is unchanged, and each random choice is independent."""
    record = record_of([object_of((24, 12, 60, 30))])
    off, jittered = (example(record, settings(f"task.train_data.flip=true{more}"), (0, 5)) for more in ("", JITTER))
    assert (off["boxes"] == jittered["boxes"]).all()
    choices = [[int(inputs._draw_integer(tf.constant([0, number]), salt, 2)) for number in range(64)] for salt in (3, 7, 8, 9)]
    assert len({tuple(row) for row in choices}) == 4 and all(16 < sum(row) < 48 for row in choices)
