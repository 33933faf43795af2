"""Splitting a data set into training and validation images: by its layout, by editable lists, or by the classes of the images."""

import dataclasses
import os
from collections.abc import Sequence, Set

import numpy as np

from tpuseg.formats import equal_files, groups, labels, stratification
from tpuseg.formats.dataset import TEST, TRAIN, VAL, Dataset, LabelledFile, LabelledObjects
from tpuseg.io import files, text_files
from tpuseg.utils import parallel

_SPLITS = (TRAIN, VAL, TEST)
_HEADER = (
    "# The images of {split}, one per line. Lines can be moved between the lists and removed; lines that begin with # are comments."
)
# Maximum number of classes that a note names.
_NAMED = 5


@dataclasses.dataclass(frozen=True)
class Options:
    """Options for splitting images whose split is not specified by the layout.

    Attributes:
      val_share: fraction of the images that are used for validation.
      seed: seed that decides between equal choices; the same seed gives the same split.
      group_by: a regular expression; images in whose names it matches the same text are in the same split, see `groups`.
    """

    val_share: float = 0.2
    seed: int = 0
    group_by: str = ""


def find_classes(dataset: Dataset, num_workers: int = 1) -> list[frozenset[int]]:
    """Returns the indices of the categories that occur in each image; this reads all masks."""
    if all(isinstance(image.labels, LabelledObjects) for image in dataset.images):
        return [labels.find_classes(image) for image in dataset.images]  # Faster than sending the objects to worker processes.
    return list(parallel.map_in_processes(labels.find_classes, dataset.images, min(num_workers, max(len(dataset.images), 1))))


def split(dataset: Dataset, options: Options, classes: Sequence[Set[int]]) -> Dataset:
    """Assigns every image of a data set to `train`, `val` or `test`.

    If the layout has images of `train` and `val`, its splits are kept, and images without a split are used for training. Otherwise
    all images except those of `test` are split. As far as possible, every class that occurs in two images (or groups of images) is
    in both splits, and validation has its share of each class.

    Args:
      dataset: the data set after it was read.
      options: how to split.
      classes: classes that occur in each image, see `find_classes`.

    Returns:
      The data set with a split for every image, and with notes about how it was split.

    Raises:
      ValueError: the options cannot be used, or there are fewer than two images or groups to split.
    """
    if not 0 < options.val_share < 1:
        raise ValueError(f"--val_share={options.val_share:g} must be above 0 and below 1")
    if {TRAIN, VAL} <= set(dataset.splits):
        return _keep_layout(dataset)
    free = [place for place, image in enumerate(dataset.images) if image.split != TEST]
    names, found = [dataset.images[place].name for place in free], [classes[place] for place in free]
    copies = equal_files.find_equal_files([dataset.images[place].path for place in free])
    grouped = groups.join(_groups(names, found, options), copies)
    # The result must not depend on the order in which files were listed.
    order = sorted(range(len(free)), key=lambda place: names[place])
    units, numbers = stratification.make_units([grouped.keys[place] for place in order], [found[place] for place in order])
    if len(units) < 2:
        what = "image" if len(free) < 2 else "group of images"
        raise ValueError(f"{dataset.source} has {len(units)} {what} to split into train and val; it needs two")
    is_val = stratification.choose(units, options.val_share, options.seed)
    images = list(dataset.images)
    for place, number in zip(order, numbers, strict=True):
        image = images[free[place]]
        images[free[place]] = dataclasses.replace(image, split=VAL if is_val[number] else TRAIN)
    notes = _notes(dataset, grouped, units, is_val, images, options)
    return dataclasses.replace(dataset, images=tuple(images), notes=(*dataset.notes, *notes))


def _keep_layout(dataset: Dataset) -> Dataset:
    """Returns the data set with its own splits; images without a split are added to `train`."""
    free = sum(not image.split for image in dataset.images)
    if not free:
        return dataset
    images = tuple(image if image.split else dataclasses.replace(image, split=TRAIN) for image in dataset.images)
    return dataclasses.replace(dataset, images=images, notes=(*dataset.notes, f"{free} images without a split are for training"))


def _groups(names: Sequence[str], classes: Sequence[Set[int]], options: Options) -> groups.Groups:
    """Returns the groups of the images; without --group_by, none if they would keep most classes out of one of the splits."""
    if options.group_by:
        return groups.group_by_pattern(names, options.group_by)
    found = groups.find_groups(names)
    units, _ = stratification.make_units(found.keys, classes)
    single, _ = stratification.make_units(list(names), classes)
    splittable = {name for name, count in _num_units(single).items() if count > 1}
    bound = {name for name, count in _num_units(units).items() if count < 2} & splittable
    if len(units) < 2 or len(bound) > len(splittable) / 2:
        return groups.Groups(list(names))
    return found


def _num_units(units: Sequence[stratification.Unit]) -> dict[int, int]:
    counts: dict[int, int] = {}
    for unit in units:
        for name in unit.classes:
            counts[name] = counts.get(name, 0) + 1
    return counts


def _notes(
    dataset: Dataset,
    grouped: groups.Groups,
    units: Sequence[stratification.Unit],
    is_val: np.ndarray,
    images: Sequence[LabelledFile],
    options: Options,
) -> list[str]:
    counts = {side: sum(image.split == side for image in images) for side in (TRAIN, VAL)}
    lines = [f"{counts[TRAIN]} images are for training and {counts[VAL]} for validation (--val_share={options.val_share:g}"]
    lines[0] += f" --seed={options.seed})"
    if grouped.note:
        is_grouped = len(units) < sum(unit.size for unit in units)
        advice = (
            "all images of a group are in the same split (--group_by= defines other groups)"
            if is_grouped
            else "--group_by= keeps groups of images in the same split"
        )
        lines.append(f"{grouped.note}; {advice}")
    num_units = _num_units(units)
    rest = [dataset.class_names[name] for name, count in sorted(num_units.items()) if count == 1]
    lacking = [dataset.class_names[name] for name, _ in stratification.find_one_sided(units, is_val)]
    unit = "image" if len(units) == sum(unit.size for unit in units) else "group"
    reasons = (
        (rest, f"occur in one {unit} only"),
        (lacking, f"cannot be in both splits because their {unit}s contain other classes"),
    )
    for names, reason in reasons:
        if names:
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            lines.append(f"classes that {reason}, so they are missing in one split: {', '.join(names[:_NAMED])}{more}")
    return lines


def write_lists(dataset: Dataset, folder: str) -> list[str]:
    """Writes `train.txt`, `val.txt` and `test.txt` with the names of the images of each split; returns the paths.

    Raises:
      ValueError: a name contains a line break.
    """
    written = []
    for side in dataset.splits:
        names = [image.name for image in dataset.images if image.split == side]
        wrong = [name for name in names if "\n" in name or "\r" in name]
        if wrong:
            raise ValueError(f"{wrong[0]!r} has a line break in its name; rename the file")
        path = os.path.join(folder, f"{side}.txt")
        lines = [f"./{name}" if name.startswith("#") else name for name in names]
        files.write_text(path, "\n".join([_HEADER.format(split=side), *lines]) + "\n")
        written.append(path)
    return written


def read_lists(dataset: Dataset, folder: str) -> Dataset:
    """Assigns the images of a data set to the splits of lists; images in no list are left out.

    Args:
      dataset: the data set after it was read.
      folder: folder with `train.txt`, `val.txt` and optionally `test.txt`; see `write_lists`.

    Raises:
      ValueError: a list is missing or empty, or has a name that is not an image of the data set or is listed twice; the message has
        the file and the line.
    """
    known = {image.name: image for image in dataset.images}
    where: dict[str, str] = {}
    images: list[LabelledFile] = []
    for side in _SPLITS:
        path = os.path.join(folder, f"{side}.txt")
        if side == TEST and not os.path.exists(path):
            continue
        before = len(images)
        for number, line in enumerate(text_files.read_lines(path, "list of images"), start=1):
            if not line or line.startswith("#"):
                continue
            name = line.removeprefix("./")
            if name not in known:
                raise ValueError(f"{path}, line {number}: `{name}` is not an image of {dataset.source}; correct or remove the line")
            if name in where:
                raise ValueError(f"{path}, line {number}: `{name}` is listed already in {where[name]}; remove one of the lines")
            where[name] = f"{path}, line {number}"
            images.append(dataclasses.replace(known[name], split=side))
        if len(images) == before:
            raise ValueError(f"{path} names no image")
    left = len(known) - len(images)
    notes = [f"the lists in {folder} define the splits", *([f"{left} images are in no list and left out"] if left else [])]
    return dataclasses.replace(dataset, images=tuple(images), notes=(*dataset.notes, *notes))
