"""The task of DeepLab v3+, which combines model, input, losses and evaluation."""

import dataclasses
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from tpuseg.data import records
from tpuseg.deeplab import config, inputs, losses, model, prediction, validation_loss
from tpuseg.evaluation import miou
from tpuseg.io import files
from tpuseg.training import collective
from tpuseg.training.run_directory import PICTURES_FOLDER
from tpuseg.training.task import SegmentationTask
from tpuseg.visualization import drawing, page


@dataclasses.dataclass
class Evaluation:
    """State of one pass over the evaluation data.

    Attributes:
      truths: ground truth of the images in the evaluation stream, in order.
      waiting: ground truth that was read before the prediction, by position in the data.
      matrix: the confusion matrix so far.
      panels: drawings of ground truth and prediction side by side.
      losses: sum and weight of the loss of each image, by position in the data.
    """

    truths: Iterator[inputs.Truth]
    waiting: dict[int, inputs.Truth]
    matrix: miou.ConfusionMatrix
    panels: list[np.ndarray]
    losses: dict[int, tuple[float, float]] = dataclasses.field(default_factory=dict)


def _size(image: np.ndarray) -> tuple[int, int]:
    """Returns (height, width) of an array of pixels."""
    return image.shape[0], image.shape[1]


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
        return inputs.evaluation_dataset(self.task_config, self.data_dir, context)

    def inspect_record(self, record: bytes) -> tuple[str, list[str]]:
        """See `SegmentationTask`."""
        model = self.task_config.model
        return records.inspect_semantic(record, model.num_classes, self.task_config.losses.ignore_label, model.num_channels)

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
          `logits` [B, h, w, K] float32 (class scores: see `prediction.class_scores`) and `index` [B] int64.
        """
        del metrics
        scores = prediction.class_scores(model, inputs["image"], self.task_config.evaluation)
        return {"logits": scores, "index": inputs["index"]}

    def begin_evaluation(self) -> Evaluation:
        """See `SegmentationTask`."""
        settings = self.task_config
        matrix = miou.ConfusionMatrix(settings.model.num_classes, settings.losses.ignore_label)
        return Evaluation(inputs.ground_truths(settings, self.data_dir, self.evaluation_pipelines), {}, matrix, [])

    def add_predictions(self, state: Evaluation, outputs: dict[str, np.ndarray]) -> None:
        """Adds one replica's predictions to the confusion matrix, at the original size of the images."""
        canvas = config.evaluation_canvas(self.task_config)
        for index, logits in zip(outputs["index"], outputs["logits"], strict=True):
            if index < 0:  # Padding of the last batch.
                continue
            truth = self._truth(state, int(index))
            predicted = miou.class_map(logits, canvas, _size(truth.labels))
            state.matrix.add(truth.labels, predicted)
            state.losses[int(index)] = validation_loss.image_loss(
                logits, truth.labels, canvas, self.task_config.losses, prediction.are_logits(self.task_config.evaluation)
            )
            if len(state.panels) < self.task_config.evaluation.num_pictures:
                names, ignore = self.class_names, self.task_config.losses.ignore_label
                state.panels.append(drawing.panel(truth.image, truth.labels, predicted, names, ignore))

    def add_prediction(self, state: Evaluation, index: int, prediction: np.ndarray) -> None:
        """See `SegmentationTask`."""
        state.matrix.add(self._truth(state, index).labels, prediction)

    def scores(self, state: Evaluation) -> dict[str, float | None]:
        """See `SegmentationTask`."""
        metrics = state.matrix.metrics(self.class_names)
        return {"mean IoU": metrics["mean_iou"], "pixel accuracy": metrics["pixel_accuracy"]}

    def _truth(self, state: Evaluation, index: int) -> inputs.Truth:
        if index in state.waiting:
            return state.waiting.pop(index)
        for truth in state.truths:
            state.waiting[truth.index] = truth
            if truth.index == index:
                break
        return state.waiting.pop(index)

    def finish_evaluation(self, state: Evaluation, step: int) -> dict[str, Any]:
        """Prints the table of classes, draws the images, and returns the metrics."""
        state.matrix.counts = collective.sum_over_workers(state.matrix.counts)
        state.matrix.num_images = int(collective.sum_over_workers(np.array([state.matrix.num_images]))[0])
        print(state.matrix.table(self.class_names), flush=True)
        for warning in state.matrix.warnings(self.class_names):
            print(f"warning: {warning}", flush=True)
        folder = os.path.join(self.logging_dir, PICTURES_FOLDER)
        for number, panel in enumerate(state.panels):
            with files.optional("images of predictions"):
                tf.summary.image(f"prediction/{number}", panel[np.newaxis], step=step)
                drawing.write_png(os.path.join(folder, f"{number}.png"), panel)
        for other in collective.gather_over_workers(state.losses):
            state.losses.update(other)
        loss = validation_loss.mean(state.losses)
        if loss is not None:
            print(f"validation loss {loss:.4f}", flush=True)
        return {**state.matrix.metrics(self.class_names), "loss": loss}

    def prediction_inputs(self, images: list[np.ndarray]) -> dict[str, tf.Tensor]:
        """See `SegmentationTask`."""
        placed = tf.stack([inputs.place(tf.constant(image), self.task_config) for image in images])
        return {"image": placed, "index": tf.range(len(images), dtype=tf.int64)}

    def finish_predictions(self, outputs: dict[str, np.ndarray], images: list[np.ndarray]) -> list[np.ndarray]:
        """Returns the class ids of each image, [height, width] uint8."""
        canvas = config.evaluation_canvas(self.task_config)
        pairs = zip(outputs["logits"], images, strict=True)
        return [miou.class_map(logits, canvas, _size(image)) for logits, image in pairs]

    def draw_prediction(self, prediction: np.ndarray, image: np.ndarray) -> np.ndarray:
        """Returns the image with the classes as transparent colours, and a legend below it; a small image is enlarged."""
        drawn = drawing.enlarged(drawing.overlay(image, prediction))
        width = drawn.shape[1]
        strip = drawing.legend(prediction, self.class_names, width, text_size=drawing.readable_size(width))
        return np.concatenate([drawn, strip])

    def write_prediction(self, prediction: np.ndarray, image: np.ndarray, stem: str) -> np.ndarray:
        """Writes `_overlay.png`, `_colors.png` (VOC's palette) and `_ids.png` (one class id per pixel)."""
        drawing.write_png(f"{stem}_colors.png", prediction, palette=drawing.color_map())
        drawing.write_png(f"{stem}_ids.png", prediction)
        return super().write_prediction(prediction, image, stem)

    def findings(self, prediction: np.ndarray) -> list[page.Finding]:
        """Returns the names of the predicted classes and their fractions of the pixels, in decreasing order."""
        counts = np.bincount(prediction.ravel())
        order = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)].tolist()
        colors = drawing.color_map().tolist()
        return [
            page.Finding(self.class_names[number], f"{counts[number] / prediction.size:.1%}", tuple(colors[number]))
            for number in order
        ]
