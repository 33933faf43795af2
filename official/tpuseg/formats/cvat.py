"""CVAT for images 1.1: one XML file with the shapes of all images."""

import re
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from tpuseg.convert.objects import Finding
from tpuseg.formats import image_list, shape_images, shapes, split_names
from tpuseg.formats.dataset import Dataset, Options, require_kind
from tpuseg.formats.listing import Listing
from tpuseg.formats.registry import Format
from tpuseg.formats.shape_images import Shape, ShapeImage
from tpuseg.io import xml_files
from tpuseg.ops import masks

_WORDS = ("<annotations", "<image")
_WITHOUT_AREA = ("polyline", "points", "skeleton", "tag", "cuboid")
_LARGEST_SIDE = 1 << 20
_RUN = re.compile(r"\s*\d{1,9}\s*")


class Cvat(Format):
    """A file `annotations.xml`, and the images."""

    name = "cvat"
    layout = "annotations.xml of CVAT for images 1.1, and the images"

    def detect(self, listing: Listing) -> str:
        """Looks for XML files with images in an `annotations` element."""
        files = _files(listing)
        return f"{files[0]} has annotations of images" if files else ""

    def read(self, listing: Listing, options: Options) -> Dataset:
        """Reads the file, or one file for each task of a project. Shapes are drawn in the order of their z_order."""
        kind = require_kind(options.kind, self.offered_kinds(listing), listing.root)
        files = listing.require(_files(listing), "XML file with annotations of images")
        findings: list[Finding] = []
        finder = image_list.ImageFinder(listing)
        names: list[str] = []
        images = []
        num_images = 0
        for path in files:
            root = xml_files.read(listing.path(path), "label file")
            names += _label_names(root)
            elements = _image_elements(root, listing.path(path))
            num_images += len(elements)
            images += [image for element in elements if (image := _read_image(element, path, finder, findings))]
        source = shape_images.Source(self.name, listing.source_of(files), num_images, list(dict.fromkeys(names)))
        return shape_images.build(listing, source, images, kind, options, findings)


def _files(listing: Listing) -> list[str]:
    return [path for path in listing.ending_with(".xml") if listing.holds_words(path, _WORDS)]


def _label_names(root: Element) -> list[str]:
    """Returns the names of the labels that can have an area, in CVAT's order; those within skeletons have a parent."""
    found = []
    for label in root.iterfind("meta//labels/label"):
        name, kind = (label.findtext("name") or "").strip(), (label.findtext("type") or "").strip()
        if name and kind not in _WITHOUT_AREA and not (label.findtext("parent") or "").strip():
            found.append(name)
    return found


def _image_elements(root: Element, path: str) -> list[Element]:
    images = root.findall("image")
    if not images:
        hint = ": it is `CVAT for video`; export the task as `CVAT for images 1.1`" if root.find("track") is not None else ""
        raise ValueError(f"{path} has no images in <annotations>{hint}")
    return images


def _read_image(element: Element, path: str, finder: image_list.ImageFinder, findings: list[Finding]) -> ShapeImage | None:
    """Returns an image and its shapes; None, with a finding, if its file does not exist."""
    name = element.get("name") or ""
    image, why = finder.find(name, path.rpartition("/")[0])
    if image is None:
        findings.append(Finding("image_missing", f"{path}: {why}"))
        return None
    size = _size(element)
    found = []
    for number, child in enumerate(element, start=1):
        where = f"{path}, image {name}, shape {number} ({child.tag[:20]})"
        shape = _shape(child, f"shape {number}", where, size, findings)
        found += [(_whole(child.get("z_order")) or 0, shape)] if shape else []
    ordered = [shape for _, shape in sorted(found, key=lambda pair: pair[0])]
    subset = element.get("subset") or ""
    return ShapeImage(image, element.get("id") or image, size, ordered, split_names.split_of(subset))


def _size(element: Element) -> tuple[int, int] | None:
    height, width = _whole(element.get("height")), _whole(element.get("width"))
    if height is None or width is None or not (0 < height <= _LARGEST_SIDE and 0 < width <= _LARGEST_SIDE):
        return None
    return height, width


def _whole(text: str | None) -> int | None:
    return int(text) if text and re.fullmatch(r"-?[0-9]{1,9}", text) else None


def _number(text: str | None) -> float | None:
    try:
        return shapes.read_number(float(text or ""))
    except ValueError:
        return None


def _shape(element: Element, name: str, where: str, size: tuple[int, int] | None, findings: list[Finding]) -> Shape | None:
    """Returns a shape; None, with a finding, if it has no area or cannot be used."""
    label = (element.get("label") or "").strip()
    if element.tag in _WITHOUT_AREA:
        findings.append(Finding("shape_without_area", where))
        return None
    if element.tag == "mask":
        runs, polygon = _mask(element, size), []
    else:
        runs, polygon = None, _polygon(element)
    if not label or (runs is None and not polygon):
        attributes: dict[str, Any] = dict(element.attrib)
        findings.append(Finding("shape_unusable", f"{where}: {ascii(attributes)[:80]}"))
        return None
    group = element.get("group_id") or ""
    return Shape(name, label, polygon, runs, "" if group == "0" else group, element.tag == "box")


def _polygon(element: Element) -> list[float]:
    """Returns the corners of a shape; empty if it is of another kind, or has values that are not finite numbers."""
    if element.tag == "polygon":
        pairs = [[_number(value) for value in point.split(",")] for point in (element.get("points") or "").split(";")]
        points = shapes.read_points(pairs)
        return shapes.flatten(points) if points else []
    if element.tag not in ("box", "ellipse"):
        return []
    keys = ("xtl", "ytl", "xbr", "ybr") if element.tag == "box" else ("cx", "cy", "rx", "ry")
    values = [_number(element.get(key)) for key in keys]
    degrees = _number(element.get("rotation") or "0")
    if degrees is None or None in values:
        return []
    first, second, third, fourth = (float(value) for value in values if value is not None)
    make = shapes.rectangle if element.tag == "box" else shapes.ellipse
    return make(first, second, third, fourth, degrees)


def _mask(element: Element, size: tuple[int, int] | None) -> masks.RunLengths | None:
    """Returns the run lengths of a mask; CVAT's run along the rows of a part of the image, and begin with a run of 0."""
    parts = (element.get("rle") or "").split(",")
    left, top, width, height = (_whole(element.get(key)) for key in ("left", "top", "width", "height"))
    if size is None or left is None or top is None or not width or not height or not all(map(_RUN.fullmatch, parts)):
        return None
    lengths = [int(part) for part in parts]
    if min(width, height) < 1 or width > size[1] or height > size[0] or sum(lengths) != width * height:
        return None
    part = np.repeat(np.arange(len(lengths)) % 2, lengths).reshape(height, width)
    return shapes.paste_runs(part > 0, left, top, size)
