"""Finding the classes of mask files: from the user, from a file of the data set, or from the values of the masks."""

import csv
import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from tpuseg.convert import labelmap, mask_values
from tpuseg.convert.mask_values import LabelRules, ValueRules
from tpuseg.formats.dataset import Options
from tpuseg.formats.labels import IGNORE_LABEL
from tpuseg.formats.listing import Listing
from tpuseg.formats.mask_files import MOST_VALUES, Values, find_values
from tpuseg.io import text_files
from tpuseg.utils import parallel

BACKGROUND, FOREGROUND = "background", "foreground"
# labelme's name of the background.
_UNDERSCORED = "_background_"
_IGNORE_LINE = "__ignore__"
_NAME_FILES = ("class_names.txt", "classes.txt", "codes.txt", "labels.txt", "names.txt")
_LARGEST_VALUE = 65535
_COLOR_LINE = re.compile(r"(\d{1,3})\s+(\d{1,3})\s+(\d{1,3})\s+(\S.*)")


class MaskClasses(NamedTuple):
    """The classes of a data set's masks.

    Attributes:
      names: class names in the order of the ids.
      rules: rules that convert values to ids.
      notes: notes for the user about where the names come from.
    """

    names: tuple[str, ...]
    rules: LabelRules
    notes: tuple[str, ...] = ()


def find_classes(
    listing: Listing, masks: Sequence[str], options: Options, default_names: Callable[[], Sequence[str]] = tuple
) -> MaskClasses:
    """Returns the classes of the masks of a data set.

    Args:
      listing: files of the data set's folder; a file of names or colours in the root or one folder below is used.
      masks: paths of all masks; they are read if there are no class names.
      options: options of the user; class names have precedence over files, and rules for values are kept.
      default_names: returns the names to use if no file has any; none by default.

    Raises:
      ValueError: a file of names is damaged, or the masks contain too many values to be classes; the message names the file.
    """
    names, colors, notes = options.class_names, options.class_colors, []
    values = options.values
    if not names:
        found = _from_file(listing)
        if found:
            names, colors, values, note = found
            notes.append(note)
            values = options.values if options.values.changes_values else values
    if not names:
        names = tuple(default_names())
    if names:
        rules = LabelRules(len(names), IGNORE_LABEL, tuple(colors), values, options.palette)
        mask_values.check_rules(rules)
        return MaskClasses(tuple(names), rules, tuple(notes))
    return from_values(list(parallel.map_in_processes(find_values, masks, min(options.num_workers, len(masks)))), options)


def _from_file(listing: Listing) -> tuple[tuple[str, ...], tuple[tuple[int, int, int], ...], ValueRules, str] | None:
    """Returns names, colours, rules for values and a note from the first file in the root (or one folder below) that has them."""
    shallow = [path for path in listing.files if path.count("/") <= 1]
    for reader, wanted in _READERS:
        for path in shallow:
            if path.rpartition("/")[2].lower() in wanted:
                names, colors, values = reader(listing.path(path))
                return names, colors, values, f"the names of the {len(names)} classes come from {path}"
    return None


def _read_labelmap(path: str) -> tuple[tuple[str, ...], tuple[tuple[int, int, int], ...], ValueRules]:
    found = labelmap.read(path)
    return found.names, found.colors, ValueRules()


def _read_color_lines(path: str) -> tuple[tuple[str, ...], tuple[tuple[int, int, int], ...], ValueRules]:
    """Reads CamVid's own `label_colors.txt`: lines such as `64 128 64    Animal`."""
    rows = []
    for number, line in enumerate(text_files.read_lines(path, "list of colours"), start=1):
        found = _COLOR_LINE.fullmatch(line)
        if line and not found:
            raise ValueError(f"{path}, line {number}: `{line[:60]}` is not `red green blue name`")
        rows += [(found[4].strip(), (found[1], found[2], found[3]))] if found else []
    return (*_check_colors(path, rows), ValueRules())


def _read_class_dict(path: str) -> tuple[tuple[str, ...], tuple[tuple[int, int, int], ...], ValueRules]:
    """Reads `class_dict.csv`: a header `name,r,g,b`, and a line with these values for each class."""
    rows = []
    for number, row in enumerate(_csv_rows(path), start=1):
        if number > 1 or any(cell.isdigit() for cell in row):
            if len(row) != 4:
                raise ValueError(f"{path}: row {number} has {len(row)} columns, not the four of `name,r,g,b`")
            rows.append((row[0], (row[1], row[2], row[3])))
    return (*_check_colors(path, rows), ValueRules())


def _read_pixel_values(path: str) -> tuple[tuple[str, ...], tuple[tuple[int, int, int], ...], ValueRules]:
    """Reads Roboflow's `_classes.csv`: a header `Pixel Value, Class`, and a line with these values for each class."""
    found = {}
    for number, row in enumerate(_csv_rows(path), start=1):
        if number == 1 and not row[0].isdigit():
            continue
        if len(row) != 2 or not (row[0].isascii() and row[0].isdigit() and len(row[0]) <= 5):
            raise ValueError(f"{path}: row {number} is not `value,name`")
        if int(row[0]) in found:
            raise ValueError(f"{path}: row {number} has the value {row[0]} again")
        found[int(row[0])] = row[1]
    if not found:
        raise ValueError(f"{path} names no class")
    names = tuple(found[value] for value in sorted(found))
    is_plain = sorted(found) == list(range(len(found)))
    mapped = () if is_plain else tuple((value, place) for place, value in enumerate(sorted(found)))
    return names, (), ValueRules(mapped=mapped)


def _csv_rows(path: str) -> list[list[str]]:
    rows = csv.reader(line for line in text_files.read_lines(path, "table") if line)
    try:
        return [[cell.strip() for cell in row] for row in rows]
    except csv.Error as error:
        raise ValueError(f"{path} is not a table with commas: {error}") from error


def _read_names(path: str) -> tuple[tuple[str, ...], tuple[tuple[int, int, int], ...], ValueRules]:
    """Reads a file with one class name per line, as labelme, fastai and other programs write it."""
    names = [line for line in text_files.read_lines(path, "file of class names") if line and line != _IGNORE_LINE]
    if not names:
        raise ValueError(f"{path} names no class; it needs one name per line")
    return tuple(BACKGROUND if name == _UNDERSCORED else name for name in names), (), ValueRules()


_READERS: tuple[
    tuple[Callable[..., tuple[tuple[str, ...], tuple[tuple[int, int, int], ...], ValueRules]], tuple[str, ...]], ...
] = (
    (_read_labelmap, ("labelmap.txt",)),
    (_read_color_lines, ("label_colors.txt",)),
    (_read_class_dict, ("class_dict.csv",)),
    (_read_pixel_values, ("_classes.csv",)),
    (_read_names, _NAME_FILES),
)


def _check_colors(
    path: str, rows: Sequence[tuple[str, tuple[str, str, str]]]
) -> tuple[tuple[str, ...], tuple[tuple[int, int, int], ...]]:
    """Returns names and colours; raises ValueError for a colour that is not valid, and for a name or colour that occurs twice."""
    names: list[str] = []
    colors: list[tuple[int, int, int]] = []
    for name, cells in rows:
        if not all(cell.isascii() and cell.isdigit() and len(cell) <= 3 and int(cell) <= 255 for cell in cells):
            raise ValueError(
                f"{path}: the class `{name}` has the colour {', '.join(cells)[:40]}, not red, green and blue from 0 to 255"
            )
        color = (int(cells[0]), int(cells[1]), int(cells[2]))
        if name in names or color in colors:
            raise ValueError(f"{path}: the class `{name}` has the name or colour of an earlier class")
        names.append(name)
        colors.append(color)
    if not names:
        raise ValueError(f"{path} names no class")
    return tuple(names), tuple(colors)


def from_values(found: Sequence[Values], options: Options) -> MaskClasses:
    """Returns classes that are named after the values of the masks.

    Two values are background and foreground. Values with few gaps are used as class ids, and 255 is then the ignore label; other
    values, such as 0, 85, 170 and 255, get ids in ascending order, and so do colours, black first.

    Args:
      found: distinct values of each mask.
      options: options of the user, whose rules for values are kept.

    Raises:
      ValueError: there are more than 255 values, or both numbers and colours.
    """
    numbers = sorted(frozenset[int]().union(*(values.numbers for values in found)))
    colors = sorted(frozenset[tuple[int, int, int]]().union(*(values.colors for values in found)))
    if numbers and colors:
        raise ValueError(
            "some masks contain class ids and others colours; name the classes (--class_names, or labelmap.txt with their colours)"
        )
    if max(len(numbers), len(colors)) > MOST_VALUES:
        kind = "colours" if colors else "values"
        raise ValueError(
            f"the masks contain {max(len(numbers), len(colors))} different {kind}, more than the maximum of {MOST_VALUES} classes;"
            " specify which of them are classes (--class_names, --mask_values)"
        )
    start = "no file names the classes, so"
    if colors:
        names = (
            _names_of_two() if len(colors) == 2 and colors[0] == (0, 0, 0) else tuple(f"color_{r}_{g}_{b}" for r, g, b in colors)
        )
        rules = LabelRules(len(names), IGNORE_LABEL, tuple(colors), options.values, options.palette)
        return MaskClasses(names, rules, (f"{start} they are called after their colours: {', '.join(names)}",))
    names, values = _from_numbers(numbers)
    rules = LabelRules(len(names), IGNORE_LABEL, (), values, options.palette)
    return MaskClasses(names, rules, (f"{start} they are called after the masks' values: {', '.join(names)}",))


def _names_of_two() -> tuple[str, ...]:
    return (BACKGROUND, FOREGROUND)


def _from_numbers(given: Sequence[int]) -> tuple[tuple[str, ...], ValueRules]:
    """Returns names and rules for sorted values; -1, as some programs write it, is ignored."""
    outside = [value for value in given if not -1 <= value <= _LARGEST_VALUE]
    if outside:
        raise ValueError(f"the masks contain the value {outside[0]}; class ids are from 0 to {_LARGEST_VALUE}")
    numbers = [value for value in given if value >= 0]
    names, values = _from_positive(numbers)
    return names, dataclasses.replace(values, ignored=(-1,)) if len(numbers) < len(given) else values


def _from_positive(numbers: Sequence[int]) -> tuple[tuple[str, ...], ValueRules]:
    if list(numbers) in ([0, 1], [0, 1, 255]):
        return _names_of_two(), ValueRules()
    if len(numbers) <= 2 and numbers[:1] == [0]:
        return _names_of_two(), ValueRules(mapped=tuple((value, place) for place, value in enumerate(numbers)))
    ids = [value for value in numbers if value != IGNORE_LABEL]
    if len(ids) > 1 and max(ids) < min(2 * len(ids), IGNORE_LABEL):
        return tuple(f"class_{number}" for number in range(max(ids) + 1)), ValueRules()
    return tuple(f"value_{value}" for value in numbers), ValueRules(
        mapped=tuple((value, place) for place, value in enumerate(numbers))
    )
