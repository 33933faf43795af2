"""The task of Mask R-CNN, which combines model, input, losses and evaluation."""

import dataclasses
import functools
import itertools
import os
from typing import Any

import numpy as np
import orbit
import tensorflow as tf
import tf_keras

from tpuseg.data import class_counts, instance_records, pipeline, records, summaries
from tpuseg.data.examples import Category, InstanceExample
from tpuseg.data.instance_counts import InstanceCounts
from tpuseg.evaluation import coco
from tpuseg.io import files
from tpuseg.maskrcnn import caps, config, inputs, losses, model, prediction, targets, validation_loss
from tpuseg.training import collective
from tpuseg.training.run_directory import PICTURES_FOLDER
from tpuseg.training.task import SegmentationTask
from tpuseg.visualization import drawing, instance_drawing, page
from tpuseg.weights import coco_classes

CATEGORIES_FILE = "categories.json"
RESULTS_FILE = "detections.json"


@dataclasses.dataclass
class Evaluation:
    """State of one pass over the evaluation data.

    Attributes:
      evaluator: contains the ground truth, and the detections so far.
      drawn: detections of the images that are drawn, by their position in the data.
    """

    evaluator: coco.CocoEvaluator
    drawn: dict[int, prediction.Objects]


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
    def categories(self) -> list[Category]:
        """The category ids and names of the data set in the order of classes, from the same source as `class_names`."""
        written = os.path.join(self.logging_dir, CATEGORIES_FILE)
        rows = summaries.read_categories(written) if self.logging_dir and files.exists(written) else []
        if [row["name"] for row in rows] != self.class_names:  # They belong to an earlier run in the folder.
            rows = self._categories_of_data()
        return [Category(row["id"], row["name"]) for row in rows] or [
            Category(number, name) for number, name in enumerate(self.class_names, start=1)
        ]

    def _categories_of_data(self) -> list[dict[str, Any]]:
        for data in (self.task_config.train_data, self.task_config.validation_data):
            summary = pipeline.read_summary(data, self.data_dir)
            if summary and "categories" in summary:
                return list(summary["categories"])
        return []

    def use_classes_of_data(self) -> None:
        """See `SegmentationTask`."""
        super().use_classes_of_data()
        rows = self._categories_of_data()
        if rows:
            self.categories = [Category(row["id"], row["name"]) for row in rows]

    def name_classes(self, names: list[str]) -> None:
        """See `SegmentationTask`; if all names are COCO's, the categories get COCO's ids."""
        super().name_classes(names)
        self.categories = [Category(number, name) for number, name in zip(coco_classes.ids_of(names), names, strict=True)]

    def write_class_names(self, folder: str = "") -> None:
        """Writes the names and ids of the classes; see `SegmentationTask`."""
        super().write_class_names(folder)
        rows = [dataclasses.asdict(category) for category in self.categories]
        files.write_json(os.path.join(folder or self.logging_dir, CATEGORIES_FILE), rows)

    def training_dataset(self, context: tf.distribute.InputContext | None, start_step: int) -> tf.data.Dataset:
        """See `SegmentationTask`."""
        return inputs.training_dataset(self.task_config, self.data_dir, context, start_step)

    def evaluation_dataset(self, context: tf.distribute.InputContext | None) -> tf.data.Dataset:
        """See `SegmentationTask`."""
        return inputs.evaluation_dataset(self.task_config, self.data_dir, context)

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
          `boxes` [B, D, 4] pixels of the canvas, `scores`, `classes` and `valid` [B, D], `masks` [B, D, S, S], `image_size` [B, 2]
          and `index` [B] int64.
        """
        del metrics
        found = model(inputs["image"], inputs["image_size"], training=False)
        return {**found, "image_size": inputs["image_size"], "index": inputs["index"]}

    @functools.cached_property
    def _truths(self) -> tuple[list[Category], list[coco.ImageTruth]]:
        """The categories and all objects of the evaluation data, read once per run."""
        categories, truths = coco.read_truth(pipeline.find_files(self.task_config.validation_data, self.data_dir))
        # Records without a summary contain only the categories that occur.
        return categories + self.categories[len(categories) :], truths

    def begin_evaluation(self) -> Evaluation:
        """See `SegmentationTask`."""
        return Evaluation(coco.CocoEvaluator(*self._truths, caps.detections(self.task_config.model.detection)), {})

    def add_predictions(self, state: Evaluation, outputs: dict[str, np.ndarray]) -> None:
        """Adds the detections of one replica's images at their original size."""
        for row, index in enumerate(outputs["index"].tolist()):
            if index < 0:  # Padding of the last batch.
                continue
            truth = state.evaluator.truths[index]
            found = prediction.scale_to_image(outputs, row, (truth.height, truth.width))
            state.evaluator.add(index, found.boxes, found.scores, found.classes, found.masks)
            if index < self.task_config.evaluation.num_pictures:
                state.drawn[index] = found

    def add_prediction(self, state: Evaluation, index: int, prediction: prediction.Objects) -> None:
        """See `SegmentationTask`."""
        found = prediction
        state.evaluator.add_runs(index, found.boxes, found.scores, found.classes, found.runs())

    def scores(self, state: Evaluation) -> dict[str, float | None]:
        """See `SegmentationTask`."""
        metrics = state.evaluator.metrics()
        return {"box AP": metrics["bbox"]["AP"], "mask AP": metrics["segm"]["AP"], "mask AP50": metrics["segm"]["AP50"]}

    def finish_evaluation(self, state: Evaluation, step: int) -> dict[str, Any]:
        """Prints COCO's table, writes the detections and the images, and returns the metrics."""
        for other in collective.gather_over_workers(state.evaluator.detections):
            state.evaluator.detections.update(other)
        counts = InstanceCounts.of([truth.num_instances for truth in state.evaluator.truths])
        metrics = {**state.evaluator.metrics(), **caps.metrics(self.task_config, self._training_counts, counts)}
        print(coco.table(metrics), flush=True)
        for warning in caps.evaluation_warnings(self.task_config, counts, metrics["num_detections"]):
            print(f"warning: {warning}", flush=True)
        uncovered = class_counts.evaluation_warning(list(metrics["per_class"]), metrics["classes_without_truth"], "AP")
        if uncovered:
            print(f"warning: {uncovered}", flush=True)
        state.evaluator.write_results(os.path.join(self.logging_dir, RESULTS_FILE))
        self._draw(state, step)
        return metrics

    def _draw(self, state: Evaluation, step: int) -> None:
        """Draws ground truth and detections side by side, for TensorBoard and the model directory."""
        for index, example in enumerate(self._first_examples()):
            if index not in state.drawn:
                continue
            image = records.decode_image(tf.constant(example.image), self.task_config.model.num_channels).numpy()
            objects = example.instances
            names = [instance.category.name + (" (ignored)" if instance.is_crowd else "") for instance in objects]
            boxes = np.array([instance.box for instance in objects]).reshape(-1, 4)
            classes = [instance.class_index for instance in objects]
            truth = instance_drawing.draw(image, boxes, [instance.runs for instance in objects], names, classes)
            truth = instance_drawing.add_legend(truth, [c.class_index for c in objects if not c.is_crowd], self.class_names)
            found = self.draw_prediction(state.drawn[index], image)
            panel = drawing.beside([drawing.add_title(truth, "truth"), drawing.add_title(found, "prediction")])
            with files.optional("images of predictions"):
                tf.summary.image(f"prediction/{index}", panel[np.newaxis], step=step)
                drawing.write_png(os.path.join(self.logging_dir, PICTURES_FOLDER, f"{index}.png"), panel)

    def _first_examples(self) -> list[InstanceExample]:
        paths = pipeline.find_files(self.task_config.validation_data, self.data_dir)
        raw = itertools.chain.from_iterable(map(records.read_raw, paths))
        first = itertools.islice(raw, self.task_config.evaluation.num_pictures)
        return [instance_records.read_instances(record) for record in first]

    def prediction_inputs(self, images: list[np.ndarray]) -> dict[str, tf.Tensor]:
        """See `SegmentationTask`."""
        placed = [inputs.place_on_canvas(tf.constant(image), self.task_config.model) for image in images]
        stacked = {name: tf.stack([row[name] for row in placed]) for name in ("image", "image_size")}
        return {**stacked, "index": tf.range(len(images), dtype=tf.int64)}

    def finish_predictions(self, outputs: dict[str, np.ndarray], images: list[np.ndarray]) -> list[prediction.Objects]:
        """Returns the objects in each image."""
        sizes = [(image.shape[0], image.shape[1]) for image in images]
        return [prediction.scale_to_image(outputs, row, size) for row, size in enumerate(sizes)]

    def draw_prediction(self, prediction: prediction.Objects, image: np.ndarray) -> np.ndarray:
        """Returns masks, boxes, names and scores over the image, and below it the number of objects of every class."""
        shown = prediction.above(self.task_config.evaluation.drawn_score)
        captions = [f"{self.class_names[number]} {score:.2f}" for number, score in zip(shown.classes, shown.scores, strict=True)]
        drawn = instance_drawing.draw(image, shown.boxes, shown.runs(), captions, shown.classes)
        return instance_drawing.add_legend(drawn, shown.classes, self.class_names)

    def findings(self, prediction: prediction.Objects) -> list[page.Finding]:
        """Returns names and scores of the objects that are drawn."""
        shown = prediction.above(self.task_config.evaluation.drawn_score)
        rows = zip(shown.classes.tolist(), shown.scores.tolist(), strict=True)
        return [
            page.Finding(self.class_names[number], f"{score:.2f}", instance_drawing.color_of(number), score)
            for number, score in rows
        ]

    def results(self, found: prediction.Objects, image_id: int | str) -> list[dict[str, Any]]:
        """See `SegmentationTask`."""
        category_ids = [self.categories[number].id for number in found.classes.tolist()]
        rows = coco.detections(found.boxes, found.scores, category_ids, found.runs())
        return [coco.as_result(row, image_id) for row in rows]
