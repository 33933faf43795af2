"""Batch norm over all replicas, against moments in float64."""

import numpy as np
import pytest
import tensorflow as tf

from tpuseg.configs import schema
from tpuseg.layers.norm import SynchronizedBatchNorm, batch_norm
from tpuseg.training import distribution

EPSILON = 1e-5


def normalize(values, moving_mean, steps=1):
    """Returns the outputs of two replicas that have half of the values each, and the layer."""
    strategy = distribution.create_mirrored(["cpu:0", "cpu:1"])
    with strategy.scope():
        layer = batch_norm(schema.NormConfig(mode="synchronized", momentum=0.9, epsilon=EPSILON), "norm")
        layer.build([None, 4, 4, values.shape[-1]])
        layer.moving_mean.assign(np.full(values.shape[-1], moving_mean, np.float32))
    halves = strategy.experimental_distribute_values_from_function(
        lambda context: tf.constant(np.split(values, 2)[context.replica_id_in_sync_group], tf.float32)
    )
    step = tf.function(lambda part: layer(part, training=True))
    for _ in range(steps):
        outputs = strategy.run(step, args=(halves,))
    return np.concatenate([part.numpy() for part in strategy.experimental_local_results(outputs)]), layer


def expected(values):
    exact = values.astype(np.float32).astype(np.float64)
    axes = (0, 1, 2)
    return (exact - exact.mean(axes)) / np.sqrt(exact.var(axes) + EPSILON)


def test_ordinary_values_and_their_moving_statistics():
    values = np.random.default_rng(0).normal(0.5, 2.0, size=(8, 4, 4, 3))
    outputs, layer = normalize(values, moving_mean=0.0)
    np.testing.assert_allclose(outputs, expected(values), atol=1e-5)
    np.testing.assert_allclose(layer.moving_mean, 0.1 * values.mean((0, 1, 2)), rtol=1e-4)
    np.testing.assert_allclose(layer.moving_variance, 0.9 + 0.1 * values.var((0, 1, 2)), rtol=1e-4)


@pytest.mark.parametrize("moving_mean", [100.0, 97.0])
def test_a_large_mean_and_a_small_deviation(moving_mean):
    values = np.random.default_rng(1).normal(100.0, 0.1, size=(8, 4, 4, 3))
    outputs, _ = normalize(values, moving_mean)
    np.testing.assert_allclose(outputs, expected(values), atol=2e-2)


def test_the_moving_mean_gets_there_by_itself():
    values = np.random.default_rng(2).normal(100.0, 0.1, size=(8, 4, 4, 3))
    outputs, _ = normalize(values, moving_mean=0.0, steps=60)
    np.testing.assert_allclose(outputs, expected(values), atol=2e-2)


def test_gradients_are_those_of_one_replica():
    values = tf.constant(np.random.default_rng(3).normal(3.0, 1.0, size=(4, 4, 4, 2)), tf.float32)
    weights = tf.constant(np.random.default_rng(4).normal(size=(4, 4, 4, 2)), tf.float32)
    gradients = []
    for mode in ("synchronized", "trainable"):
        with tf.distribute.OneDeviceStrategy("cpu:0").scope():
            layer = batch_norm(schema.NormConfig(mode=mode, epsilon=EPSILON), "norm")
            with tf.GradientTape() as tape:
                tape.watch(values)
                loss = tf.reduce_sum(layer(values, training=True) * weights)
            gradients.append(tape.gradient(loss, values))
    np.testing.assert_allclose(*gradients, atol=1e-5)


def test_masks_and_several_axes_are_left_to_keras():
    # Of the values 1 and 9 only the first counts.
    layer = SynchronizedBatchNorm(momentum=0.9, synchronized=True)
    layer(tf.reshape([1.0, 9.0], [1, 1, 2, 1]), training=True, mask=tf.constant([[[True, False]]]))
    np.testing.assert_allclose(layer.moving_mean, [0.1], rtol=1e-6)
    # Rows are normalised for themselves: means of 2 and 7.
    layer = SynchronizedBatchNorm(axis=[1, 3], momentum=0.9, synchronized=True)
    outputs = layer(tf.reshape([1.0, 3.0, 5.0, 9.0], [1, 2, 2, 1]), training=True)
    np.testing.assert_allclose(tf.reshape(layer.moving_mean, [-1]), [0.2, 0.7], rtol=1e-6)
    np.testing.assert_allclose(tf.reshape(outputs, [-1]), [-1, 1, -1, 1], atol=1e-3)
