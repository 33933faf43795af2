"""From images to their class maps, and from class maps to files and colours."""

import numpy as np
import tensorflow as tf

from tpuseg.deeplab import inputs
from tpuseg.deeplab.config import DeepLabConfig, evaluation_canvas
from tpuseg.deeplab.tiles import ClassMerger
from tpuseg.evaluation import miou
from tpuseg.ops import windows
from tpuseg.training import predictions
from tpuseg.training.run_classes import RunClasses
from tpuseg.visualization import drawing, page


class Predictions(predictions.Predictions):
    """Predictions of a semantic model: the class ids of an image's pixels, [height, width] uint8."""

    def __init__(self, config: DeepLabConfig, classes: RunClasses) -> None:
        """Creates them.

        Args:
          config: The task's configuration.
          classes: The run's classes.
        """
        self._config = config
        self._classes = classes

    def inputs(self, images: list[np.ndarray]) -> dict[str, tf.Tensor]:
        """See `training.predictions`."""
        placed = tf.stack([inputs.place(tf.constant(image), self._config) for image in images])
        return {"image": placed, "index": tf.range(len(images), dtype=tf.int64)}

    def finish(self, outputs: dict[str, np.ndarray], images: list[np.ndarray]) -> list[np.ndarray]:
        """Returns the class ids of each image, [height, width] uint8."""
        canvas = evaluation_canvas(self._config)
        pairs = zip(outputs["logits"], images, strict=True)
        return [miou.class_map(logits, canvas, (image.shape[0], image.shape[1])) for logits, image in pairs]

    def merger(self, grid: windows.Grid) -> ClassMerger:
        """See `training.predictions`."""
        return ClassMerger(grid, evaluation_canvas(self._config))

    def resize(self, prediction: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Returns the class ids at another size, by nearest neighbour."""
        return windows.resize_nearest(prediction, size)

    def draw(self, prediction: np.ndarray, image: np.ndarray) -> np.ndarray:
        """Returns the image with the classes as transparent colours, and a legend below it; a small image is enlarged."""
        drawn = drawing.enlarge(drawing.overlay(image, prediction))
        width = drawn.shape[1]
        strip = drawing.legend(prediction, self._classes.names, width, text_size=drawing.readable_size(width))
        return np.concatenate([drawn, strip])

    def write_files(self, prediction: np.ndarray, stem: str) -> None:
        """Writes `_colors.png` (VOC's palette) and `_ids.png` (one class id per pixel)."""
        drawing.write_png(f"{stem}_colors.png", prediction, palette=drawing.color_map())
        drawing.write_png(f"{stem}_ids.png", prediction)

    def findings(self, prediction: np.ndarray) -> list[page.Finding]:
        """Returns names of the classes that occur and their share of the pixels, the largest first."""
        counts = np.bincount(prediction.ravel())
        order = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)].tolist()
        colors, names = drawing.color_map().tolist(), self._classes.names
        return [
            page.Finding(names[number], f"{counts[number] / prediction.size:.1%}", tuple(colors[number])) for number in order
        ]
