"""One evaluation of Mask R-CNN: detections with masks at the images' own size, scored as COCO does."""

import itertools
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tpuseg.data import class_counts, instance_records, pipeline, records
from tpuseg.data.examples import Category, InstanceExample
from tpuseg.data.instance_counts import InstanceCounts
from tpuseg.evaluation import coco
from tpuseg.io import files
from tpuseg.maskrcnn import caps, prediction, report
from tpuseg.maskrcnn.config import MaskRcnnConfig
from tpuseg.maskrcnn.predictions import Predictions
from tpuseg.maskrcnn.tiles import ObjectMerger
from tpuseg.ops import windows
from tpuseg.training import collective, evaluation, tile_merging
from tpuseg.training.run_directory import PICTURE_SIDE, PICTURES_FOLDER
from tpuseg.visualization import drawing

RESULTS_FILE = "detections.json"


def read_truth(config: MaskRcnnConfig, data_dir: str, categories: list[Category]) -> tuple[list[Category], list[coco.ImageTruth]]:
    """Reads all objects of the evaluation data.

    Args:
      config: The task's configuration.
      data_dir: Folder where relative input patterns start.
      categories: The run's categories; records without a summary only have those that occur.
    """
    found, truths = coco.read_truth(pipeline.find_files(config.validation_data, data_dir))
    return found + categories[len(found) :], truths


class Evaluation(evaluation.Evaluation):
    """COCO's evaluation of one pass over the data."""

    def __init__(
        self,
        config: MaskRcnnConfig,
        truth: tuple[list[Category], list[coco.ImageTruth]],
        predictions: Predictions,
        training_counts: InstanceCounts | None,
        data_dir: str,
        model_dir: str,
        grids: Sequence[windows.Grid] | None = None,
    ) -> None:
        """Creates an evaluation without detections.

        Args:
          config: The task's configuration.
          truth: From `read_truth`.
          predictions: Draws detections.
          training_counts: What the training records hold, for the metrics; None if there is no training.
          data_dir: Folder where relative input patterns start.
          model_dir: Folder of the drawn images and the detections.
          grids: The windows of every image; None if whole images are evaluated.
        """
        self.evaluator = coco.CocoEvaluator(*truth, caps.evaluated_detections(config))
        self._config = config
        self._predictions = predictions
        self._training_counts = training_counts
        self._data_dir = data_dir
        self._model_dir = model_dir
        self._report_folder = ""
        # Detections of the images that are drawn, by their position in the data.
        self._drawn: dict[int, prediction.Objects] = {}
        self._tiled = None if grids is None else tile_merging.TiledImages(grids, ObjectMerger)

    def add_batch(self, outputs: dict[str, np.ndarray]) -> None:
        """Pastes the masks of one replica's images; see `training.evaluation`."""
        if self._tiled is not None:
            for index, merged in self._tiled.add_batch(outputs):
                self.add(index, merged)
                self._keep_drawn(index, merged)
            return
        for row, index in enumerate(outputs["index"].tolist()):
            if index < 0:  # Fills up the last batch.
                continue
            truth = self.evaluator.truths[index]
            found = prediction.scale_to_image(outputs, row, (truth.height, truth.width))
            self.evaluator.add(index, found.boxes, found.scores, found.classes, found.masks)
            self._keep_drawn(index, found)

    def _keep_drawn(self, index: int, found: prediction.Objects) -> None:
        if index < self._config.evaluation.num_pictures:
            self._drawn[index] = found

    def add(self, index: int, prediction: prediction.Objects) -> None:
        """See `training.evaluation`."""
        found = prediction
        self.evaluator.add_runs(index, found.boxes, found.scores, found.classes, found.runs())

    def scores(self) -> dict[str, float | None]:
        """See `training.evaluation`."""
        metrics = self.evaluator.metrics()
        return {"box AP": metrics["bbox"]["AP"], "mask AP": metrics["segm"]["AP"], "mask AP50": metrics["segm"]["AP50"]}

    def finish(self, step: int) -> dict[str, Any]:
        """Prints COCO's table, writes the detections and the images, and returns the metrics."""
        for other in collective.gather_over_workers(self.evaluator.detections):
            self.evaluator.detections.update(other)
        counts = InstanceCounts.of([truth.num_instances for truth in self.evaluator.truths])
        metrics = {**self.evaluator.metrics(), **caps.metrics(self._config, self._training_counts, counts)}
        print(coco.table(metrics), flush=True)
        for warning in caps.evaluation_warnings(self._config, counts, metrics["num_detections"]):
            print(f"warning: {warning}", flush=True)
        uncovered = class_counts.evaluation_warning(list(metrics["per_class"]), metrics["classes_without_truth"], "AP")
        if uncovered:
            print(f"warning: {uncovered}", flush=True)
        self.evaluator.write_results(os.path.join(self._model_dir, RESULTS_FILE))
        self._draw(step)
        return metrics

    def read_predictions(self, path: str) -> None:
        """See `training.evaluation`."""
        self.evaluator.read_results(path if path.endswith(".json") else os.path.join(path, RESULTS_FILE))

    def start_report(self, folder: str) -> None:
        """See `training.evaluation`."""
        self._report_folder = folder

    def write_report(self, evaluations: Sequence[Mapping[str, Any]]) -> str | None:
        """See `training.evaluation`."""
        return report.write(self._report_folder, self.evaluator, self._config, self._data_dir, evaluations)

    def write_comparison(
        self, names: Sequence[str], others: Sequence[evaluation.Evaluation], settings: Sequence[Mapping[str, Any]]
    ) -> str:
        """See `training.evaluation`."""
        evaluations = [one for one in (self, *others) if isinstance(one, Evaluation)]
        rows = zip(names, [one.evaluator for one in evaluations], settings, strict=True)
        return report.write_comparison(self._report_folder, list(rows), self._config, self._data_dir)

    def _draw(self, step: int) -> None:
        """Draws truth and detections side by side, for TensorBoard and the model directory."""
        for index, example in enumerate(self._first_examples()):
            if index not in self._drawn:
                continue
            image = records.decode_image(tf.constant(example.image), self._config.model.num_channels).numpy()
            image, found = drawing.reduce(image, PICTURE_SIDE), self._drawn[index]
            size = (image.shape[0], image.shape[1])
            found = found if found.size == size else self._predictions.resize(found, size)
            drawn = {"truth": self._predictions.draw_truth(example, image), "prediction": self._predictions.draw(found, image)}
            panel = drawing.beside([drawing.add_title(pixels, title) for title, pixels in drawn.items()])
            with files.optional("images of predictions"):
                tf.summary.image(f"prediction/{index}", panel[np.newaxis], step=step)
                drawing.write_png(os.path.join(self._model_dir, PICTURES_FOLDER, f"{index}.png"), panel)

    def _first_examples(self) -> list[InstanceExample]:
        paths = pipeline.find_files(self._config.validation_data, self._data_dir)
        raw = itertools.chain.from_iterable(map(records.read_raw, paths))
        first = itertools.islice(raw, self._config.evaluation.num_pictures)
        return [instance_records.read_instances(record) for record in first]
