"""The loss on evaluation data, on the host, at the places where the network has its logits.

Training's loss is of every pixel. At an evaluation the logits come to the host as they are, and upsampling them once more would
cost as much as the evaluation itself; the cross entropy at the centres of the logits' cells, every fourth pixel, estimates it.
"""

import numpy as np

from tpuseg.deeplab.config import LossConfig
from tpuseg.ops.images import placed_size

_SMALLEST = 1e-7  # Probabilities of several scales are added up in float32.


def cell_positions(num_cells: int, size: int) -> np.ndarray:
    """Returns where the centres of a row of cells lie, in pixels of a canvas of `size`; see `resize.to_input_positions`."""
    cells = np.arange(num_cells, dtype=np.float64)
    if num_cells > 1 and size % 2 == 1 and (size - 1) % (num_cells - 1) == 0:
        return cells * (size - 1) / (num_cells - 1)
    return (cells + 0.5) * size / num_cells - 0.5


def image_loss(
    scores: np.ndarray, labels: np.ndarray, canvas: tuple[int, int], config: LossConfig, are_logits: bool
) -> tuple[float, float]:
    """Returns the loss of one image: the sum of weight * cross entropy over the cells, and the sum of weights.

    Args:
      scores: [h, w, K] of a canvas in whose top-left corner the image lies, shrunk if it does not fit.
      labels: [height, width] class ids or the ignore label, at the image's own size.
      canvas: (H, W) of the network's input.
      config: ignore label, class weights and label smoothing; all pixels count, also with `hard_pixel_fraction`.
      are_logits: whether the scores are logits; otherwise they are probabilities.
    """
    placed = placed_size((labels.shape[0], labels.shape[1]), canvas)
    rows, columns = (_pixels(scores.shape[axis], canvas[axis], placed[axis], labels.shape[axis]) for axis in (0, 1))
    truth = labels[rows][:, columns].astype(np.int64)
    valid = (truth != config.ignore_label) & (truth < scores.shape[-1])
    truth, values = truth[valid], scores[: len(rows), : len(columns)][valid].astype(np.float32)
    if are_logits:
        values = values - values.max(axis=-1, keepdims=True)
        values -= np.log(np.exp(values).sum(axis=-1, keepdims=True))
    else:
        values = np.log(np.maximum(values, _SMALLEST))
    cross_entropy = -np.take_along_axis(values, truth[:, np.newaxis], axis=-1)[:, 0].astype(np.float64)
    if config.label_smoothing:
        uniform = -values.mean(axis=-1, dtype=np.float64)
        cross_entropy = (1 - config.label_smoothing) * cross_entropy + config.label_smoothing * uniform
    weights = np.array(config.class_weights)[truth] if config.class_weights else np.ones(len(truth))
    return float((weights * cross_entropy).sum()), float(weights.sum())


def _pixels(num_cells: int, canvas: int, placed: int, size: int) -> np.ndarray:
    """Returns the image's pixels, of `size` in a row, in which the cells' centres lie; cells beside the image have none."""
    centres = cell_positions(num_cells, canvas) + 0.5
    inside = centres[centres < placed]
    return np.minimum((inside * size / placed).astype(np.int64), size - 1)


def mean(losses: dict[int, tuple[float, float]]) -> float | None:
    """Returns the mean over all images' cells, None if none counts; the same in whatever order the images came."""
    ordered = [losses[index] for index in sorted(losses)]
    weight = sum(weight for _, weight in ordered)
    return sum(loss for loss, _ in ordered) / weight if weight else None
