"""Training on windows of large images: where they lie, at which resolution, and what becomes of instances at their borders."""

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
from instance_examples import example, settings

from tpuseg.configs import experiments
from tpuseg.convert.images import png
from tpuseg.convert.objects import Annotation, instance
from tpuseg.data import instance_records
from tpuseg.data.examples import Category, InstanceExample
from tpuseg.data.instance_counts import InstanceCounts
from tpuseg.maskrcnn import caps, config, inputs, objects

# An image whose red and green are the row and the column, modulo 256, and whose blue is the rest.
SIZE = (400, 600)
ROWS, COLUMNS = np.mgrid[: SIZE[0], : SIZE[1]]
PIXELS = np.stack([ROWS % 256, COLUMNS % 256, ROWS // 256 * 16 + COLUMNS // 256], -1).astype(np.uint8)
# Scale 1 with a window as high as the canvas of 128 x 192 pixels.
WINDOW = "task.train_data.window=128,task.train_data.scale_min=1.0,task.train_data.scale_max=1.0,task.train_data.empty_share=0.0"


def record_of(boxes, crowds=()):
    """A record of the image above; the boxes (x, y, width, height) are filled."""
    found = []
    for number, (x, y, width, height) in enumerate([*boxes, *crowds]):
        polygon = [x, y, x + width, y, x + width, y + height, x, y + height]
        one = Annotation("", Category(1, "thing"), 0, number >= len(boxes), (x, y, width, height), None, [polygon])
        found.append(instance(one, SIZE, []))
    return instance_records.encode_instances(
        InstanceExample(png(PIL.Image.fromarray(PIXELS)), "png", *SIZE, "7", "7.png", found)
    )


def corner(image):
    """The row and the column of the first pixel in the image above."""
    red, green, blue = image[0, 0].astype(int)
    return red + blue // 16 * 256, green + blue % 16 * 256


def test_a_window_shows_an_instance_at_native_resolution_and_a_random_position():
    record, places = record_of([(500, 300, 30, 20)]), []
    for number in range(40):
        made = example(record, settings(WINDOW), (number, 1))
        top, left = corner(made["image"])
        np.testing.assert_array_equal(made["image"], PIXELS[top : top + 128, left : left + 192])
        assert made["image_size"].tolist() == [128, 192] and (made["classes"] == 0).sum() == 1
        np.testing.assert_allclose(made["boxes"][0], [300 - top, 500 - left, 320 - top, 530 - left], atol=1e-3)
        places.append((top, left))
    # The rows of the corner are 192 to 272 (the image has 400), the columns 338 to 408 (600).
    lowest, highest = np.min(places, 0), np.max(places, 0)
    assert (lowest >= [192, 338]).all() and (highest <= [272, 408]).all()
    assert (highest - lowest >= [50, 40]).all()


def test_every_instance_is_chosen_and_no_ignored_region():
    record = record_of([(20, 20, 10, 10), (560, 20, 10, 10), (300, 380, 10, 10)], crowds=[(20, 380, 10, 10)])
    shown = []
    for number in range(60):
        top, left = corner(example(record, settings(WINDOW), (number, 2))["image"])
        shown.append([(x >= left and x < left + 192 and y >= top and y < top + 128) for x, y in ((20, 20), (560, 20), (300, 380))])
    counts = np.sum(shown, 0)
    # Each of the three is alone in its window, and has a third of the 60.
    assert counts.sum() == 60 and (counts > 8).all()


@pytest.mark.parametrize("boxes", [[], [(0, 0, 10, 10)]])
def test_windows_anywhere(boxes):
    record, share = record_of(boxes), "" if not boxes else ",task.train_data.empty_share=1.0"
    places = [corner(example(record, settings(WINDOW + share), (number, 3))["image"]) for number in range(40)]
    lowest, highest = np.min(places, 0), np.max(places, 0)
    assert (lowest < [60, 90]).all() and (highest > [212, 318]).all() and (highest <= [272, 408]).all()


def test_the_random_factor_refers_to_the_window():
    # A window of 64 pixels is doubled on the canvas of 128, and a factor of 0.5 shows 128 pixels.
    for factor, expected in ((1.0, 2.0), (0.5, 1.0)):
        scales = f"task.train_data.window=64,task.train_data.scale_min={factor},task.train_data.scale_max={factor}"
        made = example(record_of([(300, 200, 20, 10)]), settings(f"{scales},task.train_data.empty_share=0.0"), (1, 1))
        np.testing.assert_allclose((made["boxes"][0, 2:] - made["boxes"][0, :2]) / [10, 20], expected, atol=1e-3)


def test_a_small_image_is_not_enlarged_to_the_window():
    made = example(record_of([(300, 200, 20, 10)]), settings(WINDOW.replace("window=128", "window=1280")), (1, 1))
    # A tenth of 400 x 600 pixels.
    assert made["image_size"].tolist() == [40, 60]


def test_rotated_windows_show_the_instance():
    for number in range(12):
        made = example(record_of([(500, 300, 30, 20)]), settings(f"{WINDOW},task.train_data.rotate_right_angles=true"), (number, 4))
        assert (made["classes"] == 0).sum() == 1
        sides = (made["boxes"][0, 2:] - made["boxes"][0, :2]).round().tolist()
        assert sides in ([20, 30], [30, 20])
        y0, x0, y1, x1 = made["boxes"][0].round().astype(int)
        inside = made["image"][y0:y1, x0:x1]
        # Rows of the original from 300 and columns from 500: no other pixel has these values.
        assert set(inside[..., 0].ravel()) == set(range(44, 64)) and set(inside[..., 1].ravel()) == {*range(244, 256), *range(18)}


def objects_of(boxes, masks):
    count = len(boxes)
    fields = {"boxes": tf.constant(boxes, tf.float32), "masks": tf.constant(masks, tf.uint8)}
    return {**fields, "classes": tf.zeros(count, tf.int32), "is_crowd": tf.zeros(count, tf.bool)}


def test_instances_of_which_little_is_visible_are_ignored():
    # Three boxes of 10 x 10 pixels. The image shows 4 columns of the first, 6 of the second, of which the mask has its left
    # half only, and none of the third.
    full, half = np.full((8, 8), 255), np.repeat([[255, 255, 255, 255, 0, 0, 0, 0]], 8, 0)
    things = objects_of([[0, 16, 10, 26], [20, 14, 30, 24], [0, 30, 10, 40]], [full, half, full])
    for min_visible, ignored in ((0.0, [False, False]), (0.3, [False, False]), (0.5, [True, False]), (0.9, [True, False])):
        left = objects.clip_objects(things, tf.constant([100.0, 20.0]), min_visible)
        assert left["is_crowd"].numpy().tolist() == ignored, min_visible
        np.testing.assert_allclose(left["boxes"][0], [0, 16, 10, 20], atol=1e-4)


def test_ignored_instances_are_ignored_regions_of_the_example():
    # The window of 128 x 192 pixels is at the top left of the first object, so that it shows at most a part of the others.
    record = record_of([(0, 0, 10, 10), *[(x, 100, 40, 60) for x in range(0, 180, 45)]])
    task = settings(f"{WINDOW},task.train_data.min_visible=0.9")
    found = set()
    for number in range(20):
        made = example(record, task, (number, 1))
        whole = (made["classes"] == 0).sum()
        found.add((whole > 0, (made["crowd_boxes"][:, 2] > 0).any()))
        sides = made["boxes"][:whole, 2:] - made["boxes"][:whole, :2]
        assert all(np.prod(side) > 0.85 * (100 if side[0] < 12 else 2400) for side in sides)
    assert (True, True) in found


def test_surplus_regions_are_joined():
    boxes = tf.constant([[0, 0, 1, 1], [5, 5, 6, 9], [2, 7, 8, 8], [3, 3, 4, 4]], tf.float32)
    np.testing.assert_array_equal(inputs._join_surplus(boxes, 3), [[0, 0, 1, 1], [5, 5, 6, 9], [2, 3, 8, 8]])
    np.testing.assert_array_equal(inputs._join_surplus(boxes, 1), [[0, 0, 8, 9]])
    for room in (4, 5):
        np.testing.assert_array_equal(inputs._join_surplus(boxes, room), boxes)
    assert inputs._join_surplus(boxes[:0], 2).shape == (0, 4)


@pytest.mark.parametrize("crowds", ["", ",task.train_data.min_visible=0.5"])
def test_more_ignored_regions_than_room_do_not_end_the_run(crowds):
    record = record_of([(100, 100, 10, 10)], crowds=[(90 + 10 * number, 120, 5, 5) for number in range(12)])
    made = example(record, settings(f"{WINDOW},task.train_data.max_crowds=3{crowds}"), (1, 1))
    assert made["crowd_boxes"].shape == (3, 4) and (made["crowd_boxes"][:, 2] > 0).all()
    with pytest.raises(tf.errors.InvalidArgumentError, match="ignored regions but the summary"):
        example(record, settings("task.train_data.max_crowds=3"), (1, 1))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        # 700 instances: 512 are instances, the others ignored.
        ({}, (512, 192, 600)),
        ({"window": 512}, (512, 192, 512)),
        ({"min_visible": 0.3}, (512, 192, 728)),
        ({"window": 512, "min_visible": 0.3}, (512, 192, 640)),
        ({"window": 512, "max_instances": 64}, (64, 512, 512)),
    ],
)
def test_room_for_the_regions_of_windows(changes, expected):
    task = config.MaskRcnnConfig(train_data=config.TrainDataConfig(**changes))
    derived = caps.derive(task, InstanceCounts({700: 1}, 600, 600), 700)
    names = ("max_instances", "max_ignored", "max_crowds")
    found = tuple(derived.get(f"train_data.{name}", getattr(task.train_data, name)) for name in names)
    assert found == expected


def test_a_tiny_window_is_refused():
    with pytest.raises(ValueError, match=r"task.train_data.window.* is 10, but must be at least 32"):
        experiments.load("maskrcnn_shapes", params_override="task.train_data.window=10")


def test_copy_paste_of_windows():
    task = settings(f"{WINDOW},task.train_data.copy_paste=1.0,task.train_data.min_visible=0.5")
    raw = {"file": tf.constant("some.tfrecord"), "number": tf.constant(3, tf.int64)}
    first, second = (
        inputs.parse_record({**raw, "record": tf.constant(record_of([box]))}) for box in ((500, 300, 30, 20), (20, 30, 25, 15))
    )
    counts = set()
    for number in range(12):
        _, labels = inputs.augment(first, tf.constant([number, 9]), task, second)
        counts.add(int((labels["classes"].numpy() == 0).sum()))
    # Half of the one pasted instance: with it there are two.
    assert counts == {1, 2}
