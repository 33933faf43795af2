"""Palette PNGs: whether the palette indices or the colours are the classes.

Programs that compress PNGs (pngquant, ImageMagick, Pillow's `quantize`) change the order of the colours in a palette, so that the
index of a pixel is no longer the id of its class, although the displayed image is the same:

    labelmap            palette by the labelling program   palette after pngquant
    0 background black  0 black                            0 blue
    1 red               1 red                              1 black
    2 blue              2 blue                             2 red
"""

import functools

import numpy as np

from tpuseg.convert import mask_values
from tpuseg.convert.mask_values import LabelRules
from tpuseg.utils.messages import format_count
from tpuseg.visualization.drawing import IGNORE_COLOR, color_map

BY_COLOR = "read by the colours of their palette, which are those of the classes in another order"
BY_NUMBER = "read by the indices of their palette, although it has VOC's colours in another order (see --palette=colors)"
_NO_CLASS = -1


def to_values(indices: np.ndarray, palette: bytes, rules: LabelRules, path: str) -> tuple[np.ndarray, str]:
    """Returns the values of a palette image: the palette indices, or the class ids of the colours.

    Args:
      indices: [H, W] uint8 palette indices.
      palette: red, green and blue of each index.
      rules: the colours of the classes, and `palette`, which of both to use.
      path: path of the file, for messages.

    Returns:
      [H, W] uint8, and a note on how the mask was read, or an empty string.

    Raises:
      ValueError: the palette contradicts the colours of the labelmap, and it is unclear which of them is right.
    """
    if rules.palette == "index" or rules.values.changes_values:
        return indices, ""
    ids = _ids_of_palette(palette, rules)
    if rules.palette == "auto" and (ids[: rules.num_classes] == np.arange(rules.num_classes)).all():
        return indices, ""  # The usual palette: every class has its colour at its own index.
    if rules.palette == "auto" and not rules.colors and (ids[: len(palette) // 3] == _NO_CLASS).any():
        return indices, ""  # A custom palette, whose colours are not known.
    used = np.flatnonzero(np.bincount(indices.ravel(), minlength=256))
    numbers_agree = (ids[used] == used) | ((used == rules.ignore_label) & (ids[used] == _NO_CLASS))
    if rules.palette == "auto" and numbers_agree.all():
        return indices, ""
    if rules.palette == "colors" or (rules.colors and (ids[used] != _NO_CLASS).all()):
        return _translate(indices, used, ids, palette, path), BY_COLOR
    if not rules.colors:
        return indices, BY_NUMBER
    if _is_usual(palette, used):
        return indices, ""
    wrong = int(used[~numbers_agree][0])
    color = f"{_color(palette, wrong)}, which is not a colour of the labelmap"
    detail = color if ids[wrong] == _NO_CLASS else f"the colour of class {ids[wrong]}"
    raise ValueError(
        f"{path}: its palette and the labelmap contradict each other: index {wrong} has {detail}; correct the labelmap, save the"
        " mask as RGB, or use the palette indices as class ids with --palette=index"
    )


def _translate(indices: np.ndarray, used: np.ndarray, ids: np.ndarray, palette: bytes, path: str) -> np.ndarray:
    unknown = [int(number) for number in used if ids[number] == _NO_CLASS]
    if unknown:
        raise ValueError(
            f"{path}: {format_count(int((indices == unknown[0]).sum()), 'pixel has', 'pixels have')} the colour"
            f" {_color(palette, unknown[0])}, which is not that of a class; correct the mask or the labelmap, or use the palette's"
            " numbers as class ids with --palette=index"
        )
    return np.where(ids < 0, 0, ids).astype(np.uint8)[indices]


def _color(palette: bytes, number: int) -> tuple[int, ...]:
    return tuple(palette[3 * number : 3 * number + 3])


@functools.lru_cache(maxsize=16)
def _ids_of_palette(palette: bytes, rules: LabelRules) -> np.ndarray:
    """Returns the class of the colour at each index, [256] int64; -1 if no class has it, or the palette is shorter."""
    known = {tuple(color): number for number, color in enumerate(mask_values.class_colors(rules).tolist())}
    known.setdefault(IGNORE_COLOR, rules.ignore_label)
    return np.array([known.get(_color(palette, number), _NO_CLASS) for number in range(256)])


def _is_usual(palette: bytes, used: np.ndarray) -> bool:
    """Returns whether the used colours are usual ones for class ids: VOC's colours, or greys."""
    colors = [_color(palette, number) for number in used.tolist()]
    grey = [(number,) * 3 for number in used.tolist()]
    voc = [tuple(color) for color in color_map()[used].tolist()]
    return colors in (grey, voc)
