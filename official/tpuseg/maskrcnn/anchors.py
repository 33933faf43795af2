"""The RPN's anchors: boxes of a few shapes around every cell of every level.

They depend on the canvas alone, so they are made once, with numpy, and are constants of the graph.
"""

import numpy as np

from tpuseg.maskrcnn.config import AnchorConfig

# P2 to P6 of the pyramid: a cell of level l is 2^l pixels wide.
LEVELS = (2, 3, 4, 5, 6)


def cell_anchors(size: float, config: AnchorConfig) -> np.ndarray:
    """Returns the anchors around the point (0, 0).

    Height * width is `size` squared and height / width each of the aspect ratios, in their order. detectron2 leaves the
    corners where they fall; torchvision rounds them (half to even), which `rounded` does.

    Args:
      size: in pixels.
      config: aspect ratios and rounding.

    Returns:
      [ratios, 4] float32.
    """
    roots = np.sqrt(np.asarray(config.aspect_ratios, np.float64))
    heights, widths = size * roots, size / roots
    anchors = np.stack([-heights, -widths, heights, widths], axis=1) / 2
    return (np.round(anchors) if config.rounded else anchors).astype(np.float32)


def level_anchors(level: int, grid: tuple[int, int], config: AnchorConfig) -> np.ndarray:
    """Returns the anchors of one level.

    The cell (i, j) has its anchors centred at stride * (i + offset, j + offset). No anchor is clipped or left out.

    Args:
      level: one of `LEVELS`.
      grid: (height, width) of the level's features.
      config: sizes, shapes and offset.

    Returns:
      [height * width * ratios, 4] float32; row by row, and the shapes of a cell next to each other.
    """
    stride = 2**level
    shapes = cell_anchors(config.sizes[level - LEVELS[0]], config)
    y, x = (stride * (np.arange(cells, dtype=np.float32) + np.float32(config.offset)) for cells in grid)
    centres = np.stack(np.broadcast_arrays(y[:, None], x[None, :], y[:, None], x[None, :]), axis=-1)
    return (centres[:, :, None] + shapes).reshape(-1, 4).astype(np.float32)
