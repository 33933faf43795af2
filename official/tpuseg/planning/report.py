"""The page about a data set and its plan, for a browser without a server; all of it is in one file.

The page is built as a tree of elements, so that every name is escaped when it is written.
"""

import base64
import collections
import io
import itertools
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Sequence

import numpy as np
import PIL.Image

from tpuseg.convert.objects import REPAIRS
from tpuseg.data import records
from tpuseg.formats.dataset import INSTANCES, TRAIN
from tpuseg.io import files
from tpuseg.planning.audit import FEW, Problem
from tpuseg.planning.fingerprint import Fingerprint, object_sizes
from tpuseg.planning.rules import Choice
from tpuseg.utils.messages import format_count
from tpuseg.visualization import record_drawing

FILE = "report.html"
_SHOWN_IMAGES = 24
# Twice the width of a column, for screens with two pixels a point.
_THUMBNAIL = (640, 640)
# Bars of a chart at most.
_BARS = 16
_IGNORE_LABEL = 255

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; padding: 0 16px 48px; max-width: 1100px; color: #1c2733; }
h1 { font-size: 1.6em; overflow-wrap: anywhere; } h2 { font-size: 1.2em; margin: 2em 0 .5em; }
table { border-collapse: collapse; width: 100%; } td, th { text-align: left; padding: 4px 8px 4px 0; vertical-align: top; }
td { overflow-wrap: anywhere; border-top: 1px solid #e3e8ed; } .number { text-align: right; white-space: nowrap; width: 1%; }
.label { width: 34%; } .bar { background: #3273b8; height: 14px; margin-top: 5px; min-width: 1px; }
.low .bar { background: #b8402a; }
.low { color: #96301d; } code { overflow-wrap: anywhere; } summary { cursor: pointer; overflow-wrap: anywhere; }
details { border-top: 1px solid #e3e8ed; padding: 6px 0; } li { overflow-wrap: anywhere; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); gap: 0 40px; }
.images { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 250px), 1fr)); gap: 12px; align-items: start; }
.images img { width: 100%; display: block; }
@media (max-width: 600px) { .plan td { display: block; } .plan td + td { border-top: 0; } }
"""


def write(
    path: str,
    heading: str,
    notes: Sequence[str],
    fingerprint: Fingerprint,
    choices: Sequence[Choice],
    canvas: Sequence[int],
    problems: Sequence[Problem],
    findings: dict[str, list[str]],
    shards: Sequence[str],
) -> None:
    """Writes the page.

    Args:
      path: of the file.
      heading: name of the data set.
      notes: sentences about how it was understood.
      fingerprint: what it holds.
      choices: values of the experiment, with their reasons.
      canvas: height and width of the experiment's input.
      problems: what people should look at.
      findings: where each kind of finding was found.
      shards: records of which images are shown.
    """
    html = ET.Element("html", lang="en")
    head = ET.SubElement(html, "head")
    ET.SubElement(head, "meta", charset="utf-8")
    ET.SubElement(head, "meta", name="viewport", content="width=device-width, initial-scale=1")
    _text(head, "title", heading)
    _text(head, "style", _STYLE)
    body = ET.SubElement(html, "body")
    _text(body, "h1", heading)
    parts = [f"{format_count(fingerprint.num_images(split), 'image')} for {split}" for split in fingerprint.splits]
    _text(body, "p", f"{', '.join(parts)}; {format_count(len(fingerprint.class_names), 'class', 'classes')}")
    for note in notes:
        _text(body, "p", note)
    _add_problems(body, problems, findings)
    _add_choices(body, choices)
    charts = ET.SubElement(body, "div", {"class": "charts"})
    _add_charts(charts, fingerprint, canvas)
    _add_images(body, fingerprint, shards)
    files.write_text(path, "<!DOCTYPE html>\n" + ET.tostring(html, encoding="unicode", method="html") + "\n")


def _text(parent: ET.Element, tag: str, text: str, **attributes: str) -> ET.Element:
    element = ET.SubElement(parent, tag, {key.rstrip("_"): value for key, value in attributes.items()})
    element.text = text if tag == "style" else "".join(character if character.isprintable() else " " for character in text)
    return element


def _add_problems(body: ET.Element, problems: Sequence[Problem], findings: dict[str, list[str]]) -> None:
    _text(body, "h2", "Findings")
    rows = [(problem.what, problem.images) for problem in problems]
    rows += [(f"{REPAIRS[kind][0]} ({len(where)}): {REPAIRS[kind][1]}", tuple(where)) for kind, where in findings.items()]
    if not rows:
        _text(body, "p", "Nothing odd was found.")
    for what, images in rows:
        details = ET.SubElement(body, "details")
        _text(details, "summary", what)
        items = ET.SubElement(details, "ul")
        for image in images:
            _text(items, "li", image)


def _add_choices(body: ET.Element, choices: Sequence[Choice]) -> None:
    _text(body, "h2", "Experiment")
    table = ET.SubElement(body, "table", {"class": "plan"})
    for choice in choices:
        row = ET.SubElement(table, "tr")
        cell = ET.SubElement(row, "td")
        _text(cell, "code", f"{choice.path.removeprefix('task.')}: {choice.value}")
        _text(row, "td", choice.reason)


def _add_charts(parent: ET.Element, fingerprint: Fingerprint, canvas: Sequence[int]) -> None:
    sizes = collections.Counter(f"{width} x {height}" for height, width in fingerprint.image_sizes.tolist())
    rows = sizes.most_common(_BARS - 1)
    others = sum(sizes.values()) - sum(count for _, count in rows)
    _add_chart(parent, "Image sizes in pixels (width x height)", [*rows, *([("others", others)] if others else [])])
    if fingerprint.kind == INSTANCES:
        _add_chart(parent, "Objects per image", histogram([len(image.boxes) for image in fingerprint.images]))
        boxes = fingerprint.boxes
        _add_chart(parent, "Object sizes in pixels (square root of the box's area)", size_histogram(object_sizes(boxes)))
        scale = (np.asarray(canvas) / fingerprint.image_sizes_of_boxes).min(axis=1, initial=np.inf)
        placed = object_sizes(boxes * scale[:, None])
        _add_chart(parent, f"Object sizes on the canvas of {canvas[1]} x {canvas[0]}", size_histogram(placed))
    for split in fingerprint.splits:
        unit, counts = "Objects", fingerprint.objects_per_class(split)
        if fingerprint.kind != INSTANCES:
            unit, counts = "Pixels", fingerprint.pixels_per_class(split)[: len(fingerprint.class_names)]
        low = FEW if fingerprint.kind == INSTANCES and split == TRAIN else 1
        rows = list(zip(fingerprint.class_names, counts.tolist(), strict=True))
        _add_chart(parent, f"{unit} of each class, {split}", rows, low)


def histogram(values: Sequence[int]) -> list[tuple[str, int]]:
    """Returns labels and counts of whole numbers, in ranges of one width."""
    width = max(1, -(-(max(values, default=0) + 1) // _BARS))
    counts = collections.Counter(value // width for value in values)
    names = range(max(counts, default=0) + 1)
    return [(str(n * width) if width == 1 else f"{n * width} to {n * width + width - 1}", counts[n]) for n in names]


def size_histogram(sizes: np.ndarray) -> list[tuple[str, int]]:
    """Returns labels and counts of sizes in pixels, in ranges from one power of two to the next."""
    if not len(sizes):
        return []
    octaves = np.floor(np.log2(np.maximum(sizes, 1))).astype(int)
    counts = collections.Counter(octaves.tolist())
    return [(f"{2**n} to {2 ** (n + 1)}", counts[n]) for n in range(octaves.min(), octaves.max() + 1)]


def _add_chart(parent: ET.Element, title: str, rows: Sequence[tuple[str, int]], low: int = 0) -> None:
    """Adds a table of bars; rows with values below `low` are marked."""
    section = ET.SubElement(parent, "section")
    _text(section, "h2", title)
    table = ET.SubElement(section, "table")
    most = max((value for _, value in rows), default=0) or 1
    for label, value in rows:
        row = ET.SubElement(table, "tr", {"class": "low"} if value < low else {})
        _text(row, "td", label + (" (few)" if value < low else ""), class_="label")
        _text(row, "td", f"{value:,d}", class_="number")
        ET.SubElement(ET.SubElement(row, "td"), "div", {"class": "bar", "style": f"width: {100 * value / most:.1f}%"})


def _add_images(body: ET.Element, fingerprint: Fingerprint, shards: Sequence[str]) -> None:
    _text(body, "h2", "Training images with their labels")
    images = ET.SubElement(body, "div", {"class": "images"})
    step = max(fingerprint.num_images(TRAIN) // _SHOWN_IMAGES, 1)
    some = itertools.islice(itertools.chain.from_iterable(map(records.read_raw, shards)), 0, step * _SHOWN_IMAGES, step)
    for pixels in _draw(some, fingerprint):
        ET.SubElement(images, "img", {"src": _data_address(pixels), "alt": "image with its labels", "loading": "lazy"})


def _draw(serialized: Iterable[bytes], fingerprint: Fingerprint) -> Iterable[np.ndarray]:
    if fingerprint.kind == INSTANCES:
        return record_drawing.draw_instances(serialized)
    return record_drawing.draw_semantic(serialized, fingerprint.class_names, _IGNORE_LABEL)


def _data_address(pixels: np.ndarray) -> str:
    image = PIL.Image.fromarray(pixels)
    image.thumbnail(_THUMBNAIL)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
