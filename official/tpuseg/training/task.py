"""What the two models' tasks share: the optimizer, the data's checks, the train step and how its pieces add up over replicas."""

import abc
import functools
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from official.core import base_task
from official.modeling import optimization

from tpuseg import weights
from tpuseg.configs import schema
from tpuseg.data import pipeline
from tpuseg.io import files
from tpuseg.layers import regularization
from tpuseg.training import class_lists
from tpuseg.training.class_lists import CLASS_NAMES_FILE, ClassList
from tpuseg.utils.messages import counted
from tpuseg.visualization import drawing, page

# Batch statistics of fewer images than this are too noisy to train with (arXiv:1706.05587, section 4.1.1).
_SMALLEST_NORM_BATCH = 4
# Networks from random weights need about as many images as Pascal VOC's augmented set has (arXiv:1811.08883 trains COCO from them).
_ENOUGH_FOR_RANDOM_WEIGHTS = 10_000
_OTHER_CONVERTER = {
    "semantic": "convert with data/voc_to_tfrecord.py",
    "instances": "convert with data/coco_to_tfrecord.py, or data/voc_to_tfrecord.py --instances",
}
# What to do about inputs that number the same classes in different ways.
_SAME_ORDER = {
    "semantic": "convert all with the same --class_names or --labelmap",
    "instances": "give all annotation files the same categories with the same ids, whose order counts, and convert them again",
}


class SegmentationTask(base_task.Task):
    """A Model Garden task whose loss is a sum of per-replica shares.

    A subclass gives the model, the inputs, the losses and the evaluation. Each loss that it returns is this replica's share
    of the global loss, so that adding the gradients of all replicas gives the gradient of the global batch: one replica
    and many compute the same step.
    """

    # What `build_losses` returns and `regularization`: the names under which losses are reported.
    loss_names: tuple[str, ...] = ("loss", "regularization")
    # Which kind of records the task reads, as converters' summaries call it.
    records_kind: str = ""

    def __init__(self, params: schema.TaskConfig, logging_dir: str = "", data_dir: str = "") -> None:
        super().__init__(params, logging_dir=logging_dir)
        self.data_dir = data_dir
        self._training_pipelines = pipeline.Pipelines()
        self.evaluation_pipelines = pipeline.Pipelines()
        self._data_classes: list[ClassList] = []

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
            report = weights.load_initial(
                model, self.task_config.init_checkpoint, self.task_config.model, classifier=self.task_config.init_classifier
            )
            print(report.table(), flush=True)
            self._warn_of_frozen_channels()
        else:
            self._warn_of_random_weights()

    def _warn_of_frozen_channels(self) -> None:
        if self.task_config.model.num_channels != 3 and getattr(self.task_config.model, "num_frozen_stages", 0):
            print(
                "warning: task.model.num_frozen_stages keeps the first convolution, which was only adapted to"
                f" {counted(self.task_config.model.num_channels, 'channel')}, from learning; set it to 0",
                flush=True,
            )

    def _warn_of_random_weights(self) -> None:
        settings = self.task_config
        hint = "task.init_checkpoint=imagenet (or a file, see docs/weights.md) starts from trained weights"
        if getattr(settings.model, "num_frozen_stages", 0):
            print(f"warning: task.model.num_frozen_stages keeps random weights as they are; {hint}", flush=True)
        elif not settings.train_data.generate:
            count = pipeline.count_examples(settings.train_data, self.data_dir)
            if count < _ENOUGH_FOR_RANDOM_WEIGHTS:
                few = counted(count, "image is", "images are")
                print(f"warning: training starts from random weights, for which {few} not enough; {hint}", flush=True)

    def prepare_data(self, train: bool = True) -> None:
        """Makes generated data where it is asked for, and checks that the records fit the configuration.

        Args:
          train: whether the training data is needed too; evaluation does without it.

        Raises:
          ValueError: they do not; says which value is what.
        """
        for data in (self.task_config.train_data, self.task_config.validation_data)[0 if train else 1 :]:
            if data.generate == "shapes":
                from tpuseg.convert import shapes

                shapes.ensure_records(self.data_dir, self.records_kind)
            if not data.tfds_name:
                self._data_classes += self._check_records(data)
        class_lists.require_same(self._data_classes, _SAME_ORDER[self.records_kind])
        if self._data_classes:
            self._check_num_classes(self._data_classes[0])

    def fit_to_data(self, train: bool) -> None:
        """Replaces what the configuration leaves to the records, in `task_config`, and says what does not fit.

        Of images of more than 8 bits, the values that become black and white are those that the records were converted with.

        Args:
          train: whether there will be training.

        Raises:
          ValueError: there is nothing in the records to learn from, or they were converted with different values.
        """
        if self.task_config.pixel_range:
            return
        found: dict[tuple[float, ...], str] = {}
        for data in (self.task_config.train_data, self.task_config.validation_data)[0 if train else 1 :]:
            if not data.tfds_name:
                for path, summary in pipeline.read_summaries(data, self.data_dir).items():
                    if "pixel_range" in summary or "wide_images" in summary:
                        found.setdefault(tuple(summary.get("pixel_range", ())), path)
        if len(found) > 1:
            shown = {path: ",".join(f"{value:g}" for value in values) or "none" for values, path in found.items()}
            told = " and ".join(f"{values} in {path}" for path, values in shown.items())
            raise ValueError(
                f"the records were converted with different values of --pixel_range: {told}; convert all of them with the same, or"
                " say with task.pixel_range what prediction shall use"
            )
        for values in found:
            self._task_config = self.task_config.replace(pixel_range=list(values))

    def _check_records(self, data: schema.DataConfig) -> list[ClassList]:
        """Returns the classes of the records, as far as summaries tell them.

        Raises:
          ValueError: there are no records, they are of another kind than the model learns from, or there is nothing to learn.
        """
        found = pipeline.read_summaries(data, self.data_dir)
        if data is self.task_config.train_data:
            _require_instances(list(found.values()), data)
        for path, summary in found.items():
            self._check_num_channels(path, summary)
            kind = summary.get("kind", self.records_kind)
            if kind != self.records_kind:
                raise ValueError(
                    f"the records of {data.input_path} are of kind `{kind}`, but this model learns from `{self.records_kind}` ones;"
                    f" {_OTHER_CONVERTER[self.records_kind]}"
                )
        return [ClassList(path, tuple(summary["class_names"])) for path, summary in found.items()]

    def _check_num_channels(self, path: str, summary: dict[str, Any]) -> None:
        found, wanted = summary.get("num_channels", 3), self.task_config.model.num_channels
        if found != wanted:
            raise ValueError(
                f"task.model.num_channels is {wanted}, but the images of {path} were converted with {counted(found, 'channel')};"
                f" set task.model.num_channels={found}, or convert them again with --num_channels={wanted}"
            )

    def _check_num_classes(self, classes: ClassList) -> None:
        num_classes, names = self.task_config.model.num_classes, classes.names
        if len(names) != num_classes:
            listed = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
            raise ValueError(
                f"task.model.num_classes is {num_classes}, but the records of {classes.source} have"
                f" {counted(len(names), 'class', 'classes')} ({listed})"
            )

    def check_classes(self, resumes: bool) -> None:
        """Compares the data's classes with those of the run that is resumed, or of the initial weights of a new run.

        Args:
          resumes: the model directory has checkpoints from which training goes on.

        Raises:
          ValueError: they differ; says where first, and what to do.
        """
        if resumes:
            self.require_classes(class_lists.of_run(self.logging_dir), "this run's classes cannot change: use another --model_dir")
            return
        self.use_classes_of_data()
        path = self.task_config.init_checkpoint
        if path and self.task_config.init_classifier:
            way_out = "with task.init_classifier=false the layers that have a value for each class start anew"
            own = class_lists.beside(path)
            # Of another number of classes, the classifier is not restored.
            self.require_classes(own if own and len(own.names) == self.task_config.model.num_classes else None, way_out)

    def require_classes(self, trained: ClassList | None, way_out: str) -> None:
        """Raises ValueError if the data's classes are not those that weights were trained with.

        Args:
          trained: None if nothing tells them.
          way_out: what to do besides converting the data in the same order.
        """
        if trained and self._data_classes:
            way_out = f"{_SAME_ORDER[self.records_kind]}; {way_out}"
            class_lists.require_same([trained, self._data_classes[0]], way_out)

    def check_evaluated_classes(self, trained: ClassList | None) -> None:
        """Compares the data's classes with those that evaluated weights were trained with; says it if the names are others.

        Raises:
          ValueError: the data has the same classes in another order, or more or fewer of them: no number would mean anything.
        """
        found = class_lists.difference(trained, self._data_classes[0]) if trained and self._data_classes else None
        if trained and found:
            if class_lists.is_renamed(trained, self._data_classes[0]):
                print(f"warning: {found}; classes of the same number are taken for the same", flush=True)
            else:
                raise ValueError(f"{found}; {_SAME_ORDER[self.records_kind]}")

    def use_classes_of_data(self) -> None:
        """Takes the names of the data for those of a new run, whatever an earlier one left in the model directory."""
        if self._data_classes:
            self.class_names = list(self._data_classes[0].names)

    @functools.cached_property
    def class_names(self) -> list[str]:
        """The names that the run was trained with, or those from the records' summary, or numbers."""
        trained = class_lists.of_run(self.logging_dir)
        if trained and trained.is_known:
            return list(trained.names)
        for data in (self.task_config.train_data, self.task_config.validation_data):
            summary = None if data.tfds_name else pipeline.read_summary(data, self.data_dir)
            if summary:
                return list(summary["class_names"])
        return list(trained.names) if trained else [str(number) for number in range(self.task_config.model.num_classes)]

    @property
    def has_class_names(self) -> bool:
        """Whether the classes' names are known."""
        return self.class_names != [str(number) for number in range(self.task_config.model.num_classes)]

    def name_classes(self, names: list[str]) -> None:
        """Sets the classes' names, where there are no records to tell them."""
        self.class_names = names

    def write_class_names(self, folder: str = "") -> None:
        """Writes the names of the classes into a folder, where prediction finds them without the data set.

        Args:
          folder: the model directory if empty.
        """
        files.write_json(os.path.join(folder or self.logging_dir, CLASS_NAMES_FILE), self.class_names)

    def warn(self, num_replicas: int) -> None:
        """Prints a line for every setting that works but is known to go wrong on so many replicas."""
        per_replica = self.task_config.train_data.global_batch_size // num_replicas
        if self.task_config.model.norm.mode == "trainable" and per_replica < _SMALLEST_NORM_BATCH:
            print(
                f"warning: batch norm trains on {counted(per_replica, 'image')} a replica, too few for good"
                " statistics; freeze it (task.model.norm.mode: frozen), synchronise it (synchronized), or use a larger batch",
                flush=True,
            )

    def training_inputs(self, context: tf.distribute.InputContext | None, start_step: int) -> tf.data.Dataset:
        """Returns the endless stream of training batches as it goes on after `start_step` steps."""
        self._training_pipelines.add(context)
        return self.training_dataset(context, start_step)

    @abc.abstractmethod
    def training_dataset(self, context: tf.distribute.InputContext | None, start_step: int) -> tf.data.Dataset:
        """Returns `training_inputs`."""

    def evaluation_inputs(self, context: tf.distribute.InputContext | None) -> tf.data.Dataset:
        """Returns one pass over the evaluation data, in static batches."""
        self.evaluation_pipelines.add(context)
        return self.evaluation_dataset(context)

    @abc.abstractmethod
    def evaluation_dataset(self, context: tf.distribute.InputContext | None) -> tf.data.Dataset:
        """Returns `evaluation_inputs`."""

    def build_inputs(self, params: schema.DataConfig, input_context: tf.distribute.InputContext | None = None) -> tf.data.Dataset:
        """The Model Garden's entry to the same inputs."""
        if params is self.task_config.train_data:
            return self.training_inputs(input_context, start_step=0)
        return self.evaluation_inputs(input_context)

    def num_evaluation_examples(self) -> int:
        """Returns how many images an evaluation has."""
        return pipeline.count_examples(self.task_config.validation_data, self.data_dir)

    def source_ids(self, step: int) -> list[str]:
        """Returns the ids of the images that the batch of `step` holds, for messages."""
        data = self.task_config.train_data
        return pipeline.training_source_ids(data, self.data_dir, step, self._training_pipelines.total)

    @abc.abstractmethod
    def inspect_record(self, record: bytes) -> tuple[str, list[str]]:
        """Returns the image's id of a record, and one sentence for each of its faults."""

    def explain_input_error(self, error: Exception) -> str | None:
        """Returns the line that names the broken file and record behind a failed read, if that is what it was."""
        for data in (self.task_config.train_data, self.task_config.validation_data):
            explanation = pipeline.explain(error, data, self.data_dir, self.inspect_record)
            if explanation:
                return explanation
        return None

    @abc.abstractmethod
    def forward(self, model: tf_keras.Model, features: dict[str, tf.Tensor], labels: Any) -> Any:
        """Returns the model's outputs in training."""

    @abc.abstractmethod
    def build_losses(self, labels: Any, model_outputs: Any, aux_losses: Any = None) -> dict[str, tf.Tensor]:
        """Returns this replica's share of every loss, by name; `loss` is their sum without the regularisation."""

    def regularization_loss(self, model: tf_keras.Model) -> tf.Tensor:
        """Returns the weight decay's loss of the whole model (not a share)."""
        return regularization.l2_loss(model.trainable_variables, self.task_config.losses.l2_weight_decay)

    def validation_losses(self, model: tf_keras.Model) -> dict[str, float]:
        """Returns losses of evaluation data that need a pass of their own; called in the strategy's scope, in an evaluation."""
        del model
        return {}

    @abc.abstractmethod
    def begin_evaluation(self) -> Any:
        """Returns the state that `aggregate_logs` adds to; it lives on the host."""

    @abc.abstractmethod
    def finish_evaluation(self, state: Any, step: int) -> dict[str, Any]:
        """Returns the metrics of a whole evaluation; writes its images."""

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
            outputs = self.forward(model, features, labels)
            shares = self.build_losses(labels, outputs)
            shares["regularization"] = self.regularization_loss(model) / replica.num_replicas_in_sync
            shares["loss"] = shares["loss"] + shares["regularization"]
            scaled = is_scaled = isinstance(optimizer, tf_keras.mixed_precision.LossScaleOptimizer)
            scaled = optimizer.get_scaled_loss(shares["loss"]) if is_scaled else shares["loss"]
        variables = model.trainable_variables
        # Gathered weights have sparse gradients, which optimizers treat differently and XLA cannot apply.
        gradients = [tf.convert_to_tensor(gradient) for gradient in tape.gradient(scaled, variables)]
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
    def prediction_inputs(self, images: list[np.ndarray]) -> dict[str, tf.Tensor]:
        """Returns `validation_step`'s input for some images of any size ([height, width, C] uint8 each)."""

    @abc.abstractmethod
    def finish_predictions(self, outputs: dict[str, np.ndarray], images: list[np.ndarray]) -> list[Any]:
        """Returns the prediction of each image at its own size from `validation_step`'s outputs."""

    @abc.abstractmethod
    def draw_prediction(self, prediction: Any, image: np.ndarray) -> np.ndarray:
        """Returns a prediction laid over its image, [H, W, 3] uint8; may be larger than the image."""

    def write_prediction(self, prediction: Any, image: np.ndarray, stem: str) -> np.ndarray:
        """Writes a prediction as files whose names begin with `stem`: `_overlay.png`, and what a subclass adds.

        Returns:
          [H, W, 3] uint8, what is in `_overlay.png`.
        """
        drawn = self.draw_prediction(prediction, image)
        drawing.write_png(f"{stem}_overlay.png", drawn)
        return drawn

    @abc.abstractmethod
    def findings(self, prediction: Any) -> list[page.Finding]:
        """Returns what a prediction says, for people, in the overlay's colours."""

    def results(self, found: Any, image_id: int | str) -> list[dict[str, Any]]:
        """Returns a prediction as rows of COCO's results format.

        Args:
          found: the prediction of one image.
          image_id: of the image.
        """
        del found, image_id
        return []  # For models that find no objects.

    @abc.abstractmethod
    def add_predictions(self, state: Any, outputs: dict[str, Any]) -> None:
        """Adds one replica's outputs of one step to an evaluation."""

    @abc.abstractmethod
    def add_prediction(self, state: Any, index: int, prediction: Any) -> None:
        """Adds the prediction of one image, as `finish_predictions` returns it, to an evaluation.

        Args:
          state: from `begin_evaluation`.
          index: of the image in the evaluation data.
          prediction: of the image at its own size.
        """

    @abc.abstractmethod
    def scores(self, state: Any) -> dict[str, float | None]:
        """Returns the main metrics of an evaluation by their names; prints and writes nothing."""


def _require_instances(summaries: list[dict[str, Any]], data: schema.DataConfig) -> None:
    """Raises ValueError if summaries say that training data has no instance at all."""
    if summaries and all(summary.get("num_objects") == 0 for summary in summaries):
        num_crowds = sum(summary.get("num_crowds", 0) for summary in summaries)
        raise ValueError(
            f"the records of {data.input_path} have 0 instances ({counted(num_crowds, 'ignored region')}), so there is nothing to"
            " learn; the summary's `findings` say why, and data/coco_to_tfrecord.py has flags for what can be read"
        )


def _replicas(step_outputs: dict[str, Any]) -> Iterator[dict[str, Any]]:
    names = list(step_outputs)
    for values in zip(*(step_outputs[name] for name in names), strict=True):
        yield {name: value.numpy() for name, value in zip(names, values, strict=True)}
