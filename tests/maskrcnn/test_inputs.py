"""Mask R-CNN's input: where boxes and masks lie after augmentation, padding, and what is wrong with a record."""

import os

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
from instance_examples import WIDTH, example, object_of, record_of, settings

from tpuseg.convert.images import png
from tpuseg.data import instance_records, records
from tpuseg.maskrcnn import inputs
from tpuseg.ops import box_masks, masks


def test_boxes_and_masks_follow_the_image():
    task = settings("task.train_data.scale_min=1.0,task.train_data.scale_max=1.0")
    made = example(record_of([object_of((24, 12, 60, 30), class_index=2)]), task)
    # 96 x 144 becomes 128 x 192, larger by a third.
    np.testing.assert_array_equal(made["image_size"], [128, 192])
    np.testing.assert_allclose(made["boxes"][0], [16, 32, 56, 112], atol=1e-3)
    assert made["classes"].tolist() == [2] + [-1] * 15 and (made["boxes"][1:] == 0).all()
    assert made["masks"].shape == (16, masks.FRAME_SIZE, masks.FRAME_SIZE) and (made["masks"][0] == 255).all()
    assert (made["image"][17:55, 33:111] == 255).all() and (made["image"][58:, :] == 0).all()


@pytest.mark.parametrize("mirrored", [False, True])
def test_what_a_crop_leaves_of_an_object_is_where_its_pixels_are(mirrored):
    task = settings(f"task.train_data.scale_min=0.4,task.train_data.scale_max=2.5,task.train_data.flip={mirrored}".lower())
    record = record_of([object_of((24, 12, 60, 30)), object_of((100, 50, 40, 40), class_index=1)])
    cut = 0
    for number in range(30):
        made = example(record, task, (1, number))
        shown = made["image"][..., 0] > 127
        drawn = np.zeros(shown.shape, bool)
        valid = made["classes"] >= 0
        for runs in masks.paste(made["masks"][valid] / 255.0, made["boxes"][valid], shown.shape).runs:
            drawn |= masks.decode(runs) > 0
        canvas = np.zeros(shown.shape, bool)
        canvas[: made["image_size"][0], : made["image_size"][1]] = True
        # The masks' edges are known to a part of a cell: a row of pixels around the objects may differ.
        differing = (shown & canvas) != drawn
        assert differing.sum() <= 0.04 * max(shown[canvas].sum(), 1) + 60, number
        boxes = made["boxes"][valid]
        assert (boxes >= 0).all() and (boxes[:, 2:] <= made["image_size"]).all()
        cut += valid.sum() < 2
    assert cut  # Some crops lost an object.


def test_a_box_is_drawn_anew_around_what_a_crop_left():
    # A triangle whose tip is at the right: the left half of its box is as high, the right quarter is not.
    boxes = tf.constant([[0.0, 0.0, 56.0, 56.0]])
    rows, columns = np.mgrid[:56, :56] + 0.5
    mask = np.where(np.abs(rows - 28) < 28 - columns / 2, 255, 0).astype(np.uint8)[np.newaxis]
    window = tf.constant([[0.0, 42.0, 56.0, 56.0]])
    cropped = box_masks.crop(tf.constant(mask), boxes, window)
    np.testing.assert_allclose(box_masks.extents(cropped, window)[0], [21, 42, 35, 56], atol=1.5)


def test_crowds_are_no_objects_and_of_too_many_some_are_kept():
    task = settings("task.train_data.max_instances=3,task.train_data.max_ignored=8,task.train_data.max_crowds=2")
    objects = [object_of((8 * number, 10, 6, 20), class_index=number % 5) for number in range(9)]
    record = record_of([*objects, object_of((10, 60, 50, 20), is_crowd=True)])
    chosen = set()
    for number in range(20):
        made = example(record, task, (0, number))
        assert (made["classes"] >= 0).all() and (made["crowd_boxes"][0] > 0).any() and (made["crowd_boxes"][1] == 0).all()
        kept, ignored = (set(made[name][:, 1].round().astype(int).tolist()) for name in ("boxes", "ignored_boxes"))
        assert made["num_ignored"] == 6 and len(kept | ignored) == 9 and not kept & (ignored - {0})
        chosen |= kept
    assert len(chosen) > 3


def test_an_image_without_objects_is_an_example():
    made = example(record_of([]), settings())
    assert (made["classes"] == -1).all() and made["num_degenerate"] == 0


def test_a_box_without_area_is_dropped_and_counted():
    whole, flat = object_of((24, 12, 60, 30)), object_of((5, 5, 10, 10))
    flat.box[2] = flat.box[0]
    made = example(record_of([flat, whole]), settings())
    assert made["num_degenerate"] == 1 and (made["classes"] >= 0).sum() == 1


def test_faults_name_file_record_and_image():
    fault = r"some.tfrecord: record 3 \(7\): "
    with pytest.raises(tf.errors.InvalidArgumentError, match=fault + "an object has the class 5, but task.model.num_classes is 5"):
        example(record_of([object_of((24, 12, 60, 30), class_index=5)]), settings())
    with pytest.raises(tf.errors.InvalidArgumentError, match=fault + "the annotated size is 144x96, the image 144x90"):
        example(record_of([], size=(90, WIDTH)), settings())
    foreign = tf.train.Example.FromString(record_of([object_of((24, 12, 60, 30))]))
    for key in (instance_records.CLASS, instance_records.FRAMES):
        del foreign.features.feature[key]
    with pytest.raises(tf.errors.InvalidArgumentError, match=fault + "has no box masks, or was written by another converter"):
        example(foreign.SerializeToString(), settings())


def test_short_and_long_side():
    model = settings("task.model.input_size=[1344,1344],task.model.short_side=800,task.model.long_side=1333").model
    for size, expected in (((480, 640), (800, 1067)), ((640, 480), (1067, 800)), ((300, 1000), (400, 1333))):
        placed = inputs.place_on_canvas(tf.zeros([*size, 3], tf.uint8), model)
        np.testing.assert_allclose(placed["image_size"], expected, atol=1)
        assert placed["image"].shape == (1344, 1344, 3)


def test_evaluation_has_every_image_once(shapes_dir):
    task = settings("task.validation_data.global_batch_size=4")
    batches = list(inputs.evaluation_dataset(task, shapes_dir, None).as_numpy_iterator())
    assert [index for batch in batches for index in batch["index"]] == [*range(10), -1, -1]
    assert batches[0]["image"].shape == (4, 128, 192, 3) and (batches[0]["image_size"] == [128, 160]).all()


def test_a_resumed_stream_goes_on_to_the_bit(shapes_dir):
    task = settings("task.train_data.flip=true,task.train_data.scale_min=0.5,task.train_data.scale_max=1.5")
    whole = list(inputs.training_dataset(task, shapes_dir, None, 0).take(15).as_numpy_iterator())
    resumed = list(inputs.training_dataset(task, shapes_dir, None, 11).take(4).as_numpy_iterator())
    for made, expected in zip(resumed, whole[11:], strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, made, expected)


def test_encoded_sizes(shapes_dir):
    path = os.path.join(shapes_dir, "shapes", "JPEGImages", "val_000000.jpg")
    jpeg = tf.io.read_file(path)
    assert records.encoded_size(jpeg).numpy().tolist() == [128, 160]
    assert records.encoded_size(tf.constant(png(PIL.Image.new("P", (31, 300))))).numpy().tolist() == [300, 31]
