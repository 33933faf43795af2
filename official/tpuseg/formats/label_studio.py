"""Label Studio's JSON: tasks with polygons, brush strokes, ellipses and rectangles."""

import re
import urllib.parse
from typing import Any

from tpuseg.convert.objects import Finding
from tpuseg.formats import brush_runs, image_list, shape_images, shapes
from tpuseg.formats.dataset import Dataset, Options, require_kind
from tpuseg.formats.listing import Listing
from tpuseg.formats.registry import Format
from tpuseg.formats.shape_images import Shape, ShapeImage
from tpuseg.io import json_files
from tpuseg.io.image_paths import ENDINGS
from tpuseg.ops import masks

_KEYS = ("data", "result", "original_width")
# The second name is that of older versions.
_ANNOTATIONS = ("annotations", "completions")
_AREA_LABELS = ("polygonlabels", "brushlabels", "rectanglelabels", "ellipselabels")
# The prefix that Label Studio adds to the names of uploaded files.
_UPLOAD = re.compile(r"[0-9a-f]{8}-")
_LARGEST_SIDE = 1 << 16


class LabelStudio(Format):
    """An export as JSON, and the images."""

    name = "label_studio"
    layout = "an export of Label Studio as JSON (tasks with data and annotations), and the images"

    def detect(self, listing: Listing) -> str:
        """Looks for JSON files with Label Studio's keys."""
        files = listing.json_with(_KEYS)
        return f"{files[0]} has tasks with data and result" if files else ""

    def read(self, listing: Listing, options: Options) -> Dataset:
        """Reads the tasks of all files; if a task has several annotations, one is used."""
        kind = require_kind(options.kind, self.offered_kinds(listing), listing.root)
        files = listing.require(listing.json_with(_KEYS), f"JSON file with {', '.join(_KEYS)}")
        findings: list[Finding] = []
        finder = image_list.ImageFinder(listing)
        images, num_images = [], 0
        for path in files:
            tasks = json_files.read(listing.path(path), "label file")
            if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
                raise ValueError(f"{listing.path(path)} is not a list of tasks; export the project as JSON")
            num_images += len(tasks)
            images += [image for task in tasks if (image := _read_task(task, path, finder, findings))]
        source = shape_images.Source(self.name, listing.source_of(files), num_images)
        return shape_images.build(listing, source, images, kind, options, findings)


def _read_task(task: dict[str, Any], path: str, finder: image_list.ImageFinder, findings: list[Finding]) -> ShapeImage | None:
    """Returns the image of a task and its shapes; None, with a finding, if the image does not exist or is not labelled."""
    where = f"{path}, task {task.get('id')}"
    name = _image_name(task)
    image, why = finder.find(name, path.rpartition("/")[0])
    if image is None:
        image, _ = finder.find(_UPLOAD.sub("", name.rpartition("/")[2], count=1), path.rpartition("/")[0])
    if image is None:
        findings.append(Finding("image_missing", f"{where}: {why}"))
        return None
    results = _results(task, where, findings)
    if results is None:
        findings.append(Finding("task_without_annotation", f"{where} ({image})"))
        return None
    found, sizes = [], set()
    for number, row in enumerate(results, start=1):
        size = _size(row)
        sizes |= {size} if size else set()
        shape = _shape(row, f"{where}, region {number}", number, size, findings)
        found += [shape] if shape else []
    size = sizes.pop() if len(sizes) == 1 else None
    return ShapeImage(image, str(task.get("id") or image), size, found)


def _image_name(task: dict[str, Any]) -> str:
    """Returns the path or URL of a task's image: the first value in its data that has the ending of an image."""
    data = task.get("data")
    values = [value for value in data.values() if isinstance(value, str)] if isinstance(data, dict) else []
    for value in [*values, task.get("file_upload")]:
        if isinstance(value, str):
            address = urllib.parse.urlparse(value)
            local = urllib.parse.parse_qs(address.query).get("d", [""])[0]  # /data/local-files/?d=folder/a.jpg
            for candidate in (local, urllib.parse.unquote(address.path)):
                if candidate.lower().endswith(ENDINGS):
                    return candidate.lstrip("/")
    return str(values[0]) if values else "without a name"


def _results(task: dict[str, Any], where: str, findings: list[Finding]) -> list[Any] | None:
    """Returns the regions of a task's annotation, the ground truth if there is one, otherwise the first; None without any."""
    given: list[Any] = next((task[key] for key in _ANNOTATIONS if isinstance(task.get(key), list)), [])
    finished = [
        one for one in given if isinstance(one, dict) and isinstance(one.get("result"), list) and not one.get("was_cancelled")
    ]
    if not finished:
        return None
    if len(finished) > 1:
        findings.append(Finding("annotation_of_others", f"{where}: {len(finished)} annotations"))
    return next((one for one in finished if one.get("ground_truth")), finished[0])["result"]


def _size(row: Any) -> tuple[int, int] | None:
    if not isinstance(row, dict):
        return None
    height, width = row.get("original_height"), row.get("original_width")
    if not isinstance(height, int) or not isinstance(width, int):
        return None
    return (height, width) if 0 < height <= _LARGEST_SIDE and 0 < width <= _LARGEST_SIDE else None


def _shape(row: Any, where: str, number: int, size: tuple[int, int] | None, findings: list[Finding]) -> Shape | None:
    """Returns a shape; None, with a finding, for an entry that is not a region, has no area or cannot be used."""
    value = row.get("value") if isinstance(row, dict) else None
    if not isinstance(value, dict):
        findings.append(Finding("shape_unusable", f"{where}: {ascii(row)[:80]}"))
        return None
    labels = next((value[key] for key in (*_AREA_LABELS, "labels") if isinstance(value.get(key), list)), None)
    if labels is None:
        # Choices and texts for the whole image, and key points and lines.
        findings.append(Finding("shape_without_area", f"{where}: {ascii(row.get('type'))[:40]}"))
        return None
    runs, polygon = None, []
    why = f"{ascii(row.get('type'))[:40]}"
    if size is None:
        why = "original_width and original_height are missing"
    elif "rle" in value:
        runs, why = _brush(value["rle"], size)
    else:
        polygon = _polygon(value, size)
    if len(labels) != 1 or not isinstance(labels[0], str) or not labels[0].strip():
        runs, polygon, why = None, [], f"labels {ascii(labels)[:40]} instead of one label"
    if row.get("image_rotation"):
        runs, polygon, why = None, [], f"the image was rotated by {row['image_rotation']} degrees for labelling"
    if runs is None and not polygon:
        findings.append(Finding("shape_unusable", f"{where}: {why}"))
        return None
    return Shape(f"region {number}", labels[0].strip(), polygon, runs, is_box="width" in value)


def _brush(packed: Any, size: tuple[int, int]) -> tuple[masks.RunLengths | None, str]:
    """Returns the run lengths of a brush, or None and why it cannot be used."""
    if not isinstance(packed, list):
        return None, "rle is not a list"
    try:
        values = brush_runs.decode(packed, size[0] * size[1] * 4)
    except ValueError as error:
        return None, str(error)
    return masks.encode(values.reshape(*size, 4)[..., 3] > 0), ""


def _polygon(value: dict[str, Any], size: tuple[int, int]) -> list[float]:
    """Converts a shape in per cent of the image's width and height to corners in pixels; returns none if it cannot be used."""
    scale_x, scale_y = size[1] / 100, size[0] / 100
    if "points" in value:
        points = shapes.read_points(value["points"])
        return shapes.flatten([(x * scale_x, y * scale_y) for x, y in points]) if points else []
    keys = ("x", "y", "radiusX", "radiusY") if "radiusX" in value else ("x", "y", "width", "height")
    numbers = [shapes.read_number(value.get(key)) for key in keys]
    degrees = shapes.read_number(value.get("rotation", 0))
    if degrees is None or None in numbers:
        return []
    x, y, right, down = (float(number or 0) for number in numbers)
    x, y, right, down = x * scale_x, y * scale_y, right * scale_x, down * scale_y
    if "radiusX" in value:
        return shapes.ellipse(x, y, right, down, degrees)
    return shapes.rectangle(x, y, x + right, y + down, degrees, center=(x, y))
