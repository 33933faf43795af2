"""COCO annotation files with anything in them: converted, or one error that names the file; never a crash of pycocotools.

Masks, boxes and areas that reach C code are tried in a process of its own, with limits of time and memory.
"""

import copy
import json
import math

import coco_folder
import hypothesis.strategies as st
import pytest
from hypothesis import given
from limited_process import LimitedProcess
from outcomes import result_or_error

from tpuseg.convert import coco_file, objects
from tpuseg.data import examples

# Numbers that are at some limit: of images, 32 and 64 bits, floats, and of what Python and JSON can write.
NUMBERS = st.one_of(
    st.integers(-3, 15),
    st.floats(-20, 30),
    st.sampled_from([0.0, -0.0, 0.5, 1e-300, 1e5, 1e6, 1e8, 1e9, 1e15, 1e18, 1e300, -1e8, 2.0**31, 2.0**53]),
    st.sampled_from([2**31, 2**32, 2**62, 2**63, 2**64, -(2**63), 10**40, 10**400]),
    st.sampled_from([math.nan, math.inf, -math.inf]),
)
NAMES = ["", "1", "000001", "-1", "a.png", "../a.png", "/etc/passwd", "\ud800", "\0", "A%2Epng"]
TEXTS = st.one_of(st.text(max_size=8), st.sampled_from(NAMES))
ATOMS = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
VALUES = st.recursive(ATOMS, lambda inner: st.lists(inner, max_size=8) | st.dictionaries(TEXTS, inner, max_size=4), max_leaves=12)
COUNTS = st.one_of(st.lists(NUMBERS, max_size=8), st.text("0123PQ`abcdopNOn~\u00e9", max_size=20), VALUES)
SIZES = st.one_of(st.just([8, 12]), st.just([12, 8]), st.lists(NUMBERS, min_size=2, max_size=2), VALUES)
RUNS = st.fixed_dictionaries({"size": SIZES, "counts": COUNTS})
POLYGONS = st.lists(NUMBERS, min_size=4, max_size=12)
POINTS = st.lists(st.lists(NUMBERS, min_size=2, max_size=2), min_size=2, max_size=6)
SEGMENTATIONS = st.one_of(
    VALUES, RUNS, POLYGONS, POINTS, st.lists(POLYGONS, max_size=3), st.lists(POINTS, max_size=3), st.lists(RUNS, max_size=3),
    st.lists(st.lists(POLYGONS, max_size=2), max_size=2),
)  # fmt: skip
BOXES = st.one_of(st.lists(NUMBERS, min_size=4, max_size=4), VALUES)

# Reads lines of [segmentation, box, area], and answers each with the mask that came of it.
WORKER = """
import json, sys
import numpy as np
from tpuseg.ops import masks
from tpuseg.convert import coco_file, objects
from tpuseg.data.examples import Category
print("ready", flush=True)
for line in sys.stdin:
    segmentation, box, area = json.loads(line)
    row = {"segmentation": segmentation, "bbox": box, "area": area}
    findings, found = [], []
    annotation = coco_file._annotation(row, "annotation 1", Category(1, "x"), 0, "here", findings)
    made = objects.instance(annotation, (8, 12), found)
    if made:
        runs = masks.run_lengths(made.runs, 8, 12)
        assert masks.area(runs) <= 96 and made.frame.shape == (56, 56)
        assert np.isfinite(made.box).all() and np.isfinite(made.annotated_box).all() and np.isfinite(made.annotated_area)
        assert made.is_crowd or masks.area(runs), "an object without a pixel"
    assert made or found, "nothing is said about an annotation that was left out"
    print("made" if made else "left out", flush=True)
"""


class Worker:
    """A process that converts annotations."""

    def __init__(self):
        self._process = LimitedProcess(WORKER, 4, 20, "-W", "error")
        self.close = self._process.close

    def convert(self, *row):
        line = json.dumps(row)
        answer = self._process.ask(line)
        if answer not in ("made", "left out"):
            pytest.fail(f"the process that converts an annotation {answer or 'died or raised an error'}: {line[:500]}")
        return answer


@pytest.fixture(scope="module")
def worker():
    process = Worker()
    yield process
    process.close()


@given(rows=st.lists(st.tuples(SEGMENTATIONS, BOXES, NUMBERS | VALUES), min_size=4, max_size=4))
def test_masks_boxes_and_areas(worker, rows):
    for row in rows:
        worker.convert(*row)


def base():
    images = [coco_folder.image(1), {**coco_folder.image(2, "b.png"), "coco_url": "http://example.org/b.png"}]
    rows = [coco_folder.annotation(1), coco_folder.annotation(2, image_id=2, category_id=3, iscrowd=1)]
    rows += [coco_folder.annotation(3, image_id=2, segmentation={"size": [8, 12], "counts": [20, 6, 70]})]
    # Cases change lists at any depth, of which the helper shares some.
    return copy.deepcopy({"images": images, "annotations": rows, "categories": coco_folder.CATEGORIES})


@st.composite
def documents(draw):
    """Draws an annotation file in which some values, at any depth, are others, gone, or there twice."""
    content = base()
    for _ in range(draw(st.integers(1, 3))):
        holder, key = content, draw(st.sampled_from(["images", "annotations", "categories"]))
        for _ in range(draw(st.integers(0, 4))):
            inner = holder[key]
            if not isinstance(inner, list | dict) or not inner:
                break
            holder, key = inner, draw(st.sampled_from(sorted(inner) if isinstance(inner, dict) else range(len(inner))))
        action = draw(st.sampled_from(["replace", "replace", "remove", "repeat"]))
        if action == "remove":
            del holder[key]
        elif action == "repeat" and isinstance(holder, list):
            holder.append(copy.deepcopy(holder[key]))
        else:
            holder[key] = draw(SEGMENTATIONS if key == "segmentation" else VALUES)
        if not all(isinstance(content.get(name), list | dict) for name in ("images", "annotations", "categories")):
            break
    return content


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("coco")
    coco_folder.write(root, [], files=("a.png", "b.png"))
    return root


def read(folder, content):
    """Reads a file as the converter does; converts what is left if no value can reach C code unchecked."""
    path = folder / "train.json"
    path.write_bytes(content)
    return result_or_error(lambda: coco_file.read_annotations(str(path), str(folder / "images")), "train.json")


@given(document=documents())
def test_documents(folder, worker, document):
    contents, _ = read(folder, json.dumps(document).encode())
    for image in contents.images if contents else ():
        assert isinstance(examples.image_id(image.source_id, image.id_type), int | str)
        for finding in contents.findings:
            assert finding.kind in objects.REPAIRS and finding.where.encode()
        for annotation in image.annotations:
            worker.convert(annotation.segmentation, annotation.box, annotation.area)


@given(data=st.data())
def test_damaged_bytes(folder, data):
    content = bytearray(json.dumps(base(), ensure_ascii=False).encode(data.draw(st.sampled_from(["utf-8", "utf-16", "utf-8-sig"]))))
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    start = data.draw(st.integers(0, len(content)))
    stop = data.draw(st.sampled_from([len(content), start + 10]))
    del content[start:stop]
    read(folder, bytes(content))


@given(content=st.binary(max_size=60) | VALUES.map(lambda value: json.dumps(value).encode()))
def test_other_content(folder, content):
    assert read(folder, content)[0] is None
