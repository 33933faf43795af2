"""How well anchors fit the objects of a data set."""

from collections.abc import Sequence

import numpy as np

from tpuseg.maskrcnn import anchors
from tpuseg.maskrcnn.config import AnchorConfig


def on_canvas(boxes: np.ndarray, image_sizes: np.ndarray, canvas: Sequence[int]) -> np.ndarray:
    """Returns boxes in pixels of the canvas that images are resized to, as large as it allows.

    Args:
      boxes: [N, 4] yxyx boxes in pixels of their images.
      image_sizes: [N, 2] height and width of the image of each box.
      canvas: height and width.
    """
    scale = (np.asarray(canvas, np.float64) / image_sizes).min(axis=1)
    return boxes * scale[:, None]


def best_iou(boxes: np.ndarray, canvas: Sequence[int], config: AnchorConfig) -> np.ndarray:
    """Returns the IoU of each box with the anchor that fits it best.

    For boxes of one size, the IoU is largest where the centres are closest, so one cell of each level is sufficient.

    Args:
      boxes: [N, 4] yxyx boxes in pixels of the canvas.
      canvas: height and width.
      config: of the anchors.

    Returns:
      [N] float64.
    """
    best = np.zeros(len(boxes))
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    for level, size in zip(anchors.LEVELS, config.sizes, strict=True):
        stride = 2**level
        last = np.maximum(np.ceil(np.asarray(canvas) / stride) - 1, 0)
        cells = np.clip(np.round(centres / stride - config.offset), 0, last)
        nearest = stride * (cells + config.offset)
        for shape in anchors.cell_anchors(size, config).astype(np.float64):
            best = np.maximum(best, _iou(boxes, np.concatenate([nearest, nearest], axis=1) + shape))
    return best


def recall(boxes: np.ndarray, canvas: Sequence[int], config: AnchorConfig, iou: float) -> float:
    """Returns the share of boxes for which an anchor has at least this IoU; 0 without boxes."""
    return float(np.mean(best_iou(boxes, canvas, config) >= iou)) if len(boxes) else 0.0


def _iou(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Returns the IoU of each box with the other one of its row, [N]."""
    sides = np.minimum(boxes[:, 2:], others[:, 2:]) - np.maximum(boxes[:, :2], others[:, :2])
    common = np.prod(np.maximum(sides, 0), axis=1)
    areas = [np.prod(one[:, 2:] - one[:, :2], axis=1) for one in (boxes, others)]
    return common / np.maximum(areas[0] + areas[1] - common, 1e-9)
