"""One evaluation of a semantic model: every image's pixels at its own size, compared with the truth on the host."""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tpuseg.deeplab import class_scores, inputs, validation_loss
from tpuseg.deeplab.config import DeepLabConfig, evaluation_canvas
from tpuseg.deeplab.report import ReportCollector
from tpuseg.deeplab.tiles import ClassMerger
from tpuseg.evaluation import miou
from tpuseg.io import files
from tpuseg.ops import windows
from tpuseg.training import collective, evaluation, tile_merging
from tpuseg.training.run_directory import PICTURE_SIDE, PICTURES_FOLDER
from tpuseg.visualization import drawing


class Evaluation(evaluation.Evaluation):
    """A confusion matrix, losses and a few drawn images.

    Attributes:
      matrix: The confusion matrix so far.
      losses: Sum and weight of each image's loss, by its position in the data.
    """

    def __init__(
        self,
        config: DeepLabConfig,
        truths: Iterator[inputs.Truth],
        class_names: list[str],
        model_dir: str,
        grids: Sequence[windows.Grid] | None = None,
    ) -> None:
        """Creates an evaluation without images.

        Args:
          config: The task's configuration.
          truths: The true labels of the evaluation stream's images, in the stream's order.
          class_names: Names of the classes.
          model_dir: Folder of the drawn images.
          grids: The windows of every image; None if whole images are evaluated.
        """
        self.matrix = miou.ConfusionMatrix(config.model.num_classes, config.losses.ignore_label)
        self.losses: dict[int, tuple[float, float]] = {}
        self._config = config
        self._truths = truths
        # Truths that were read before their predictions came.
        self._waiting: dict[int, inputs.Truth] = {}
        self._class_names = class_names
        self._model_dir = model_dir
        self._panels: list[np.ndarray] = []
        canvas = evaluation_canvas(config)
        self._report: ReportCollector | None = None
        self._tiled = None if grids is None else tile_merging.TiledImages(grids, lambda grid: ClassMerger(grid, canvas))

    def start_report(self, folder: str) -> None:
        """See `training.evaluation`."""
        if isinstance(tf.distribute.get_strategy(), tf.distribute.MultiWorkerMirroredStrategy):
            print("the report needs an evaluation by one worker: python official/evaluate.py writes it", flush=True)
            return
        self._report = ReportCollector(folder, self._class_names, self._config.losses.ignore_label)

    def write_report(self, evaluations: Sequence[Mapping[str, Any]]) -> str | None:
        """See `training.evaluation`."""
        return self._report.write(evaluations) if self._report is not None else None

    def add_batch(self, outputs: dict[str, np.ndarray]) -> None:
        """Counts the pixels of one replica's images; see `training.evaluation`."""
        if self._tiled is not None:
            for index, predicted in self._tiled.add_batch(outputs):
                self._count(self._truth(index), predicted)
            return
        canvas = evaluation_canvas(self._config)
        for index, logits in zip(outputs["index"], outputs["logits"], strict=True):
            if index < 0:  # Fills up the last batch.
                continue
            truth = self._truth(int(index))
            predicted = miou.class_map(logits, canvas, (truth.labels.shape[0], truth.labels.shape[1]))
            self._count(truth, predicted, logits)
            self.losses[int(index)] = validation_loss.image_loss(
                logits, truth.labels, canvas, self._config.losses, class_scores.are_logits(self._config.evaluation)
            )

    def _count(self, truth: inputs.Truth, predicted: np.ndarray, scores: np.ndarray | None = None) -> None:
        """Counts the pixels of one image, adds it to the report, and draws it if it is among the first ones."""
        self.matrix.add(truth.labels, predicted)
        if self._report is not None:
            confidence = None if scores is None else self._confidence(scores, (truth.labels.shape[0], truth.labels.shape[1]))
            self._report.add(truth, predicted, confidence)
        if len(self._panels) < self._config.evaluation.num_pictures:
            image, labels, classes = (drawing.reduce(part, PICTURE_SIDE) for part in (truth.image, truth.labels, predicted))
            self._panels.append(drawing.panel(image, labels, classes, self._class_names, self._config.losses.ignore_label))

    def _confidence(self, scores: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Returns the probability of the predicted class at every pixel of the image, [height, width] float32."""
        probabilities = np.asarray(scores, np.float32)
        if class_scores.are_logits(self._config.evaluation):
            probabilities = np.exp(probabilities - probabilities.max(-1, keepdims=True))
            probabilities /= probabilities.sum(-1, keepdims=True)
        return miou.interpolate(probabilities.max(-1), evaluation_canvas(self._config), size).clip(0, 1)

    def add(self, index: int, prediction: np.ndarray) -> None:
        """Counts the pixels of one image; see `training.evaluation`."""
        self.matrix.add(self._truth(index).labels, prediction)

    def scores(self) -> dict[str, float | None]:
        """See `training.evaluation`."""
        metrics = self.matrix.metrics(self._class_names)
        return {"mean IoU": metrics["mean_iou"], "pixel accuracy": metrics["pixel_accuracy"]}

    def _truth(self, index: int) -> inputs.Truth:
        if index in self._waiting:
            return self._waiting.pop(index)
        for truth in self._truths:
            self._waiting[truth.index] = truth
            if truth.index == index:
                break
        return self._waiting.pop(index)

    def finish(self, step: int) -> dict[str, Any]:
        """Prints the table of classes, draws the images, and returns the metrics."""
        self.matrix.counts = collective.sum_over_workers(self.matrix.counts)
        self.matrix.num_images = int(collective.sum_over_workers(np.array([self.matrix.num_images]))[0])
        print(self.matrix.table(self._class_names), flush=True)
        for warning in self.matrix.warnings(self._class_names):
            print(f"warning: {warning}", flush=True)
        self._draw(step)
        for other in collective.gather_over_workers(self.losses):
            self.losses.update(other)
        loss = validation_loss.mean(self.losses)
        if loss is not None:
            print(f"validation loss {loss:.4f}", flush=True)
        return {**self.matrix.metrics(self._class_names), "loss": loss}

    def _draw(self, step: int) -> None:
        for number, panel in enumerate(self._panels):
            with files.optional("images of predictions"):
                tf.summary.image(f"prediction/{number}", panel[np.newaxis], step=step)
                drawing.write_png(os.path.join(self._model_dir, PICTURES_FOLDER, f"{number}.png"), panel)
