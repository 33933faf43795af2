"""DeepLab's losses against numbers worked by hand."""

import numpy as np
import pytest
import tensorflow as tf

from tpuseg.deeplab import config, losses
from tpuseg.layers import regularization


def compute(labels, logits, **options):
    loss_sum, weight_sum = losses.pixel_losses(
        tf.constant([labels], tf.uint8), tf.constant([logits], tf.float32), config.LossConfig(options)
    )
    return float(loss_sum), float(weight_sum)


# One row of two pixels, two classes. Softmax of (ln 3, 0) is (3/4, 1/4).
LOGITS = [[[np.log(3), 0.0], [0.0, np.log(3)]]]


def test_cross_entropy():
    loss, weight = compute([[0, 0]], LOGITS)
    assert loss == pytest.approx(-np.log(3 / 4) - np.log(1 / 4)) and weight == 2


def test_ignored_pixels_have_no_loss_and_no_gradient():
    assert compute([[0, 255]], LOGITS) == (pytest.approx(-np.log(3 / 4)), 1.0)
    logits = tf.constant([LOGITS], tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss, weight = losses.pixel_losses(tf.constant([[[0, 255]]], tf.uint8), logits, config.LossConfig())
        loss = losses.mean_loss(loss, weight)
    np.testing.assert_array_equal(tape.gradient(loss, logits)[0, 0, 1], [0, 0])


@pytest.mark.parametrize("options", [{}, {"hard_pixel_fraction": 0.5}, {"class_weights": [1.0, 2.0]}, {"label_smoothing": 0.1}])
def test_nothing_but_ignored_pixels_is_zero_and_not_nan(options):
    logits = tf.constant([LOGITS], tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        pieces = losses.pixel_losses(tf.constant([[[255, 255]]], tf.uint8), logits, config.LossConfig(options))
        loss = losses.mean_loss(*pieces)
    assert float(loss) == 0
    np.testing.assert_array_equal(tape.gradient(loss, logits), np.zeros((1, 1, 2, 2)))


def test_class_weights():
    loss, weight = compute([[0, 1]], LOGITS, class_weights=[1.0, 3.0])
    assert loss == pytest.approx(-np.log(3 / 4) * 4) and weight == 4


def test_label_smoothing():
    # Target (0.95, 0.05) for smoothing 0.1 over two classes.
    loss, _ = compute([[0, 255]], LOGITS, label_smoothing=0.1)
    assert loss == pytest.approx(-0.95 * np.log(3 / 4) - 0.05 * np.log(1 / 4))


def test_hard_pixels_are_the_worst_of_the_valid_ones():
    random = np.random.default_rng(0)
    logits, labels = random.normal(size=(6, 6, 3)), random.integers(0, 3, (6, 6))
    labels[0] = 255
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    worst = sorted(-np.log(probabilities[row, column, labels[row, column]]) for row, column in np.argwhere(labels != 255))
    loss, weight = compute(labels, logits, hard_pixel_fraction=0.3)
    assert weight == 9  # 0.3 of 30 valid pixels.
    assert loss == pytest.approx(sum(worst[-9:]), rel=1e-5)


# Losses of a pixel whose class has 3/4, 1/2, 1/4 and almost nothing.
ROW = [[[np.log(3), 0.0], [0.0, 0.0], [0.0, np.log(3)], [0.0, 9.0]]]


@pytest.mark.parametrize(("fraction", "kept"), [(0.3, [1 / 4]), (0.5, [1 / 4, 1 / 2]), (0.9, [1 / 4, 1 / 2, 3 / 4])])
def test_the_number_of_hard_pixels_is_rounded_up_and_ignored_pixels_are_none_of_them(fraction, kept):
    loss, weight = compute([[0, 0, 0, 255]], ROW, hard_pixel_fraction=fraction)
    assert (loss, weight) == (pytest.approx(-np.log(kept).sum(), rel=1e-5), len(kept))


def test_an_ignored_pixel_is_not_harder_than_a_pixel_of_small_loss():
    # Two pixels of loss 0.29, one of 0.69, one ignored: the two hardest are the one of 0.69 and both equal ones.
    row = [[[np.log(3), 0.0], [np.log(3), 0.0], [0.0, 0.0], [0.0, 9.0]]]
    loss, weight = compute([[0, 0, 0, 255]], row, hard_pixel_fraction=0.6)
    assert (loss, weight) == (pytest.approx(-np.log(1 / 2) - 2 * np.log(3 / 4), rel=1e-5), 3)


def test_label_smoothing_and_class_weights_of_three_classes():
    # Softmax (1/2, 1/4, 1/4), twice over two columns of one row of three; classes 0 and 2.
    logits = [[[np.log(2), 0.0, 0.0]] * 2]
    loss, weight = compute([[0, 2]], logits, class_weights=[1.0, 5.0, 3.0])
    assert (loss, weight) == (pytest.approx(np.log(2) + 3 * np.log(4), rel=1e-5), 4)
    loss, _ = compute([[0, 255]], logits, label_smoothing=0.3)
    assert loss == pytest.approx(0.8 * np.log(2) + 0.2 * np.log(4), rel=1e-5)


def test_weight_decay_is_of_kernels_only():
    def variable(name, value):
        return tf.Variable([value], name=name)

    names = {"conv/kernel": 2.0, "conv/depthwise_kernel": 3.0, "bn/gamma": 4.0, "classifier/bias": 5.0}
    variables = [variable(name, value) for name, value in names.items()]
    assert float(regularization.l2_loss(variables, 0.1)) == pytest.approx(0.1 * 0.5 * 4)
