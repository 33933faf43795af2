"""The task of DeepLab v3+, which combines model, input, losses and evaluation."""

import functools
from typing import Any

import tensorflow as tf
import tf_keras

from tpuseg.data import semantic_records
from tpuseg.deeplab import class_scores, config, inputs, losses, model
from tpuseg.deeplab.evaluation import Evaluation
from tpuseg.deeplab.predictions import Predictions
from tpuseg.training import tile_merging
from tpuseg.training.task import SegmentationTask


class Task(SegmentationTask):
    """Semantic segmentation with DeepLab v3+ (arXiv:1802.02611)."""

    loss_names = ("loss", "segmentation", "regularization")
    records_kind = "semantic"
    task_config: config.DeepLabConfig

    def build_model(self) -> tf_keras.Model:
        """Returns the model with its variables created."""
        return model.build(self.task_config.model)

    def training_dataset(self, context: tf.distribute.InputContext | None, start_step: int) -> tf.data.Dataset:
        """See `SegmentationTask`."""
        return inputs.training_dataset(self.task_config, self.data_dir, context, start_step)

    def evaluation_dataset(self, context: tf.distribute.InputContext | None) -> tf.data.Dataset:
        """See `SegmentationTask`."""
        return inputs.evaluation_dataset(self.task_config, self.data_dir, context, self.evaluation_grids)

    def inspect_record(self, record: bytes) -> tuple[str, list[str]]:
        """See `SegmentationTask`."""
        model, ignore_label = self.task_config.model, self.task_config.losses.ignore_label
        return semantic_records.inspect_semantic(record, model.num_classes, ignore_label, model.num_channels)

    def forward(self, model: tf_keras.Model, features: dict[str, tf.Tensor], labels: Any) -> dict[str, tf.Tensor]:
        """See `SegmentationTask`."""
        del labels
        return model(features["image"], training=True)

    def build_losses(self, labels: tf.Tensor, model_outputs: Any, aux_losses: Any = None) -> dict[str, tf.Tensor]:
        """See `SegmentationTask`."""
        del aux_losses
        loss_sum, weight_sum = losses.pixel_losses(labels, model_outputs["logits"], self.task_config.losses)
        replica = tf.distribute.get_replica_context()
        global_weight_sum = replica.all_reduce(tf.distribute.ReduceOp.SUM, weight_sum)
        share = losses.mean_loss(loss_sum, global_weight_sum)
        return {"loss": share, "segmentation": share}

    def validation_step(
        self, inputs: dict[str, tf.Tensor], model: tf_keras.Model, metrics: Any = None
    ) -> dict[str, tf.Tensor]:
        """Predicts one batch.

        Returns:
          `logits` [B, h, w, K] float32 (class scores: see `class_scores`), `index` [B] int64 and `window` [B] if it is an input.
        """
        del metrics
        scores = class_scores.class_scores(model, inputs["image"], self.task_config.evaluation)
        return {"logits": scores, **tile_merging.numbers(inputs)}

    def begin_evaluation(self) -> Evaluation:
        """See `SegmentationTask`."""
        truths = inputs.ground_truths(self.task_config, self.data_dir, self.evaluation_pipelines)
        return Evaluation(self.task_config, truths, self.classes.names, self.logging_dir, self.evaluation_grids)

    @functools.cached_property
    def predictions(self) -> Predictions:
        """See `SegmentationTask`."""
        return Predictions(self.task_config, self.classes)
