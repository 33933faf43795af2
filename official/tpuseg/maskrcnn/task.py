"""The task of Mask R-CNN, which combines model, input, losses and evaluation."""

import functools
from typing import Any

import orbit
import tensorflow as tf
import tf_keras

from tpuseg.data import instance_records
from tpuseg.data.examples import Category
from tpuseg.data.instance_counts import InstanceCounts
from tpuseg.evaluation import coco
from tpuseg.maskrcnn import caps, config, evaluation, inputs, losses, model, targets, validation_loss
from tpuseg.maskrcnn.categories import RunCategories
from tpuseg.maskrcnn.predictions import Predictions
from tpuseg.training import tile_merging
from tpuseg.training.task import SegmentationTask


class Task(SegmentationTask):
    """Instance segmentation with Mask R-CNN (arXiv:1703.06870)."""

    loss_names = (
        *("loss", "rpn_objectness", "rpn_box", "class", "box", "mask", "regularization"),
        *("degenerate_boxes", "ignored_instances"),
    )
    records_kind = "instances"
    task_config: config.MaskRcnnConfig
    _loss_inputs: Any = None
    # Counts of the training records; None without training.
    _training_counts: InstanceCounts | None = None

    def build_model(self) -> tf_keras.Model:
        """Returns the model with its variables created."""
        return model.build(self.task_config.model)

    def fit_to_data(self, train: bool) -> None:
        """See `SegmentationTask`; derives the caps of instances, ignored regions and detections from the records."""
        super().fit_to_data(train)
        fitted = caps.fit(self.task_config, self.data_dir, train)
        if fitted.training and not fitted.training.num_instances:
            raise ValueError(
                f"the training data contains no instances ({self.task_config.train_data.input_path}), only images and"
                f" {fitted.training.num_crowds} ignored regions; look at the messages of the converter, and convert the data again"
            )
        self._task_config = fitted.config
        self._training_counts = fitted.training
        for note in caps.notes(fitted):
            print(note, flush=True)

    @functools.cached_property
    def classes(self) -> RunCategories:
        """See `SegmentationTask`."""
        return RunCategories(self.task_config, self.logging_dir or "", self.data_dir)

    def training_dataset(self, context: tf.distribute.InputContext | None, start_step: int) -> tf.data.Dataset:
        """See `SegmentationTask`."""
        return inputs.training_dataset(self.task_config, self.data_dir, context, start_step)

    def evaluation_dataset(self, context: tf.distribute.InputContext | None) -> tf.data.Dataset:
        """See `SegmentationTask`."""
        return inputs.evaluation_dataset(self.task_config, self.data_dir, context, self.evaluation_grids)

    def inspect_record(self, record: bytes) -> tuple[str, list[str]]:
        """See `SegmentationTask`."""
        model = self.task_config.model
        return instance_records.inspect_instances(record, model.num_classes, model.num_channels)

    def forward(self, model: tf_keras.Model, features: dict[str, tf.Tensor], labels: dict[str, tf.Tensor]) -> dict[str, Any]:
        """See `SegmentationTask`."""
        return self._learn(model, features, labels, updates_norms=True)

    def _learn(
        self, model: tf_keras.Model, features: dict[str, tf.Tensor], labels: dict[str, tf.Tensor], updates_norms: bool
    ) -> dict[str, Any]:
        """Returns the outputs of the model in training."""
        # The seeds are positions in the stream, so the samples of an image do not depend on its replica or on restarts.
        number = tf.cast(features["index"], tf.int32)
        truth = targets.GroundTruth(
            boxes=labels["boxes"],
            classes=labels["classes"],
            masks=tf.cast(labels["masks"], tf.float32) / 255.0,
            crowd_boxes=labels["crowd_boxes"],
            seeds=tf.stack([tf.fill(tf.shape(number), self.task_config.train_data.seed), number], axis=1),
            ignored_boxes=labels.get("ignored_boxes"),
        )
        size = features["image_size"]
        return model(features["image"], size, training=True, ground_truth=truth, updates_norms=updates_norms)

    def validation_losses(self, model: tf_keras.Model) -> dict[str, float]:
        """See `SegmentationTask`."""
        strategy = tf.distribute.get_strategy()
        replicas = strategy.num_replicas_in_sync
        steps = validation_loss.num_steps(self.task_config, self.data_dir, replicas)
        if not steps:
            return {}
        if self._loss_inputs is None:
            self._loss_inputs = orbit.utils.make_distributed_dataset(
                strategy,
                lambda input_context=None: validation_loss.dataset(self.task_config, self.data_dir, input_context, replicas),
            )
            self._loss_step = tf.function(self._sum_losses)
        totals: dict[str, tf.Tensor] = {}
        iterator = iter(self._loss_inputs)
        for _ in range(steps):
            for name, value in self._loss_step(iterator, model).items():
                totals[name] = totals.get(name, 0.0) + strategy.experimental_local_results(value)[0]
        return validation_loss.means(totals, self.task_config.losses)

    def _sum_losses(self, iterator: Any, model: tf_keras.Model) -> dict[str, tf.Tensor]:
        """Returns the sums and counts of the losses of the next step over all replicas."""

        def replica_step(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            return validation_loss.sums(self._learn(model, batch, batch, updates_norms=False), self.task_config)

        return tf.distribute.get_strategy().run(replica_step, args=(next(iterator),))

    def build_losses(self, labels: dict[str, tf.Tensor], model_outputs: Any, aux_losses: Any = None) -> dict[str, tf.Tensor]:
        """See `SegmentationTask`.

        In addition to the losses, `degenerate_boxes` is the number of boxes without area in the batch, which were dropped, and
        `ignored_instances` the number of objects that were ignored because of `max_instances`.
        """
        del aux_losses
        local = losses.terms(model_outputs, self.task_config.model, self.task_config.losses)
        replica = tf.distribute.get_replica_context()
        counts = replica.all_reduce(tf.distribute.ReduceOp.SUM, {name: term.count for name, term in local.items()})
        shares = losses.shares(local, counts, self.task_config.losses)
        degenerate, ignored = (tf.reduce_sum(tf.cast(labels[name], tf.float32)) for name in ("num_degenerate", "num_ignored"))
        return {**shares, "degenerate_boxes": degenerate, "ignored_instances": ignored}

    def validation_step(self, inputs: dict[str, tf.Tensor], model: tf_keras.Model, metrics: Any = None) -> dict[str, tf.Tensor]:
        """Predicts one batch.

        Returns:
          `boxes` [B, D, 4] pixels of the canvas, `scores`, `classes` and `valid` [B, D], `masks` [B, D, S, S], `image_size` [B, 2],
          `index` [B] int64 and `window` [B] if it is an input.
        """
        del metrics
        found = model(inputs["image"], inputs["image_size"], training=False)
        return {**found, "image_size": inputs["image_size"], **tile_merging.numbers(inputs)}

    @functools.cached_property
    def _truth(self) -> tuple[list[Category], list[coco.ImageTruth]]:
        """All objects of the evaluation data, read once in a run."""
        return evaluation.read_truth(self.task_config, self.data_dir, self.classes.categories)

    def begin_evaluation(self) -> evaluation.Evaluation:
        """See `SegmentationTask`."""
        counts = self._training_counts
        return evaluation.Evaluation(
            self.task_config, self._truth, self.predictions, counts, self.data_dir, self.logging_dir, self.evaluation_grids
        )

    @functools.cached_property
    def predictions(self) -> Predictions:
        """See `SegmentationTask`."""
        return Predictions(self.task_config, self.classes)
