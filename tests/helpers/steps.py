"""Steps of a task without a run around them: what is built for one, and what one does on several replicas."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras

from tpuseg import registry
from tpuseg.configs import experiments
from tpuseg.training import distribution


class Built(NamedTuple):
    """A task with its model and an optimizer without decay of weights or rates."""

    task: object
    model: tf_keras.Model
    optimizer: tf_keras.optimizers.Optimizer


class Step(NamedTuple):
    """What a train step said, and by how much it changed the variables."""

    losses: dict[str, float]
    change: np.ndarray


def build(experiment, override, learning_rate, strategy=None):
    """The same weights at each call."""
    settings = experiments.load(experiment, params_override=override).config.task
    tf_keras.utils.set_random_seed(1)
    task = registry.architectures.get(experiment.partition("_")[0]).task_class(settings)
    with (strategy or tf.distribute.OneDeviceStrategy("/cpu:0")).scope():
        return Built(task, task.build_model(), tf_keras.optimizers.legacy.SGD(learning_rate, momentum=0.9))


def on_replicas(experiment, override, learning_rate, batch, devices):
    """Divides a batch over the devices' replicas and does one train step."""
    strategy = distribution.create_mirrored(devices)
    task, model, optimizer = build(experiment, override, learning_rate, strategy)

    def part(context, rows):
        size = rows.shape[0] // len(devices)
        return rows[context.replica_id_in_sync_group * size :][:size]

    inputs = strategy.experimental_distribute_values_from_function(
        lambda context: tf.nest.map_structure(lambda rows: part(context, rows), batch)
    )
    step = tf.function(lambda values: strategy.run(task.train_step, args=(values, model, optimizer)))
    before = flat(model)
    losses = {name: float(strategy.experimental_local_results(value)[0]) for name, value in step(inputs).items()}
    return Step(losses, flat(model) - before)


def flat(model):
    """All variables behind each other."""
    return np.concatenate([variable.numpy().ravel() for variable in model.variables])
