"""The loss on evaluation data: the training loss at the cells of the logits."""

import numpy as np
import pytest
import tensorflow as tf

from tpuseg.deeplab import losses, validation_loss
from tpuseg.deeplab.config import LossConfig
from tpuseg.layers import resize


@pytest.mark.parametrize(("cells", "size"), [(129, 513), (9, 33), (28, 112), (8, 30), (1, 5)])
def test_cells_lie_where_the_resize_takes_them_from(cells, size):
    positions = validation_loss.cell_positions(cells, size)
    np.testing.assert_allclose(resize.to_input_positions(positions, cells, size), np.arange(cells), atol=1e-9)


@pytest.mark.parametrize(
    "config",
    [LossConfig(), LossConfig(label_smoothing=0.1, class_weights=[0.5, 1.0, 2.0]), LossConfig(hard_pixel_fraction=0.5)],
)
def test_it_is_the_training_loss_of_those_pixels(config):
    random = np.random.default_rng(0)
    logits = random.normal(size=(5, 9, 3)).astype(np.float32)
    cells = random.choice([0, 1, 2, 255], size=(5, 9)).astype(np.uint8)
    labels = np.full((17, 33), 255, np.uint8)
    labels[::4, ::4] = cells  # Corners are aligned: every fourth pixel is a cell's centre.
    config.hard_pixel_fraction, all_pixels = 1.0, config.hard_pixel_fraction
    expected = losses.pixel_losses(tf.constant(cells[None]), tf.constant(logits[None]), config)
    config.hard_pixel_fraction = all_pixels
    found = validation_loss.image_loss(logits, labels, (17, 33), config, are_logits=True)
    np.testing.assert_allclose(found, [float(value) for value in expected], rtol=1e-5)
    probabilities = tf.nn.softmax(logits).numpy()
    np.testing.assert_allclose(
        validation_loss.image_loss(probabilities, labels, (17, 33), config, are_logits=False), found, rtol=1e-4
    )


def test_a_smaller_image_and_one_that_is_shrunk():
    logits = np.zeros((4, 4, 2), np.float32)
    logits[:2, :2] = [0.0, 9.0]  # The cells of the image's part of the canvas, 8x8 of 16x16.
    loss, weight = validation_loss.image_loss(logits, np.ones((8, 8), np.uint8), (16, 16), LossConfig(), are_logits=True)
    assert weight == 4 and loss == pytest.approx(4 * np.log1p(np.exp(-9.0)), rel=1e-3)
    labels = np.zeros((64, 32), np.uint8)  # 16x8 on the canvas: four rows and two columns of cells.
    labels[:32] = 1
    logits[:2, :2], logits[2:, :2] = [0.0, 9.0], [9.0, 0.0]
    loss, weight = validation_loss.image_loss(logits, labels, (16, 16), LossConfig(), are_logits=True)
    assert weight == 8 and loss < 0.01


def test_the_mean_is_over_all_images_pixels():
    assert validation_loss.mean({1: (6.0, 2.0), 0: (2.0, 2.0)}) == 2.0
    assert validation_loss.mean({0: (0.0, 0.0)}) is None and validation_loss.mean({}) is None
