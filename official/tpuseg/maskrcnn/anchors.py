"""The anchors of the RPN: boxes of a few shapes at every cell of every level.

They depend only on the size of the canvas, so they are computed once with numpy and are constants in the graph.
"""

import numpy as np

from tpuseg.maskrcnn.config import AnchorConfig

# Levels P2 to P6 of the FPN: the stride of level l is 2^l pixels.
LEVELS = (2, 3, 4, 5, 6)


def cell_anchors(size: float, config: AnchorConfig) -> np.ndarray:
    """Returns the anchors around the point (0, 0).

    For each aspect ratio, height * width is the square of `size`, and height / width is the ratio. `rounded` rounds the corners
    (half to even), as torchvision does; detectron2 does not round.

    Args:
      size: square root of the area, in pixels.
      config: aspect ratios and rounding.

    Returns:
      [ratios, 4] float32 boxes in pixels, in the order of the ratios.
    """
    roots = np.sqrt(np.asarray(config.aspect_ratios, np.float64))
    heights, widths = size * roots, size / roots
    anchors = np.stack([-heights, -widths, heights, widths], axis=1) / 2
    return (np.round(anchors) if config.rounded else anchors).astype(np.float32)


def level_anchors(level: int, grid: tuple[int, int], config: AnchorConfig) -> np.ndarray:
    """Returns the anchors of one level.

    The anchors of the cell (i, j) are centred at stride * (i + offset, j + offset). Anchors are neither clipped nor omitted.

    Args:
      level: one of `LEVELS`.
      grid: (height, width) of the level in cells.
      config: sizes, aspect ratios and offset.

    Returns:
      [height * width * ratios, 4] float32 boxes in pixels of the canvas; cells row by row, with the anchors of a cell together.
    """
    stride = 2**level
    shapes = cell_anchors(config.sizes[level - LEVELS[0]], config)
    y, x = (stride * (np.arange(cells, dtype=np.float32) + np.float32(config.offset)) for cells in grid)
    centres = np.stack(np.broadcast_arrays(y[:, None], x[None, :], y[:, None], x[None, :]), axis=-1)
    return (centres[:, :, None] + shapes).reshape(-1, 4).astype(np.float32)
