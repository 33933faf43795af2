"""Mapping the values and colours of mask files to class ids.

This module imports only NumPy, so that worker processes start quickly.
"""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from tpuseg.utils.messages import format_count
from tpuseg.visualization.drawing import IGNORE_COLOR, color_map

# Masks in records have 8 bits.
LARGEST_ID = 255
# Range of values that can be mapped: 16 bits, and -1, which some programs write for ignored pixels.
_SMALLEST_VALUE, _LARGEST_VALUE = -1, 65535
_IGNORE = "ignore"
_ALL_OTHERS = "*"
PALETTE_CHOICES = ("auto", "index", "colors")


@dataclasses.dataclass(frozen=True)
class ValueRules:
    """Rules that map values of mask files to class ids; by default the values are the ids.

    Attributes:
      offset: is added to every value that is neither ignored nor mapped; -1 for data sets whose first class is 1.
      ignored: values of ignored pixels, in addition to the ignore label.
      mapped: pairs of a value and its class id; None stands for the ignore label.
      ignores_others: whether values that are not in a pair are ignored.
    """

    offset: int = 0
    ignored: tuple[int, ...] = ()
    mapped: tuple[tuple[int, int | None], ...] = ()
    ignores_others: bool = False

    @property
    def changes_values(self) -> bool:
        """Whether the rules change any value."""
        return self != ValueRules()


@dataclasses.dataclass(frozen=True)
class LabelRules:
    """The classes of masks, and how they are encoded.

    Attributes:
      num_classes: number of classes; valid ids are below it.
      ignore_label: the id of ignored pixels.
      colors: colours of the classes in RGB masks and palettes; empty for VOC's colours in RGB masks.
      values: rules that map values of the file to ids.
      palette: whether the indices (`index`) or the colours (`colors`) of a palette are the classes; `auto` uses the indices unless
        all colours are those of a labelmap at other indices.
    """

    num_classes: int
    ignore_label: int
    colors: tuple[tuple[int, int, int], ...] = ()
    values: ValueRules = ValueRules()
    palette: str = "auto"


def parse_values(text: str, offset: int = 0, ignored: str = "") -> ValueRules:
    """Reads the rules from flags.

    Args:
      text: pairs `VALUE:ID` separated by commas; the id may be `ignore`, and the value `*` with the id `ignore` stands for all
        values without a pair.
      offset: see `ValueRules`.
      ignored: numbers separated by commas.

    Raises:
      ValueError: a pair does not have this form, or a value has two pairs.
    """
    mapped: dict[int, int | None] = {}
    ignores_others = False
    for pair in filter(None, (part.strip() for part in text.split(","))):
        value, colon, target = (part.strip() for part in pair.partition(":"))
        if value == _ALL_OTHERS and target == _IGNORE:
            ignores_others = True
            continue
        number = _number(value, _SMALLEST_VALUE, _LARGEST_VALUE)
        new_id = None if target == _IGNORE else _number(target, 0, LARGEST_ID)
        if not colon or number is None or (new_id is None and target != _IGNORE):
            raise ValueError(
                f"--mask_values: {pair!r} is not VALUE:ID, such as 255:1; the id is 0 to 255 or `ignore`, and *:ignore stands for"
                " all other values"
            )
        if number in mapped:
            raise ValueError(f"--mask_values has the value {number} twice")
        mapped[number] = new_id
    values = [(part, _number(part.strip(), _SMALLEST_VALUE, _LARGEST_VALUE)) for part in ignored.split(",") if part.strip()]
    wrong = [part for part, value in values if value is None]
    if wrong:
        raise ValueError(f"--ignore_value: {wrong[0]!r} is not a number from {_SMALLEST_VALUE} to {_LARGEST_VALUE}")
    if abs(offset) > _LARGEST_VALUE:
        raise ValueError(f"--id_offset is {offset}, but mask values are at most {_LARGEST_VALUE}")
    return ValueRules(offset, tuple(value for _, value in values if value is not None), tuple(mapped.items()), ignores_others)


def _number(text: str, smallest: int, largest: int) -> int | None:
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 5):
        return None
    return int(text) if smallest <= int(text) <= largest else None


def check_rules(rules: LabelRules) -> None:
    """Raises ValueError if a mapping has an invalid class id, or `palette` is invalid."""
    if rules.palette not in PALETTE_CHOICES:
        raise ValueError(f"--palette is `{rules.palette}`, but must be one of {', '.join(PALETTE_CHOICES)}")
    for value, new_id in rules.values.mapped:
        if new_id is not None and new_id >= rules.num_classes and new_id != rules.ignore_label:
            raise ValueError(
                f"--mask_values={value}:{new_id}: the ids of the {rules.num_classes} classes are 0 to {rules.num_classes - 1}"
            )


def to_ids(values: np.ndarray, rules: LabelRules, path: str) -> np.ndarray:
    """Maps the values of a mask to class ids.

    Args:
      values: [H, W] integers.
      rules: the classes and the mapping.
      path: path of the file, for messages.

    Returns:
      [H, W] uint8 class ids or the ignore label.

    Raises:
      ValueError: a value is neither a class nor ignored; the message has the value and the number of its pixels.
    """
    if rules.values.changes_values or values.dtype != np.uint8:
        clipped = np.clip(values, _SMALLEST_VALUE, _LARGEST_VALUE) if values.dtype.itemsize > 2 else values
        ids = _id_table(rules)[clipped.astype(np.int32) - _SMALLEST_VALUE]
        if values is not clipped:
            ids = np.where(clipped == values, ids, rules.ignore_label if rules.values.ignores_others else -1)
        wrong = ids < 0
        if wrong.any():
            raise ValueError(_no_class(path, np.unique(values[wrong]).tolist(), int(wrong.sum()), rules))
        return ids.astype(np.uint8)
    counts = np.bincount(values.ravel(), minlength=256)
    counts[: rules.num_classes] = counts[rules.ignore_label] = 0
    if counts.any():
        raise ValueError(_no_class(path, np.flatnonzero(counts).tolist(), int(counts.sum()), rules))
    return values


@functools.lru_cache(maxsize=1)
def _id_table(rules: LabelRules) -> np.ndarray:
    """Returns the id of every value from `_SMALLEST_VALUE`, -1 for invalid values, [65537] int16."""
    values = np.arange(_SMALLEST_VALUE, _LARGEST_VALUE + 1)
    moved = values + rules.values.offset
    is_class = (moved >= 0) & (moved < rules.num_classes)
    if rules.values.ignores_others:
        is_class[:] = False
    table = np.where(is_class, moved, rules.ignore_label if rules.values.ignores_others else -1).astype(np.int16)
    for value in (rules.ignore_label, *rules.values.ignored):
        table[value - _SMALLEST_VALUE] = rules.ignore_label
    for value, new_id in rules.values.mapped:
        table[value - _SMALLEST_VALUE] = rules.ignore_label if new_id is None else new_id
    return table


def _no_class(path: str, wrong: Sequence[int], num_pixels: int, rules: LabelRules) -> str:
    values = ", ".join(map(str, wrong[:5])) + (", ..." if len(wrong) > 5 else "")
    if len(wrong) > 5:
        return (
            f"{path}: {num_pixels} pixels have {len(wrong)} values ({values}) which are neither one of the {rules.num_classes}"
            f" classes nor the ignore label {rules.ignore_label}; name all classes with --class_names; or, if the mask was smoothed"
            " or resized with interpolation, which makes such borders, say which values are meant: --mask_values=0:0,255:1,*:ignore"
        )
    return (
        f"{path}: {format_count(num_pixels, 'pixel has', 'pixels have')} the value {values}, which is neither one of the"
        f" {rules.num_classes} classes nor the ignore label {rules.ignore_label}; name all classes with --class_names, correct the"
        f" mask, or say what the value means: --mask_values={wrong[0]}:ID or {wrong[0]}:ignore"
    )


def ids_of_colors(colors: np.ndarray, rules: LabelRules, path: str) -> np.ndarray:
    """Maps the colours of an RGB mask to class ids.

    Args:
      colors: [H, W, 3] uint8.
      rules: the colours of the classes; VOC's if there are none.
      path: path of the file, for messages.

    Returns:
      [H, W] uint8 class ids or the ignore label.

    Raises:
      ValueError: a colour belongs to no class; the message has its position.
    """
    if rules.values.changes_values and (colors == colors[..., :1]).all():
        return to_ids(np.ascontiguousarray(colors[..., 0]), rules, path)
    ids = _color_table(rules)[_pack(colors)]
    wrong = ids < 0
    if not wrong.any():
        return ids.astype(np.uint8)
    row, column = np.argwhere(wrong)[0]
    if (colors == colors[..., :1]).all():
        advice = (
            "its three channels are equal: save one of them as a greyscale PNG, or map the values to classes, for example"
            " --mask_values=255:1"
        )
    elif rules.colors:
        advice = f"RGB masks use the labelmap's colours, and {IGNORE_COLOR} for the ignore label"
    else:
        advice = (
            f"RGB masks use VOC's colours of the {rules.num_classes} classes, or those of a --labelmap, and {IGNORE_COLOR} for the"
            " ignore label"
        )
    raise ValueError(
        f"{path}: {format_count(int(wrong.sum()), 'pixel has a colour', 'pixels have colours')} of no class, the first at row"
        f" {row}, column {column}: {tuple(int(value) for value in colors[row, column])}; {advice}"
    )


def class_colors(rules: LabelRules) -> np.ndarray:
    """Returns the colour of each class, [num_classes, 3] uint8."""
    return np.array(rules.colors, np.uint8) if rules.colors else color_map()[: rules.num_classes]


@functools.lru_cache(maxsize=1)
def _color_table(rules: LabelRules) -> np.ndarray:
    """Returns the id of every packed RGB value, -1 for other colours, [2^24] int16."""
    table = np.full(1 << 24, -1, np.int16)
    table[_pack(np.array(IGNORE_COLOR, np.uint8))] = rules.ignore_label
    colors = class_colors(rules)
    table[_pack(colors)] = np.arange(len(colors))
    return table


def _pack(colors: np.ndarray) -> np.ndarray:
    return colors[..., 0].astype(np.int32) << 16 | colors[..., 1].astype(np.int32) << 8 | colors[..., 2]
