"""What the two models' tasks share: the optimizer, the train step and how its pieces add up over replicas."""

import abc
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from official.core import base_task
from official.modeling import optimization

from tpuseg import schema, weights


class SegmentationTask(base_task.Task):
    """A Model Garden task whose loss is a sum of per-replica shares.

    A subclass gives the model, the inputs, the losses and the evaluation. Each loss that it returns is this replica's share
    of the global loss, so that adding the gradients of all replicas gives the gradient of the global batch: one replica
    and many compute the same step.
    """

    # What `build_losses` returns and `regularization`: the names under which losses are reported.
    loss_names: tuple[str, ...] = ("loss", "regularization")

    def __init__(self, params: schema.TaskConfig, logging_dir: str = "", data_dir: str = "") -> None:
        super().__init__(params, logging_dir=logging_dir)
        self.data_dir = data_dir

    @classmethod
    def create_optimizer(
        cls,
        optimizer_config: optimization.OptimizationConfig,
        runtime_config: schema.RuntimeConfig | None = None,
        dp_config: None = None,
    ) -> tf_keras.optimizers.legacy.Optimizer:
        """Returns the Model Garden's optimizer, with loss scaling when the step computes in float16."""
        del dp_config
        factory = optimization.OptimizerFactory(optimizer_config)
        optimizer = factory.build_optimizer(factory.build_learning_rate())
        if runtime_config is not None and runtime_config.mixed_precision_dtype == "float16":
            optimizer = tf_keras.mixed_precision.LossScaleOptimizer(optimizer)
        return optimizer

    def initialize(self, model: tf_keras.Model) -> None:
        """Loads `init_checkpoint`, and prints what was restored."""
        if self.task_config.init_checkpoint:
            report = weights.load_initial(model, self.task_config.init_checkpoint)
            print(report.table(), flush=True)

    @abc.abstractmethod
    def prepare_data(self) -> None:
        """Makes generated data where it is asked for, and checks that the records fit the configuration.

        Raises:
          ValueError: they do not; says which value is what.
        """

    @abc.abstractmethod
    def write_class_names(self) -> None:
        """Writes the names of the classes into the model directory, where prediction finds them without the data set."""

    @abc.abstractmethod
    def warn(self, num_replicas: int) -> None:
        """Prints a line for every setting that works but is known to go wrong on so many replicas."""

    @abc.abstractmethod
    def training_inputs(self, context: tf.distribute.InputContext | None, start_step: int) -> tf.data.Dataset:
        """Returns the endless stream of training batches as it goes on after `start_step` steps."""

    @abc.abstractmethod
    def evaluation_inputs(self, context: tf.distribute.InputContext | None) -> tf.data.Dataset:
        """Returns one pass over the evaluation data, in static batches."""

    def build_inputs(self, params: schema.DataConfig, input_context: tf.distribute.InputContext | None = None) -> tf.data.Dataset:
        """The Model Garden's entry to the same inputs."""
        if params is self.task_config.train_data:
            return self.training_inputs(input_context, start_step=0)
        return self.evaluation_inputs(input_context)

    @abc.abstractmethod
    def num_evaluation_examples(self) -> int:
        """Returns how many pictures an evaluation has."""

    @abc.abstractmethod
    def source_ids(self, step: int) -> list[str]:
        """Returns the ids of the pictures that the batch of `step` holds, for messages."""

    @abc.abstractmethod
    def explain_input_error(self, error: Exception) -> str | None:
        """Returns the line that names the broken file and record behind a failed read, if that is what it was."""

    @abc.abstractmethod
    def build_losses(self, labels: Any, model_outputs: Any, aux_losses: Any = None) -> dict[str, tf.Tensor]:
        """Returns this replica's share of every loss, by name; `loss` is their sum without the regularisation."""

    @abc.abstractmethod
    def regularization_loss(self, model: tf_keras.Model) -> tf.Tensor:
        """Returns the weight decay's loss of the whole model (not a share)."""

    @abc.abstractmethod
    def begin_evaluation(self) -> Any:
        """Returns the state that `aggregate_logs` adds to; it lives on the host."""

    @abc.abstractmethod
    def finish_evaluation(self, state: Any, step: int) -> dict[str, Any]:
        """Returns the metrics of a whole evaluation; writes its pictures."""

    def train_step(
        self,
        inputs: tuple[dict[str, tf.Tensor], Any],
        model: tf_keras.Model,
        optimizer: tf_keras.optimizers.legacy.Optimizer,
        metrics: list[Any] | None = None,
    ) -> dict[str, tf.Tensor]:
        """Forward, backward and update on one replica's part of the batch.

        Returns:
          Each loss of the global batch, the same float32 scalar on every replica; `loss` is the total.
        """
        del metrics
        features, labels = inputs
        replica = tf.distribute.get_replica_context()
        with tf.GradientTape() as tape:
            outputs = model(features["image"], training=True)
            shares = self.build_losses(labels, outputs)
            shares["regularization"] = self.regularization_loss(model) / replica.num_replicas_in_sync
            shares["loss"] = shares["loss"] + shares["regularization"]
            scaled = is_scaled = isinstance(optimizer, tf_keras.mixed_precision.LossScaleOptimizer)
            scaled = optimizer.get_scaled_loss(shares["loss"]) if is_scaled else shares["loss"]
        variables = model.trainable_variables
        gradients = tape.gradient(scaled, variables)
        if is_scaled:
            gradients = optimizer.get_unscaled_gradients(gradients)
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return replica.all_reduce(tf.distribute.ReduceOp.SUM, shares)

    def aggregate_logs(self, state: Any, step_outputs: dict[str, Any]) -> Any:
        """Adds one evaluation step's outputs, a tuple with one tensor a local replica for each name."""
        for replica in _replicas(step_outputs):
            self.add_predictions(state, replica)
        return state

    @abc.abstractmethod
    def prediction_inputs(self, pictures: list[np.ndarray]) -> dict[str, tf.Tensor]:
        """Returns `validation_step`'s input for some pictures of any size ([height, width, 3] uint8 each)."""

    @abc.abstractmethod
    def finish_predictions(self, outputs: dict[str, np.ndarray], pictures: list[np.ndarray]) -> list[Any]:
        """Returns the prediction of each picture at its own size from `validation_step`'s outputs."""

    @abc.abstractmethod
    def write_prediction(self, prediction: Any, picture: np.ndarray, stem: str) -> None:
        """Writes a prediction as files whose names begin with `stem`."""

    @abc.abstractmethod
    def add_predictions(self, state: Any, outputs: dict[str, Any]) -> None:
        """Adds one replica's outputs of one step to an evaluation."""


def _replicas(step_outputs: dict[str, Any]) -> Iterator[dict[str, Any]]:
    names = list(step_outputs)
    for values in zip(*(step_outputs[name] for name in names), strict=True):
        yield {name: value.numpy() for name, value in zip(names, values, strict=True)}
