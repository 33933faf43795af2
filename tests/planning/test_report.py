"""The page about a data set: what it contains, and that names cannot change it."""

import html.parser

import numpy as np

from tpuseg.planning import report
from tpuseg.planning.audit import Problem
from tpuseg.planning.conversion import ImageContents
from tpuseg.planning.fingerprint import Fingerprint
from tpuseg.planning.rules import Choice

ODD = "</style><script>alert(1)</script>&\"'"


class Reader(html.parser.HTMLParser):
    """Collects tags, and the text of table rows and list items."""

    def __init__(self):
        super().__init__()
        self.tags, self.rows, self.marked = [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag in ("tr", "li", "h1", "h2", "p", "summary"):
            self.rows.append("")
        if dict(attributes).get("class") == "low":
            self.marked.append(len(self.rows) - 1)

    def handle_data(self, data):
        if self.rows:
            self.rows[-1] += data + " "


def read(path):
    reader = Reader()
    reader.feed(path.read_text())
    return reader


def write(path, fingerprint, problems=(), findings=()):
    choices = [Choice("task.model.num_classes", 2, ODD)]
    report.write(str(path), ODD, [ODD], fingerprint, choices, (64, 64), problems, dict(findings), [])


def test_objects_and_escaped_names(tmp_path):
    boxes = np.array([[0, 0, 8, 8], [0, 0, 40, 10]], np.float32)
    images = (
        ImageContents("a", "train", (32, 128), boxes, np.array([0, 1], np.int32), np.zeros(0, np.int64)),
        ImageContents("b", "val", (64, 64), boxes[:0], np.zeros(0, np.int32), np.zeros(0, np.int64)),
    )
    problems = [Problem(ODD, (ODD, "b"))]
    write(tmp_path / "r.html", Fingerprint("instances", (ODD, "cat"), images, {}), problems, {"no_mask": ["here"]}.items())
    page = read(tmp_path / "r.html")
    assert "script" not in page.tags and page.tags.count("li") == 3
    assert page.rows[0].strip().startswith(ODD)
    rows = [" ".join(row.split()) for row in page.rows]
    assert {"0 1", "1 0", "2 1"} <= set(rows)  # Objects per image.
    assert "128 x 32 1" in rows and "here" in rows[rows.index("b") + 2]
    # 8 and 20 pixels; on the canvas of 64 x 64 half of that.
    assert [rows.count(row) for row in ("8 to 16 1", "16 to 32 1", "4 to 8 1")] == [2, 1, 1]
    assert {rows[place].split()[-2] for place in page.marked} == {"(few)"} and len(page.marked) == 4


def test_pixels(tmp_path):
    counts = np.zeros(256, np.int64)
    counts[[0, 1]] = 1500, 500
    none = np.zeros((0, 4), np.float32), np.zeros(0, np.int32)
    images = (ImageContents("a", "train", (40, 50), *none, counts),)
    write(tmp_path / "r.html", Fingerprint("semantic", ("road", "car", "pole"), images, {}))
    page = read(tmp_path / "r.html")
    rows = [" ".join(row.split()) for row in page.rows]
    assert {"road 1,500", "car 500"} <= set(rows) and any(row.startswith("pole (few) 0") for row in rows) and len(page.marked) == 1


def test_ranges_of_charts():
    assert report.histogram([0, 2, 2]) == [("0", 1), ("1", 0), ("2", 2)]
    # 33 numbers in at most 16 ranges.
    assert report.histogram([0, 3, 32])[0] == ("0 to 2", 1) and report.histogram([0, 3, 32])[-1] == ("30 to 32", 1)
    assert report.histogram([]) == [("0", 0)]
    assert report.size_histogram(np.array([0.0, 1.5, 4.0, 7.9])) == [("1 to 2", 2), ("2 to 4", 0), ("4 to 8", 2)]
    assert report.size_histogram(np.zeros(0)) == []
