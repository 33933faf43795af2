"""Windows of masks that are stored as run lengths, without decoding the whole mask.

The converters' worker processes import this module, so it does not import TensorFlow.
"""

import numpy as np

from tpuseg.ops import masks
from tpuseg.ops.masks import RunLengths
from tpuseg.ops.windows import Window


def bounding_window(runs: RunLengths) -> Window:
    """Returns the smallest window that contains a mask; it has no pixels if the mask is empty."""
    return Window(*masks.bounding_box(runs).astype(int).tolist())


def crop(runs: RunLengths, window: Window) -> np.ndarray:
    """Decodes a part of a mask.

    Runs go down the columns and continue at the top of the next one. They are divided at the ends of the columns and clipped to the
    rows of the window; at each beginning 1 is added and at each end subtracted, and the cumulative sum of a column is the mask.
    Example: an image of 4 rows, the run of the pixels 2 to 8, the window of the rows 1 to 3:

        column 0: rows 2, 3        clipped: row 2      changes of the rows 1, 2, 3:  0  1 -1     mask: 0 1
        column 1: rows 0 to 3               rows 1, 2                                1  0 -1           1 1
        column 2: row 0                     none                                     0  0  0           0 0

    Args:
      runs: run lengths at the size of the image.
      window: a window within the image.

    Returns:
      [h, w] uint8, 1 on the object.
    """
    height = runs["size"][0]
    bounds = np.cumsum(masks.decode_counts(runs["counts"], masks.MOST_CHARACTERS))
    starts, stops = bounds[:-1:2], bounds[1::2]
    near = (stops > window.left * height) & (starts < window.right * height) & (stops > starts)
    starts, stops = starts[near], stops[near]
    first, last = starts // height, (stops - 1) // height
    counts = last - first + 1
    owner = np.repeat(np.arange(len(starts)), counts)
    columns = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts - first, counts)
    tops = np.where(columns == first[owner], starts[owner] % height, 0)
    bottoms = np.where(columns == last[owner], (stops[owner] - 1) % height + 1, height)
    tops, bottoms = np.maximum(tops, window.top), np.minimum(bottoms, window.bottom)
    shown = (bottoms > tops) & (columns >= window.left) & (columns < window.right)
    columns, tops, bottoms = columns[shown] - window.left, tops[shown] - window.top, bottoms[shown] - window.top
    changes = np.zeros((window.right - window.left, window.bottom - window.top + 1), np.int8)
    # Neighbouring runs of a column are separated by at least one pixel, unless a run has no length.
    np.add.at(changes, (columns, tops), 1)
    np.add.at(changes, (columns, bottoms), -1)
    return np.cumsum(changes[:, :-1], axis=1, dtype=np.int8).T.astype(np.uint8)
