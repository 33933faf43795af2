"""Copy-paste: what is pasted is seen, what it hides is gone, and boxes are around what is left."""

import numpy as np
import tensorflow as tf

from tpuseg.configs import experiments
from tpuseg.maskrcnn import copy_paste, inputs


def scene(color, size, boxes, is_crowd=None):
    """An image of one colour with objects that fill their boxes."""
    count = len(boxes)
    objects = {
        "boxes": tf.reshape(tf.constant(boxes, tf.float32), [-1, 4]),
        "classes": tf.range(count),
        "is_crowd": tf.constant(is_crowd if is_crowd else [False] * count, tf.bool),
        "masks": tf.fill([count, 56, 56], tf.constant(255, tf.uint8)),
    }
    return copy_paste.Scene(tf.fill([*size, 3], tf.constant(color, tf.uint8)), objects, tf.constant(0))


def paste(first, second):
    """Pastes all of the other image's objects: a seed is looked for that draws every one."""
    count = len(second.objects["classes"])
    for number in range(1000):
        if (tf.random.stateless_uniform([count], [0, number]) < 0.5).numpy().all():
            return copy_paste.paste(first, second, tf.constant([0, number]))
    raise AssertionError("no seed draws all objects")


def test_an_object_is_pasted_over_half_of_another():
    below = scene(10, (80, 100), [[20, 20, 60, 60], [0, 70, 10, 90]])
    made = paste(below, scene(200, (80, 100), [[10, 40, 70, 90]]))
    image = made.image.numpy()[..., 0]
    assert (image[10:70, 40:90] == 200).all() and (image == 200).sum() == 60 * 50
    boxes = made.objects["boxes"].numpy()
    # The pasted one, then those below: the right half of the first is hidden, the second is not touched.
    np.testing.assert_allclose(boxes[0], [10, 40, 70, 90], atol=1e-3)
    np.testing.assert_allclose(boxes[1], [20, 20, 60, 40], atol=40 / 56)
    np.testing.assert_allclose(boxes[2], [0, 70, 10, 90], atol=1e-3)
    assert made.objects["classes"].numpy().tolist() == [0, 0, 1]
    assert (made.objects["masks"].numpy()[1][:, :54] > 127).all()


def test_what_is_hidden_altogether_is_gone_and_crowds_stay():
    below = scene(10, (80, 100), [[30, 30, 50, 50], [20, 20, 60, 60]], is_crowd=[False, True])
    made = paste(below, scene(200, (80, 100), [[20, 20, 60, 60]]))
    assert made.objects["is_crowd"].numpy().tolist() == [False, True]
    np.testing.assert_allclose(made.objects["boxes"][1], [20, 20, 60, 60])


def test_a_larger_image_is_cut_off_and_its_crowds_are_not_pasted():
    below = scene(10, (40, 50), [[0, 0, 5, 5]])
    made = paste(below, scene(200, (80, 100), [[20, 30, 60, 90], [60, 60, 80, 80], [0, 0, 9, 9]], [False, False, True]))
    assert made.image.shape == (40, 50, 3)
    boxes = made.objects["boxes"].numpy()
    assert len(boxes) == 2  # The second lies beyond the border.
    np.testing.assert_allclose(boxes[0], [20, 30, 40, 50], atol=1e-3)
    assert (made.image.numpy()[20:, 30:] == 200).all() and (made.image.numpy()[:9, :9] == 10).all()


def test_the_stream_with_copy_paste_is_resumed_to_the_bit(shapes_dir):
    override = "task.train_data.copy_paste=0.7,task.train_data.global_batch_size=4,task.train_data.scale_min=0.5"
    task = experiments.load("maskrcnn_shapes", params_override=override).config.task
    whole = list(inputs.training_dataset(task, shapes_dir, None, 0).take(9).as_numpy_iterator())
    resumed = list(inputs.training_dataset(task, shapes_dir, None, 5).take(4).as_numpy_iterator())
    for made, expected in zip(resumed, whole[5:], strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, made, expected)
    task.train_data.copy_paste = 0.0
    plain = list(inputs.training_dataset(task, shapes_dir, None, 0).take(9).as_numpy_iterator())
    counts = [sum((labels["classes"] >= 0).sum() for _, labels in batches) for batches in (plain, whole)]
    assert counts[1] > 1.2 * counts[0]
