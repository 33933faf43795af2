"""Mean intersection over union as in the VOC challenge: one confusion matrix over all images at their original size."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tpuseg.data import class_counts
from tpuseg.layers.resize import sampling_matrix, to_input_positions
from tpuseg.ops.images import placed_size
from tpuseg.utils.messages import format_count

# Number of interpolated logits that are computed at once, so that an image of 12 megapixels does not need gigabytes.
BLOCK = 8_000_000


class ConfusionMatrix:
    """Numbers of pixels by true class and predicted class.

    Attributes:
      counts: [K, K] int64; rows are true classes, columns predicted classes.
      num_images: number of images added.
    """

    def __init__(self, num_classes: int, ignore_label: int) -> None:
        self.counts = np.zeros((num_classes, num_classes), np.int64)
        self.num_images = 0
        self._ignore_label = ignore_label

    def add(self, truth: np.ndarray, prediction: np.ndarray) -> None:
        """Adds one image.

        Args:
          truth: [H, W] class ids; pixels with the ignore label are ignored.
          prediction: [H, W] class ids.

        Raises:
          ValueError: the sizes differ, or the ground truth has a value that is not a class.
        """
        if truth.shape != prediction.shape:
            raise ValueError(f"the prediction is {prediction.shape}, the truth {truth.shape}")
        valid = truth != self._ignore_label
        size = len(self.counts)
        true, predicted = truth[valid].astype(np.int64), prediction[valid].astype(np.int64)
        if true.size and true.max() >= size:
            raise ValueError(f"the truth has the value {true.max()}, but there are {size} classes")
        self.counts += np.bincount(true * size + predicted, minlength=size * size).reshape(size, size)
        self.num_images += 1

    def iou(self) -> np.ndarray:
        """Returns the IoU of each class, [K]; NaN for a class that occurs neither in the ground truth nor in a prediction."""
        hits = np.diag(self.counts)
        union = self.counts.sum(0) + self.counts.sum(1) - hits
        return _divide(hits, union)

    def metrics(self, class_names: Sequence[str]) -> dict[str, Any]:
        """Returns the metrics of an evaluation.

        The IoU of a class that does not occur is `None` and is not part of the mean; so is an accuracy without pixels.
        """
        iou = self.iou()
        hits, truths = np.diag(self.counts), self.counts.sum(1)
        return {
            "mean_iou": _mean(iou),
            "pixel_accuracy": _none_if_nan(_divide(hits.sum(), truths.sum())),
            "mean_accuracy": _mean(_divide(hits, truths)),
            "per_class_iou": {name: _none_if_nan(value) for name, value in zip(class_names, iou, strict=True)},
            "num_images": self.num_images,
            "classes_without_truth": self.without_truth(class_names),
        }

    def without_truth(self, class_names: Sequence[str]) -> list[str]:
        """Returns the names of the classes without pixels in the ground truth."""
        return [name for name, count in zip(class_names, self.counts.sum(1), strict=True) if not count]

    def table(self, class_names: Sequence[str]) -> str:
        """Formats the IoU of each class and its fraction of the pixels as a table."""
        width = max(len(name) for name in [*class_names, "mean IoU"])
        total = max(self.counts.sum(), 1)
        rows = [f"{'class':{width}}     IoU   pixels"]
        for name, iou, count in zip(class_names, self.iou(), self.counts.sum(1), strict=True):
            shown = "     -" if np.isnan(iou) else f"{iou:6.4f}"
            rows.append(f"{name:{width}}  {shown}  {count / total:6.2%}")
        mean = self.metrics(class_names)["mean_iou"]
        covered = class_counts.coverage(len(class_names), self.without_truth(class_names))
        shown = "     -" if mean is None else f"{mean:6.4f}"
        rows.append(f"{'mean IoU':{width}}  {shown}  of {format_count(self.num_images, 'image')}{covered}")
        return "\n".join(rows)

    def warnings(self, class_names: Sequence[str]) -> list[str]:
        """Returns warnings about the metrics: classes without ground truth, and predictions of only one class."""
        uncovered = class_counts.evaluation_warning(class_names, self.without_truth(class_names), "mean IoU")
        return [found for found in (uncovered, self._collapse(class_names)) if found]

    def _collapse(self, class_names: Sequence[str]) -> str | None:
        """Returns a warning if nearly all pixels have the same predicted class although the ground truth has several."""
        predicted = self.counts.sum(0)
        total = predicted.sum()
        if np.count_nonzero(self.counts.sum(1)) < 2 or predicted.max() <= 0.99 * total:
            return None
        return (
            f"`{class_names[int(predicted.argmax())]}` is predicted for {predicted.max() / total:.1%} of the pixels: the model has"
            " not learned the other classes yet; check the learning rate, the initial weights and the class weights"
        )


def _divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(numerator, np.float64) / denominator


def _none_if_nan(value: Any) -> float | None:
    return None if np.isnan(value) else float(value)


def _mean(values: np.ndarray) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None


def class_map(logits: np.ndarray, canvas: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """Returns the class of every pixel of an image at its original size.

    The logits are interpolated bilinearly at the centres of the image's pixels, and the class with the largest one is chosen.

    Args:
      logits: [h, w, K] float logits of a canvas with the image in its top-left corner, reduced if it does not fit.
      canvas: (H, W) of the network's input.
      size: (height, width) of the image.

    Returns:
      [height, width] uint8.
    """
    height, width, num_classes = logits.shape
    placed = placed_size(size, canvas)
    rows = score_positions(size[0], placed[0], height, canvas[0])
    columns = sampling_matrix(score_positions(size[1], placed[1], width, canvas[1]), width)
    classes = np.empty(size, np.uint8)
    step = max(1, BLOCK // (size[1] * num_classes))
    flat = np.ascontiguousarray(logits, np.float32).reshape(height, width * num_classes)
    for start in range(0, size[0], step):
        block = sampling_matrix(rows[start : start + step], height) @ flat
        block = block.reshape(-1, width, num_classes)
        classes[start : start + step] = np.matmul(columns, block).argmax(-1)
    return classes


def interpolate(values: np.ndarray, canvas: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """Returns values of the network's cells at the pixels of an image, by bilinear interpolation, [height, width] float32.

    Args:
      values: [h, w] float values of a canvas; see `class_map`, also for the other arguments.
      canvas: (H, W) of the network's input.
      size: (height, width) of the image.
    """
    placed = placed_size(size, canvas)
    rows, columns = (
        sampling_matrix(score_positions(size[axis], placed[axis], values.shape[axis], canvas[axis]), values.shape[axis])
        for axis in (0, 1)
    )
    return rows @ np.asarray(values, np.float32) @ columns.T


def score_positions(size: int, placed: int, size_in: int, size_out: int) -> np.ndarray:
    """Returns the positions of the pixels of an image along one axis, in cells of the network's scores; see `class_map`.

    Args:
      size: number of pixels of the image.
      placed: number of pixels of the image on the canvas.
      size_in: number of scores.
      size_out: number of pixels of the canvas.
    """
    on_canvas = (np.arange(size) + 0.5) * placed / size - 0.5
    return to_input_positions(on_canvas, size_in, size_out)
