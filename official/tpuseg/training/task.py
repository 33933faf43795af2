"""The base class of the tasks: the optimizer, checks of the data, and the train step, whose losses are summed over replicas."""

import abc
import functools
from typing import Any

import tensorflow as tf
import tf_keras
from official.core import base_task
from official.modeling import optimization

from tpuseg import weights
from tpuseg.configs import schema
from tpuseg.data import pipeline
from tpuseg.layers import regularization
from tpuseg.ops import windows
from tpuseg.training import data_checks, extra_losses
from tpuseg.training.evaluation import Evaluation
from tpuseg.training.predictions import Predictions
from tpuseg.training.run_classes import RunClasses
from tpuseg.utils.messages import format_count

# Batch statistics of fewer images than this are too noisy to train with (arXiv:1706.05587, section 4.1.1).
_SMALLEST_NORM_BATCH = 4
# Networks from random weights need about as many images as Pascal VOC's augmented set has (arXiv:1811.08883 trains COCO from them).
_ENOUGH_FOR_RANDOM_WEIGHTS = 10_000


class SegmentationTask(base_task.Task):
    """A Model Garden task whose loss is a sum of per-replica shares.

    A subclass defines the model, the inputs, the losses and the evaluation. Each loss that it returns is this replica's share of
    the global loss, so the sum of the gradients of all replicas is the gradient of the global batch: a step is the same for any
    number of replicas.
    """

    # Names of the reported losses: those that `build_losses` returns, and `regularization`.
    loss_names: tuple[str, ...] = ("loss", "regularization")
    # Kind of the records that the task reads, as in the summaries of converters.
    records_kind: str = ""

    def __init__(self, params: schema.TaskConfig, logging_dir: str = "", data_dir: str = "") -> None:
        super().__init__(params, logging_dir=logging_dir)
        self.data_dir = data_dir
        self._extra_losses = extra_losses.build(params.losses.extra, self.records_kind)
        self.loss_names = (*type(self).loss_names, *self._extra_losses)
        self._training_pipelines = pipeline.Pipelines()
        self.evaluation_pipelines = pipeline.Pipelines()

    @classmethod
    def create_optimizer(
        cls,
        optimizer_config: optimization.OptimizationConfig,
        runtime_config: schema.RuntimeConfig | None = None,
        dp_config: None = None,
    ) -> tf_keras.optimizers.legacy.Optimizer:
        """Creates the Model Garden's optimizer, with loss scaling if the step computes in float16."""
        del dp_config
        factory = optimization.OptimizerFactory(optimizer_config)
        optimizer = factory.build_optimizer(factory.build_learning_rate())
        if runtime_config is not None and runtime_config.mixed_precision_dtype == "float16":
            optimizer = tf_keras.mixed_precision.LossScaleOptimizer(optimizer)
        return optimizer

    def initialize(self, model: tf_keras.Model) -> None:
        """Loads `init_checkpoint`, and prints a report about the restored weights."""
        if self.task_config.init_checkpoint:
            report = weights.load_initial(
                model, self.task_config.init_checkpoint, self.task_config.model, classifier=self.task_config.init_classifier
            )
            print(report.table(), flush=True)
            self._warn_of_frozen_channels()
        else:
            self._warn_of_random_weights()

    def _warn_of_frozen_channels(self) -> None:
        if self.task_config.model.num_channels != 3 and self.task_config.model.num_frozen_stages:
            print(
                "warning: task.model.num_frozen_stages freezes the first convolution, which was only adapted to"
                f" {format_count(self.task_config.model.num_channels, 'channel')}; set it to 0",
                flush=True,
            )

    def _warn_of_random_weights(self) -> None:
        settings = self.task_config
        hint = "task.init_checkpoint=imagenet (or a file, see docs/weights.md) starts from trained weights"
        if settings.model.num_frozen_stages:
            print(f"warning: task.model.num_frozen_stages freezes random weights; {hint}", flush=True)
        elif not settings.train_data.generate:
            count = pipeline.count_examples(settings.train_data, self.data_dir)
            if count < _ENOUGH_FOR_RANDOM_WEIGHTS:
                few = format_count(count, "image is", "images are")
                print(f"warning: training starts from random weights, for which {few} not enough; {hint}", flush=True)

    def prepare_data(self, train: bool = True) -> None:
        """Creates generated data if the configuration uses it, and checks that the records fit the configuration.

        Args:
          train: Whether the training data is needed too.

        Raises:
          ValueError: The records do not fit; the message names the setting.
        """
        lists = []
        for data in data_checks.inputs(self.task_config, train):
            data_checks.make_generated_data(data, self.data_dir, self.records_kind)
            lists += data_checks.class_lists_of_records(self.task_config, data, self.data_dir, self.records_kind)
        self.classes.add_data(lists)

    def fit_to_data(self, train: bool) -> None:
        """Replaces settings that depend on the records in `task_config`.

        Args:
          train: Whether the model will be trained.

        Raises:
          ValueError: The records contain nothing to learn, or they were converted with different values.
        """
        if not self.task_config.pixel_range:
            found = data_checks.pixel_range_of_records(self.task_config, self.data_dir, train)
            if found:
                self._task_config = self.task_config.replace(pixel_range=found)

    @functools.cached_property
    def classes(self) -> RunClasses:
        """The run's classes."""
        return RunClasses(self.task_config, self.logging_dir or "", self.data_dir, self.records_kind)

    def warn(self, num_replicas: int) -> None:
        """Prints a warning about settings that are valid, but known to give bad results with this number of replicas."""
        per_replica = self.task_config.train_data.global_batch_size // num_replicas
        if self.task_config.model.norm.mode == "trainable" and per_replica < _SMALLEST_NORM_BATCH:
            print(
                f"warning: batch norm trains on {format_count(per_replica, 'image')} per replica, too few for good"
                " statistics; freeze it (task.model.norm.mode: frozen), synchronise it (synchronized), or use a larger batch",
                flush=True,
            )

    def training_inputs(self, context: tf.distribute.InputContext | None, start_step: int) -> tf.data.Dataset:
        """Returns an endless dataset of training batches, beginning after the first `start_step` steps."""
        self._training_pipelines.add(context)
        return self.training_dataset(context, start_step)

    @abc.abstractmethod
    def training_dataset(self, context: tf.distribute.InputContext | None, start_step: int) -> tf.data.Dataset:
        """Creates the dataset for `training_inputs`."""

    def evaluation_inputs(self, context: tf.distribute.InputContext | None) -> tf.data.Dataset:
        """Returns a dataset of one pass over the evaluation data, in batches of a static size."""
        self.evaluation_pipelines.add(context)
        return self.evaluation_dataset(context)

    @abc.abstractmethod
    def evaluation_dataset(self, context: tf.distribute.InputContext | None) -> tf.data.Dataset:
        """Creates the dataset for `evaluation_inputs`."""

    def build_inputs(self, params: schema.DataConfig, input_context: tf.distribute.InputContext | None = None) -> tf.data.Dataset:
        """Returns the same inputs through the interface of the Model Garden."""
        if params is self.task_config.train_data:
            return self.training_inputs(input_context, start_step=0)
        return self.evaluation_inputs(input_context)

    @functools.cached_property
    def evaluation_grids(self) -> list[windows.Grid] | None:
        """The windows of every evaluated image; None if whole images are evaluated."""
        settings = self.task_config
        tiling = settings.evaluation.tiling()
        if tiling is None:
            return None
        return pipeline.window_grids(settings.validation_data, self.data_dir, tiling, settings.model.num_channels)

    def num_evaluation_rows(self) -> int:
        """Returns the number of images, or of their windows, that the network predicts in an evaluation."""
        grids = self.evaluation_grids
        return self.num_evaluation_examples() if grids is None else sum(map(len, grids))

    def num_evaluation_examples(self) -> int:
        """Returns the number of images of an evaluation."""
        return pipeline.count_examples(self.task_config.validation_data, self.data_dir)

    def source_ids(self, step: int) -> list[str]:
        """Returns the ids of the images in the batch of `step`, for messages."""
        data = self.task_config.train_data
        return pipeline.training_source_ids(data, self.data_dir, step, self._training_pipelines.total)

    @abc.abstractmethod
    def inspect_record(self, record: bytes) -> tuple[str, list[str]]:
        """Returns the image id of a record, and a sentence about each of its errors."""

    def explain_input_error(self, error: Exception) -> str | None:
        """Returns a line that names the damaged file and record if this is the cause of an error of reading; otherwise None."""
        for data in (self.task_config.train_data, self.task_config.validation_data):
            explanation = pipeline.explain(error, data, self.data_dir, self.inspect_record)
            if explanation:
                return explanation
        return None

    @abc.abstractmethod
    def forward(self, model: tf_keras.Model, features: dict[str, tf.Tensor], labels: Any) -> Any:
        """Calls the model, and returns its outputs in training."""

    @abc.abstractmethod
    def build_losses(self, labels: Any, model_outputs: Any, aux_losses: Any = None) -> dict[str, tf.Tensor]:
        """Returns this replica's share of every loss by name; `loss` is their sum without the regularisation."""

    def regularization_loss(self, model: tf_keras.Model) -> tf.Tensor:
        """Returns the model's loss of weight decay, not divided by the number of replicas."""
        return regularization.l2_loss(model.trainable_variables, self.task_config.losses.l2_weight_decay)

    def validation_losses(self, model: tf_keras.Model) -> dict[str, float]:
        """Returns losses that need another pass over the evaluation data; called in the strategy's scope during an evaluation."""
        del model
        return {}

    @abc.abstractmethod
    def begin_evaluation(self) -> Evaluation:
        """Creates the state of a new evaluation."""

    @property
    @abc.abstractmethod
    def predictions(self) -> Predictions:
        """The processing of images before the network and of its outputs after it, for prediction."""

    def train_step(
        self,
        inputs: tuple[dict[str, tf.Tensor], Any],
        model: tf_keras.Model,
        optimizer: tf_keras.optimizers.legacy.Optimizer,
        metrics: list[Any] | None = None,
    ) -> dict[str, tf.Tensor]:
        """Runs the forward pass, the backward pass and the update for one replica's part of the batch.

        Returns:
          Each loss of the global batch, the same float32 scalar on every replica; `loss` is the total.
        """
        del metrics
        features, labels = inputs
        replica = tf.distribute.get_replica_context()
        with tf.GradientTape() as tape:
            outputs = self.forward(model, features, labels)
            shares = self.build_losses(labels, outputs)
            added = extra_losses.shares(self._extra_losses, labels, outputs)
            added["regularization"] = self.regularization_loss(model) / replica.num_replicas_in_sync
            shares = {**shares, **added, "loss": tf.add_n([shares["loss"], *added.values()])}
            scaled = is_scaled = isinstance(optimizer, tf_keras.mixed_precision.LossScaleOptimizer)
            scaled = optimizer.get_scaled_loss(shares["loss"]) if is_scaled else shares["loss"]
        variables = model.trainable_variables
        # The gradients of gathered weights are sparse; optimizers treat these differently, and XLA cannot apply them.
        gradients = [tf.convert_to_tensor(gradient) for gradient in tape.gradient(scaled, variables)]
        if is_scaled:
            gradients = optimizer.get_unscaled_gradients(gradients)
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return replica.all_reduce(tf.distribute.ReduceOp.SUM, shares)
