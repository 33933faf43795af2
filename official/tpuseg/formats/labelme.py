"""The JSON files of labelme: one for each image, with shapes."""

import base64
import binascii
import math
from typing import Any

import numpy as np

from tpuseg.convert.objects import Finding
from tpuseg.formats import drawn, image_list, shape_images, shapes
from tpuseg.formats.dataset import INSTANCES, Dataset, Options, require_kind
from tpuseg.formats.listing import Listing
from tpuseg.formats.registry import Format
from tpuseg.formats.shape_images import Shape, ShapeImage
from tpuseg.io import image_files, json_files, text_files
from tpuseg.ops import masks

_KEYS = ("shapes", "imagePath")
_LABELS_FILE = "labels.txt"
_BACKGROUND, _IGNORE = "_background_", "__ignore__"
_WITHOUT_AREA = ("point", "points", "line", "linestrip")
_LARGEST_SIDE = 1 << 20


class Labelme(Format):
    """A folder of images with a JSON file beside each."""

    name = "labelme"
    layout = "a JSON file with shapes and imagePath for each image"

    def detect(self, listing: Listing) -> str:
        """Looks for JSON files with labelme's keys."""
        files = listing.json_with(_KEYS)
        return f"{len(files)} JSON files such as {files[0]} have shapes and imagePath" if files else ""

    def read(self, listing: Listing, options: Options) -> Dataset:
        """Reads all files. The classes have the order of labels.txt, which labelme also reads, or of their names."""
        kind = require_kind(options.kind, self.offered_kinds(listing), listing.root)
        paths = listing.require(listing.json_with(_KEYS), f"JSON file with {' and '.join(_KEYS)}")
        findings: list[Finding] = []
        finder = image_list.ImageFinder(listing)
        images = [image for path in paths if (image := _read_file(listing, path, finder, kind, findings))]
        source = shape_images.Source(self.name, listing.root, len(paths), _read_names(listing, kind))
        return shape_images.build(listing, source, images, kind, options, findings)


def _read_names(listing: Listing, kind: str) -> list[str]:
    if not listing.has(_LABELS_FILE):
        return []
    lines = text_files.read_lines(listing.path(_LABELS_FILE), "list of labels")
    names = [_plain(line) for line in lines if line and line != _IGNORE and (kind != INSTANCES or line != _BACKGROUND)]
    return list(dict.fromkeys(names))


def _plain(label: str) -> str:
    return drawn.BACKGROUND if label == _BACKGROUND else label


def _read_file(
    listing: Listing, path: str, finder: image_list.ImageFinder, kind: str, findings: list[Finding]
) -> ShapeImage | None:
    """Returns the image of a file and its shapes; None, with a finding, if there is no image."""
    content = json_files.read(listing.path(path), "labelme file")
    rows = content.get("shapes") if isinstance(content, dict) else None
    if not isinstance(rows, list):
        raise ValueError(f"{listing.path(path)} has no list called `shapes`, so it is not a labelme file")
    image, why = finder.find(str(content.get("imagePath")), path.rpartition("/")[0])
    if image is None:
        hint = "; imageData contains its pixels: write them to a file" if content.get("imageData") else ""
        findings.append(Finding("image_missing", f"{path}: {why}{hint}"))
        return None
    size = _size(content)
    found = []
    for number, row in enumerate(rows, start=1):
        shape = _shape(row, f"{path}, shape {number}", number, size, findings)
        if shape and shape.label == _BACKGROUND and kind == INSTANCES:
            findings.append(Finding("shape_of_background", f"{path}, shape {number}"))
        elif shape:
            found.append(shape._replace(label=_plain(shape.label), is_ignored=shape.label == _IGNORE))
    return ShapeImage(image, image, size, found, image_list.split_of_folder(image) or image_list.split_of_folder(path))


def _size(content: dict[str, Any]) -> tuple[int, int] | None:
    height, width = content.get("imageHeight"), content.get("imageWidth")
    if not isinstance(height, int) or not isinstance(width, int):
        return None
    return (height, width) if 0 < height <= _LARGEST_SIDE and 0 < width <= _LARGEST_SIDE else None


def _shape(row: Any, where: str, number: int, size: tuple[int, int] | None, findings: list[Finding]) -> Shape | None:
    """Returns a shape; None, with a finding, if it has no area or cannot be used."""
    label = row.get("label") if isinstance(row, dict) else None
    points = shapes.read_points(row.get("points")) if isinstance(row, dict) else None
    if points is None or not isinstance(label, str | int) or not str(label).strip():
        findings.append(Finding("shape_unusable", f"{where}: {ascii(row)[:80]}"))
        return None
    kind, label = row.get("shape_type") or "polygon", str(label).strip()
    if kind in _WITHOUT_AREA:
        findings.append(Finding("shape_without_area", f"{where}: {kind} `{label}`"))
        return None
    runs = _mask(row.get("mask"), points, size) if kind == "mask" else None
    polygon = [] if kind == "mask" else _polygon(kind, points)
    if not polygon and runs is None:
        findings.append(Finding("shape_unusable", f"{where}: {ascii(kind)[:20]} with {len(points)} points"))
        return None
    group = "" if row.get("group_id") is None else str(row["group_id"])
    return Shape(f"shape {number}", label, polygon, runs, group, kind in ("rectangle", "oriented_rectangle"))


def _polygon(kind: str, points: list[tuple[float, float]]) -> list[float]:
    """Returns the corners of a shape; empty for an unknown kind or a wrong number of points."""
    if kind == "polygon" or (kind == "oriented_rectangle" and len(points) == 4):
        return shapes.flatten(points)
    if kind == "rectangle" and len(points) in (2, 4):
        x, y = zip(*points, strict=True)
        return shapes.rectangle(min(x), min(y), max(x), max(y))
    if kind == "circle" and len(points) == 2:
        radius = math.dist(*points)
        return shapes.ellipse(*points[0], radius, radius)
    return []


def _mask(encoded: Any, points: list[tuple[float, float]], size: tuple[int, int] | None) -> masks.RunLengths | None:
    """Returns the run lengths of a mask, a PNG of the image's part that begins at the first point; None if it cannot be used."""
    if not isinstance(encoded, str) or len(points) != 2 or size is None:
        return None
    try:
        with image_files.open_image(base64.b64decode(encoded, validate=True), "the mask") as image:
            part = np.asarray(image.convert("L")) > 0
    except (ValueError, binascii.Error):
        return None
    x, y = round(points[0][0]), round(points[0][1])
    return shapes.paste_runs(part, x, y, size)
