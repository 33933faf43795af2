"""Images and labels moved together, against numbers worked by hand and TensorFlow's own operations."""

import numpy as np
import pytest
import tensorflow as tf

from tpuseg.ops import images


def rows(values, height=2):
    """A grey image, [height, len(values), 3] uint8, all of whose rows are the values."""
    return np.tile(np.array(values, np.uint8)[:, np.newaxis], (height, 1, 3))


def test_a_step_edge_doubled():
    # Half-pixel centres: the pixels 0..7 of the large image lie at -0.25, 0.25, 0.75, 1.25 ... of the small one.
    image = images.resize_image(tf.constant(rows([0, 0, 100, 100])), tf.constant([2, 8])).numpy()
    labels = images.resize_labels(tf.constant([[0, 0, 1, 1]] * 2, tf.uint8), tf.constant([2, 8])).numpy()
    np.testing.assert_array_equal(image[0, :, 0], [0, 0, 0, 25, 75, 100, 100, 100])
    np.testing.assert_array_equal(labels[0], [0, 0, 0, 0, 1, 1, 1, 1])


def test_a_step_edge_halved_is_not_antialiased():
    # Pixel i lies at 2i + 0.5, between two pixels of the large image: their mean, and the label of the upper one.
    image = images.resize_image(tf.constant(rows([0, 0, 0, 100, 100, 100], 4)), tf.constant([2, 3])).numpy()
    labels = images.resize_labels(tf.constant([[0, 0, 0, 1, 1, 1]] * 4, tf.uint8), tf.constant([2, 3])).numpy()
    np.testing.assert_array_equal(image[0, :, 0], [0, 50, 100])
    np.testing.assert_array_equal(labels[0], [0, 1, 1])
    # Pixel i lies at 4i + 1.5. Antialiasing would see the dark pixels around the bright ones.
    narrow = images.resize_image(tf.constant(rows([0, 100, 100, 0, 0, 0, 0, 0], 4)), tf.constant([1, 2])).numpy()
    np.testing.assert_array_equal(narrow[0, :, 0], [100, 0])


@pytest.mark.parametrize("target", [(7, 5), (19, 23), (11, 13), (40, 17)])
def test_labels_are_tensorflows_nearest(target):
    labels = np.random.default_rng(0).integers(0, 21, (11, 13), np.uint8)
    expected = tf.raw_ops.ResizeNearestNeighbor(
        images=labels[np.newaxis, ..., np.newaxis], size=target, half_pixel_centers=True
    )
    np.testing.assert_array_equal(images.resize_labels(tf.constant(labels), tf.constant(target)), expected[0, ..., 0])


@pytest.mark.parametrize("target", [(7, 5), (19, 23)])
def test_images_are_tensorflows_bilinear_rounded(target):
    image = np.random.default_rng(0).integers(0, 256, (11, 13, 3), np.uint8)
    expected = tf.floor(tf.image.resize(image, target) + 0.5)
    np.testing.assert_array_equal(images.resize_image(tf.constant(image), tf.constant(target)), expected)


def test_padding_by_hand():
    image, labels = images.pad(tf.constant(rows([1, 2])), tf.constant([[3, 4], [5, 6]], tf.uint8), (3, 4), 255)
    assert image.shape == (3, 4, 3) and labels.shape == (3, 4)
    np.testing.assert_array_equal(image[..., 0], [[1, 2, 127, 127], [1, 2, 127, 127], [127] * 4])
    np.testing.assert_array_equal(labels, [[3, 4, 255, 255], [5, 6, 255, 255], [255] * 4])


def test_padding_of_a_full_crop_changes_nothing():
    image, labels = images.pad(tf.constant(rows([1, 2])), tf.constant([[3, 4], [5, 6]], tf.uint8), (2, 2), 255)
    np.testing.assert_array_equal(image, rows([1, 2]))
    np.testing.assert_array_equal(labels, [[3, 4], [5, 6]])


def flipped(seed):
    image, labels = images.random_flip(tf.constant(rows([1, 2])), tf.constant([[1, 2]] * 2, tf.uint8), seed)
    assert image[0, 0, 0] == labels[0, 0]
    return int(labels[0, 0]) == 2


def test_half_are_mirrored_whatever_the_neighbours_draw():
    # A draw that a neighbouring example uses again would mirror an image exactly when the other's scale is small.
    seeds = [tf.constant([0, number]) for number in range(70)]
    mirrored = np.array([flipped(seed) for seed in seeds])
    assert 0.3 < mirrored.mean() < 0.7
    small = np.array(
        [images.draw_window(tf.constant([200, 200]), (64, 64), 0.5, 2.0, seed)["extent"].numpy()[0] > 64 / 1.25 for seed in seeds]
    )
    for distance in range(5):
        agree = np.mean(mirrored[: len(seeds) - distance] == small[distance:])
        assert 0.3 < agree < 0.7, f"mirroring repeats the scale of {distance} examples later"


def test_colours_stay_without_strength_and_in_range_with_it():
    image = tf.constant(np.random.default_rng(0).integers(0, 256, (6, 5, 3), np.uint8))
    np.testing.assert_array_equal(images.jitter_colors(image, 0.0, tf.constant([0, 1])), image)
    changed = images.jitter_colors(image, 0.4, tf.constant([0, 1]))
    assert changed.dtype == tf.uint8 and not np.array_equal(changed, image)


def test_other_numbers_of_channels_change_in_brightness_and_contrast_together():
    image = np.array([[[10, 50, 90, 130, 170], [20, 60, 100, 140, 180]]], np.uint8)
    seed = tf.constant([0, 1])
    own_seed = tf.random.experimental.stateless_fold_in(seed, images._COLORS)
    brightness, contrast, _ = tf.random.stateless_uniform([3], own_seed, 0.6, 1.4).numpy()
    mean = image.mean() * brightness
    wanted = (image * brightness - mean) * contrast + mean
    np.testing.assert_allclose(images.jitter_colors(tf.constant(image), 0.4, seed), np.clip(np.round(wanted), 0, 255), atol=1)


def test_beside_images_are_the_means_that_scaling_subtracts():
    assert images.padding(3, []) == (127, 127, 127) and images.padding(2, [10.4, 99.6]) == (10, 100)
    image = tf.constant([[[1, 2]]], tf.uint8)
    placed = images.place_on_canvas(image, (2, 2), (10, 100)).numpy()
    assert placed.tolist() == [[[1, 2], [10, 100]], [[10, 100], [10, 100]]]


def test_windows_around_a_box():
    # In an image of 100 x 100 pixels: the rows 40 to 50.5 are in a window of 20 with the offsets 31 to 40. The columns 10 to 60
    # are longer than the window, which lies inside of them: 10 to 40. At the border of the image there is only one position.
    for box, first, last in (([40, 10, 50.5, 60], [31, 10], [40, 40]), ([95, 0, 100, 2], [80, 0], [80, 0])):
        drawn = [
            images.draw_window(tf.constant([100, 100]), (20, 20), 1.0, 1.0, [number, 5], tf.constant(box, tf.float32))
            for number in range(150)
        ]
        offsets = np.array([window["offset"].numpy() for window in drawn])
        np.testing.assert_array_equal(offsets.min(0), first)
        np.testing.assert_array_equal(offsets.max(0), last)
        assert all(window["extent"].numpy().tolist() == [20, 20] for window in drawn)
