"""The validation loss, computed on the host at the positions of the logits.

The training loss is computed from every pixel. In evaluation, the logits are transferred to the host at stride 4, and upsampling
them for the loss would take as long as the evaluation itself. The cross entropy at the centres of the logits' cells, which are
every fourth pixel, is an estimate of the loss.
"""

import numpy as np

from tpuseg.deeplab.config import LossConfig
from tpuseg.ops.images import placed_size

_SMALLEST = 1e-7  # Averages of probabilities in float32 can be 0.


def cell_positions(num_cells: int, size: int) -> np.ndarray:
    """Returns the positions of the centres of cells, in pixels of a canvas of `size`; see `resize.to_input_positions`."""
    cells = np.arange(num_cells, dtype=np.float64)
    if num_cells > 1 and size % 2 == 1 and (size - 1) % (num_cells - 1) == 0:
        return cells * (size - 1) / (num_cells - 1)
    return (cells + 0.5) * size / num_cells - 0.5


def image_loss(
    scores: np.ndarray, labels: np.ndarray, canvas: tuple[int, int], config: LossConfig, are_logits: bool
) -> tuple[float, float]:
    """Returns the loss of one image: the sum of weight * cross entropy over the cells, and the sum of weights.

    Args:
      scores: [h, w, K] class scores of a canvas with the image in its top-left corner, reduced if it does not fit.
      labels: [height, width] class ids or the ignore label, at the image's original size.
      canvas: (H, W) of the network's input.
      config: ignore label, class weights and label smoothing; `hard_pixel_fraction` is not used.
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
    """Returns the pixel of the image, along an axis of `size` pixels, at the centre of each cell that lies in the image."""
    centres = cell_positions(num_cells, canvas) + 0.5
    inside = centres[centres < placed]
    return np.minimum((inside * size / placed).astype(np.int64), size - 1)


def mean(losses: dict[int, tuple[float, float]]) -> float | None:
    """Returns the mean over the cells of all images, None if all are ignored; independent of the order of the images."""
    ordered = [losses[index] for index in sorted(losses)]
    weight = sum(weight for _, weight in ordered)
    return sum(loss for loss, _ in ordered) / weight if weight else None
