"""YOLO's segmentation format: `data.yaml`, and for each image a text file with one polygon per line, relative to its size."""

import math
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

from tpuseg.convert.objects import Annotation, Finding
from tpuseg.data.examples import Category
from tpuseg.formats import drawn, image_list, shapes
from tpuseg.formats.dataset import (
    INSTANCES,
    SEMANTIC,
    TEST,
    TRAIN,
    VAL,
    Dataset,
    LabelledFile,
    LabelledObjects,
    Options,
    require_kind,
)
from tpuseg.formats.listing import Listing
from tpuseg.formats.registry import Format
from tpuseg.io import text_files, yaml_files
from tpuseg.io.image_paths import ENDINGS

_SPLITS = {"train": TRAIN, "val": VAL, "valid": VAL, "test": TEST}
_NAME_FILES = ("classes.txt", "obj.names")
# Fractions of width and height can be slightly larger than 1; a larger value means that coordinates are in pixels.
_LARGEST_SHARE = 1.5


class _Names(NamedTuple):
    """The contents of the YAML file, or of the file of names if there is no YAML file.

    Attributes:
      path: path of the file relative to the root.
      names: class names by class number.
      splits: paths of the images of each split relative to the root.
      notes: notes for the user.
    """

    path: str
    names: dict[int, str]
    splits: dict[str, list[str]]
    notes: list[str]


class Yolo(Format):
    """A folder in the layout of Ultralytics, Roboflow, CVAT and Label Studio."""

    name = "yolo"
    layout = "data.yaml (or classes.txt), images, and labels/*.txt with polygons relative to the images' size"

    def detect(self, listing: Listing) -> str:
        """Looks for a YAML file with names and a split, or for a file of names and a folder of labels."""
        for path in _yaml_files(listing):
            return f"{path} has names and train"
        named = _names_file(listing)
        labels = [path for path in listing.ending_with(".txt") if "/labels/" in f"/{path}"]
        return f"{named} has names, and labels has {len(labels)} .txt files" if named and labels and listing.images() else ""

    def read(self, listing: Listing, options: Options) -> Dataset:
        """Reads the names, the lists of images and all label files."""
        kind = require_kind(options.kind, self.offered_kinds(listing), listing.root)
        named = _read_yaml(listing) if _yaml_files(listing) else _read_names(listing)
        categories = tuple(Category(number, named.names[number]) for number in sorted(named.names))
        findings: list[Finding] = []
        rows = [(split, path) for split, paths in named.splits.items() for path in paths]
        read_labels = _LabelReader(listing, categories, options, findings)
        images = []
        for (split, path), size in zip(rows, image_list.read_sizes(listing, [path for _, path in rows], findings), strict=True):
            if size is None:
                continue
            annotations = read_labels.read(path, size)
            images.append(LabelledFile(listing.path(path), path, path, LabelledObjects(annotations), split, size))
        read_labels.require_masks(named.path)
        dataset = Dataset(
            self.name,
            INSTANCES,
            listing.path(named.path),
            categories,
            tuple(images),
            tuple(findings),
            len(rows),
            read_labels.num_lines,
            tuple(named.notes),
        )
        return drawn.as_pixels(dataset, by_size=True) if kind == SEMANTIC else dataset


class _LabelReader:
    """Reads label files, and counts files, boxes and polygons."""

    def __init__(self, listing: Listing, categories: Sequence[Category], options: Options, findings: list[Finding]) -> None:
        self._listing, self._options, self._findings = listing, options, findings
        self._categories = {category.id: (place, category) for place, category in enumerate(categories)}
        self.num_lines = self._num_files = self._num_boxes = self._num_polygons = 0
        self._missing: list[str] = []

    def read(self, image: str, size: tuple[int, int]) -> list[Annotation]:
        """Returns the objects of an image."""
        path = _label_file(image)
        if not self._listing.has(path):
            self._findings.append(Finding("label_file_missing", f"{image}: {path} does not exist"))
            self._missing.append(path)
            return []
        self._num_files += 1
        annotations = []
        for number, line in enumerate(text_files.read_lines(self._listing.path(path), "label file"), start=1):
            if line:
                self.num_lines += 1
                annotations += self._read_line(line, f"{path}, line {number}", f"line {number}", size)
        return annotations

    def _read_line(self, line: str, where: str, name: str, size: tuple[int, int]) -> list[Annotation]:
        values = _numbers(line)
        if values is None or len(values) < 5 or len(values) % 2 == 0 or values[0] != int(values[0]):
            self._findings.append(Finding("label_line_unusable", f"{where}: `{line[:60]}`"))
            return []
        found = self._categories.get(int(values[0]))
        if found is None:
            self._findings.append(Finding("unknown_category", f"{where}: class {values[0]:g}"))
            return []
        place, category = found
        shares = values[1:]
        if max(shares) > _LARGEST_SHARE:
            self._findings.append(Finding("coordinates_not_relative", f"{where}: {max(shares):g}"))
            return []
        points = [share * size[1 - axis % 2] for axis, share in enumerate(shares)]
        if len(points) > 4:
            self._num_polygons += 1
            return [shapes.outline(name, category, place, [points])]
        self._num_boxes += 1
        x, y, width, height = points
        corners = shapes.rectangle(x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        return [shapes.box(name, category, place, corners, self._options.boxes_are_masks)]

    def require_masks(self, source: str) -> None:
        """Raises ValueError with the reason if there is no mask to learn from."""
        path = self._listing.path(source)
        if not self._num_files:
            first = f", such as {self._missing[0]}" if self._missing else ""
            raise ValueError(
                f"{path}: none of the images has a label file{first}; label files must be in the folder labels, beside images"
            )
        if self._num_boxes and not self._num_polygons and not self._options.boxes_are_masks:
            raise ValueError(
                f"{path}: all {self._num_boxes} labels are boxes (class x y width height), as in YOLO's detection format; export"
                " polygons, or use the boxes as masks with --boxes_are_masks"
            )
        if not self._num_boxes + self._num_polygons:
            reason = f", the first is {self._findings[0].where}" if self._findings else ""
            raise ValueError(f"{path}: no line of the {self._num_files} label files can be used{reason}")


def _numbers(line: str) -> list[float] | None:
    """Returns the numbers of a line; None if a value is not a finite number."""
    try:
        values = [float(part) for part in line.split()]
    except ValueError:
        return None
    return values if all(map(math.isfinite, values)) else None


def _label_file(image: str) -> str:
    """Returns the path of an image's label file: with `labels` instead of `images` in its path, otherwise beside it."""
    parts = image.split("/")
    places = [place for place, part in enumerate(parts[:-1]) if part == "images"]
    if places:
        parts[places[-1]] = "labels"
    return os.path.splitext("/".join(parts))[0] + ".txt"


def _yaml_files(listing: Listing) -> list[str]:
    shallow = [path for path in listing.ending_with(".yaml", ".yml") if path.count("/") <= 1]
    return [path for path in shallow if listing.holds_words(path, ["names:", "train:"])]


def _names_file(listing: Listing) -> str:
    return next((path for path in listing.files if path.count("/") <= 1 and path.rpartition("/")[2] in _NAME_FILES), "")


def _read_yaml(listing: Listing) -> _Names:
    files = _yaml_files(listing)
    if len(files) > 1:
        raise ValueError(f"{listing.root} has {' and '.join(files)}, each with names and train; move all but one out of the folder")
    path = listing.path(files[0])
    values = yaml_files.read(path).values
    names = _class_names(values, path)
    home = files[0].rpartition("/")[0]
    splits: dict[str, list[str]] = {}
    notes = []
    for key, split in _SPLITS.items():
        entries = values.get(key)
        if entries in (None, "", []):
            continue
        found = [
            image for entry in (entries if isinstance(entries, list) else [entries]) for image in _images(listing, home, entry)
        ]
        if not found and split != TEST:
            raise ValueError(
                f"{path}: `{key}: {str(entries)[:80]}` has no images in {listing.root}; correct it, or copy them there"
            )
        if not found:
            notes.append(f"{files[0]}: `{key}: {str(entries)[:80]}` has no images and is left out")
        elif splits.setdefault(split, found) is not found:
            raise ValueError(f"{path} has both `val` and `valid`; leave one out")
    if TRAIN not in splits:
        raise ValueError(f"{path} has no value for `train`; set it to the folder of the images, such as images/train")
    if splits.get(VAL) == splits[TRAIN]:
        notes.append(f"{files[0]} has the same images for train and val; a new split is made")
        splits = {"": splits[TRAIN], **({TEST: splits[TEST]} if TEST in splits else {})}
    _require_once(splits, path)
    return _Names(files[0], names, splits, notes)


def _require_once(splits: dict[str, list[str]], path: str) -> None:
    of_image: dict[str, str] = {}
    for split, images in splits.items():
        for image in images:
            if of_image.setdefault(image, split) != split:
                raise ValueError(f"{path}: {image} is in {of_image[image]} and in {split}; an image must be in one split only")


def _class_names(values: dict[str, Any], path: str) -> dict[int, str]:
    names = values.get("names")
    pairs = list(enumerate(names)) if isinstance(names, list) else list(names.items()) if isinstance(names, dict) else []
    found: dict[int, str] = {}
    for number, name in pairs:
        digits = str(number)
        if not (digits.isascii() and digits.isdigit() and len(digits) < 7) or isinstance(name, list | dict) or name is None:
            raise ValueError(f"{path}: `names` has {number}: {str(name)[:40]}, which is not a class number with a name")
        if str(name) in found.values():
            raise ValueError(f"{path}: `names` has `{name}` twice; rename one of them")
        found[int(digits)] = str(name)
    if not found:
        raise ValueError(f"{path}: `names` is {str(names)[:60]}; it must be a list of class names")
    return found


def _images(listing: Listing, home: str, entry: Any) -> list[str]:
    """Returns the images of a split's entry, which is a folder or a file with a list of paths.

    The paths can contain folders of another machine, or start in a folder above the YAML file, so the longest end of a path that
    exists is used.
    """
    if not isinstance(entry, str):
        return []
    if entry.lower().endswith(".txt"):
        listed = _resolve(entry, home, listing.has)
        lines = text_files.read_lines(listing.path(listed), "list of images") if listed is not None else []
        found = [_resolve(line, home, listing.has) for line in lines if line]
        return list(dict.fromkeys(path for path in found if path is not None and path.lower().endswith(ENDINGS)))
    folder = _resolve(entry, home, lambda path: bool(listing.images(path)))
    return [] if folder is None else [path for path in listing.images(folder) if _is_image(path)]


def _is_image(path: str) -> bool:
    return "/labels/" not in f"/{path}"


def _resolve(entry: str, home: str, exists: Any) -> str | None:
    parts = [part for part in entry.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    for start in range(len(parts) + 1):
        candidate = "/".join([*([home] if home else []), *parts[start:]])
        if parts[start:] and exists(candidate):
            return candidate
    return home if not parts and exists(home) else None


def _read_names(listing: Listing) -> _Names:
    """Reads a folder without a YAML file, as Label Studio writes it: names are in a text file, and splits are names of folders."""
    path = _names_file(listing)
    if not path:
        raise ValueError(f"{listing.root} has no YAML file with names and train, and no {' or '.join(_NAME_FILES)}")
    lines = [line for line in text_files.read_lines(listing.path(path), "file of class names") if line]
    names = _class_names({"names": lines}, listing.path(path))
    splits: dict[str, list[str]] = {}
    for image in listing.images():
        if _is_image(image):
            splits.setdefault(image_list.split_of_folder(image), []).append(image)
    if not splits:
        raise ValueError(f"{listing.root} has no images")
    return _Names(path, names, splits, [f"there is no YAML file: the class names come from {path}"])
