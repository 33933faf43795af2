"""The JSON files of the VGG Image Annotator (VIA 1 and 2): a project, or an export of its annotations."""

import math
from typing import Any

from tpuseg.convert.objects import Finding
from tpuseg.formats import image_list, shape_images, shapes
from tpuseg.formats.dataset import Dataset, Options, require_kind
from tpuseg.formats.listing import Listing
from tpuseg.formats.registry import Format
from tpuseg.formats.shape_images import Shape, ShapeImage
from tpuseg.io import json_files

_KEYS = ("regions", "shape_attributes", "filename")
_PROJECT = "_via_img_metadata"
_USUAL_NAMES = ("class", "label", "name", "category", "type", "object")
_ONE_CLASS = "object"
_WITHOUT_AREA = ("point", "line", "polyline")


class Via(Format):
    """A JSON file with the regions of all images, or one for each split."""

    name = "via"
    layout = "a JSON file of the VGG Image Annotator (regions with shape_attributes), and the images"

    def detect(self, listing: Listing) -> str:
        """Looks for JSON files with VIA's keys."""
        files = listing.json_with(_KEYS)
        return f"{files[0]} has regions with shape_attributes" if files else ""

    def read(self, listing: Listing, options: Options) -> Dataset:
        """Reads the regions of all files; the attribute that most regions have is the class."""
        kind = require_kind(options.kind, self.offered_kinds(listing), listing.root)
        files = listing.require(listing.json_with(_KEYS), f"JSON file with {', '.join(_KEYS)}")
        findings: list[Finding] = []
        finder = image_list.ImageFinder(listing)
        rows = [(path, row) for path in files for row in _read_rows(listing, path)]
        attribute, note = _class_attribute([region for _, row in rows for region in _regions(row)])
        images = [image for path, row in rows if (image := _read_image(row, path, attribute, finder, findings))]
        source = shape_images.Source(self.name, listing.source_of(files), len(rows), (), (note,))
        return shape_images.build(listing, source, images, kind, options, findings)


def _read_rows(listing: Listing, path: str) -> list[dict[str, Any]]:
    """Returns the entries of all images of a file."""
    content = json_files.read(listing.path(path), "label file")
    if isinstance(content, dict) and _PROJECT in content:
        content = content[_PROJECT]
    rows = list(content.values()) if isinstance(content, dict) else None
    if not rows or not all(isinstance(row, dict) and isinstance(row.get("filename"), str) for row in rows):
        raise ValueError(f"{listing.path(path)} is not an export of VIA 1 or 2, in which each image has a filename and regions")
    return rows


def _regions(row: dict[str, Any]) -> list[Any]:
    """Returns the regions of an image; in VIA 1, they are a dictionary by number instead of a list."""
    regions = row.get("regions")
    return list(regions.values()) if isinstance(regions, dict) else regions if isinstance(regions, list) else []


def _classes_of(region: Any) -> dict[str, str]:
    """Returns the attributes of a region that have exactly one value; for check boxes, the one that is set."""
    attributes = region.get("region_attributes") if isinstance(region, dict) else None
    found = {}
    for key, value in attributes.items() if isinstance(attributes, dict) else ():
        chosen = [name for name, is_set in value.items() if is_set] if isinstance(value, dict) else [value]
        if len(chosen) == 1 and isinstance(chosen[0], str) and chosen[0].strip():
            found[key] = chosen[0].strip()
    return found


def _class_attribute(regions: list[Any]) -> tuple[str, str]:
    """Returns the attribute that is the class (empty if no region has one), and a note about it for the user."""
    counts: dict[str, int] = {}
    for region in regions:
        for key in _classes_of(region):
            counts[key] = counts.get(key, 0) + 1
    if not counts:
        return "", f"no region has an attribute, so all regions are of one class, `{_ONE_CLASS}`"
    best = max(counts, key=lambda key: (counts[key], key.lower() in _USUAL_NAMES))
    others = f" (others are {', '.join(sorted(set(counts) - {best}))})" if len(counts) > 1 else ""
    return best, f"the attribute `{best}` of the regions is their class{others}"


def _read_image(
    row: dict[str, Any], path: str, attribute: str, finder: image_list.ImageFinder, findings: list[Finding]
) -> ShapeImage | None:
    image, why = finder.find(row["filename"], path.rpartition("/")[0])
    if image is None:
        findings.append(Finding("image_missing", f"{path}: {why}"))
        return None
    found = []
    for number, region in enumerate(_regions(row), start=1):
        shape = _shape(region, f"{path}, image {row['filename'][:80]}, region {number}", number, attribute, findings)
        found += [shape] if shape else []
    return ShapeImage(image, image, None, found)


def _shape(region: Any, where: str, number: int, attribute: str, findings: list[Finding]) -> Shape | None:
    """Returns a shape; None, with a finding, if it has no area or cannot be used."""
    given = region.get("shape_attributes") if isinstance(region, dict) else None
    label = _classes_of(region).get(attribute) if attribute else _ONE_CLASS
    if not isinstance(given, dict) or label is None:
        reason = f"it has no `{attribute}`" if isinstance(given, dict) else ascii(region)[:80]
        findings.append(Finding("shape_unusable", f"{where}: {reason}"))
        return None
    kind = given.get("name")
    if kind in _WITHOUT_AREA:
        findings.append(Finding("shape_without_area", f"{where}: {kind} `{label}`"))
        return None
    polygon = _polygon(given)
    if not polygon:
        findings.append(Finding("shape_unusable", f"{where}: {ascii(given)[:80]}"))
        return None
    return Shape(f"region {number}", label, polygon, is_box=kind == "rect")


def _polygon(given: dict[str, Any]) -> list[float]:
    """Returns the corners of a shape in pixels; empty if it cannot be used."""
    kind = given.get("name")
    if kind == "polygon":
        x, y = given.get("all_points_x"), given.get("all_points_y")
        if not isinstance(x, list) or not isinstance(y, list) or len(x) != len(y):
            return []
        points = shapes.read_points([list(pair) for pair in zip(x, y, strict=True)])
        return shapes.flatten(points) if points else []
    keys = {"rect": ("x", "y", "width", "height"), "circle": ("cx", "cy", "r", "r"), "ellipse": ("cx", "cy", "rx", "ry")}
    numbers = [shapes.read_number(given.get(key)) for key in keys.get(str(kind), ())]
    radians = shapes.read_number(given.get("theta", 0))
    if not numbers or None in numbers or radians is None:
        return []
    x, y, right, down = (float(number or 0) for number in numbers)
    return (
        shapes.rectangle(x, y, x + right, y + down) if kind == "rect" else shapes.ellipse(x, y, right, down, math.degrees(radians))
    )
