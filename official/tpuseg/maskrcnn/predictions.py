"""From images to the objects in them, and from objects to drawings, lines and COCO's results."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from tpuseg.data.examples import InstanceExample
from tpuseg.evaluation import coco
from tpuseg.maskrcnn import inputs
from tpuseg.maskrcnn.categories import RunCategories
from tpuseg.maskrcnn.config import MaskRcnnConfig
from tpuseg.maskrcnn.prediction import Objects, scale_to_image
from tpuseg.maskrcnn.tiles import MergedObjects, ObjectMerger
from tpuseg.ops import mask_crops
from tpuseg.ops.masks import paste
from tpuseg.ops.windows import Grid
from tpuseg.training import predictions
from tpuseg.visualization import instance_drawing, page


class Predictions(predictions.Predictions):
    """Predictions of Mask R-CNN: the objects of an image."""

    detects_objects = True

    def __init__(self, config: MaskRcnnConfig, classes: RunCategories) -> None:
        """Creates them.

        Args:
          config: The task's configuration.
          classes: The run's classes.
        """
        self._config = config
        self._classes = classes

    def inputs(self, images: list[np.ndarray]) -> dict[str, tf.Tensor]:
        """See `training.predictions`."""
        placed = [inputs.place_on_canvas(tf.constant(image), self._config.model) for image in images]
        stacked = {name: tf.stack([row[name] for row in placed]) for name in ("image", "image_size")}
        return {**stacked, "index": tf.range(len(images), dtype=tf.int64)}

    def finish(self, outputs: dict[str, np.ndarray], images: list[np.ndarray]) -> list[Objects]:
        """Returns the objects in each image."""
        return [scale_to_image(outputs, row, (image.shape[0], image.shape[1])) for row, image in enumerate(images)]

    def merger(self, grid: Grid) -> ObjectMerger:
        """See `training.predictions`."""
        return ObjectMerger(grid)

    def resize(self, prediction: Objects, size: tuple[int, int]) -> Objects:
        """See `training.predictions`."""
        factor = np.array(size, np.float32) / prediction.size
        boxes = prediction.boxes * np.tile(factor, 2)
        return Objects(boxes, prediction.scores, prediction.classes, prediction.masks, size)

    def map_features(self, prediction: MergedObjects) -> Iterator[predictions.MapFeature]:
        """See `training.predictions`."""
        rows = zip(prediction.crops, prediction.classes.tolist(), prediction.scores.tolist(), strict=True)
        for crop, number, score in rows:
            category = self._classes.categories[number]
            properties = {"class": category.name, "category_id": category.id, "score": round(score, 6)}
            yield predictions.MapFeature(mask_crops.pixels(crop, crop.window), crop.top, crop.left, properties)

    def draw(self, prediction: Objects, image: np.ndarray) -> np.ndarray:
        """Returns masks, boxes, names and scores over the image, and below it the number of objects of every class."""
        shown, names = prediction.above(self._config.evaluation.drawn_score), self._classes.names
        captions = [f"{names[number]} {score:.2f}" for number, score in zip(shown.classes, shown.scores, strict=True)]
        drawn = instance_drawing.draw(image, shown.boxes, shown.runs(), captions, shown.classes)
        return instance_drawing.add_legend(drawn, shown.classes, names)

    def draw_truth(self, example: InstanceExample, image: np.ndarray) -> np.ndarray:
        """Returns the true masks, boxes and names over the image, and below it the number of objects of every class.

        Args:
          example: The image with its objects.
          image: [H, W, C] uint8, its pixels, which may be reduced.
        """
        objects = example.instances
        names = [instance.category.name + (" (ignored)" if instance.is_crowd else "") for instance in objects]
        factor = np.array(image.shape[:2]) / (example.height, example.width)
        boxes = np.array([instance.box for instance in objects]).reshape(-1, 4) * np.tile(factor, 2)
        classes = [instance.class_index for instance in objects]
        if (factor == 1).all() or not objects:
            runs = [instance.runs for instance in objects]
        else:
            frames = np.array([instance.frame for instance in objects], np.float32) / 255
            runs = paste(frames, boxes, (image.shape[0], image.shape[1])).runs
        drawn = instance_drawing.draw(image, boxes, runs, names, classes)
        counted = [instance.class_index for instance in objects if not instance.is_crowd]
        return instance_drawing.add_legend(drawn, counted, self._classes.names)

    def findings(self, prediction: Objects) -> list[page.Finding]:
        """Returns names and scores of the objects that are drawn."""
        shown, names = prediction.above(self._config.evaluation.drawn_score), self._classes.names
        rows = zip(shown.classes.tolist(), shown.scores.tolist(), strict=True)
        return [
            page.Finding(names[number], f"{score:.2f}", instance_drawing.color_of(number), score) for number, score in rows
        ]

    def results(self, prediction: Objects, image_id: int | str) -> list[dict[str, Any]]:
        """See `training.predictions`."""
        category_ids = [self._classes.categories[number].id for number in prediction.classes.tolist()]
        rows = coco.detections(prediction.boxes, prediction.scores, category_ids, prediction.runs())
        return [coco.as_result(row, image_id) for row in rows]
