"""Label files of all formats with anything in them: a data set whose images can be converted, or one error that names a file.

Each format has a small folder that is right. Every case changes values in one of its files at any depth, or its bytes.
"""

import copy
import json
import math
import shutil
import xml.etree.ElementTree as ElementTree

import coco_folder
import hypothesis.strategies as st
import numpy as np
import pytest
from format_folders import rectangle, write_image, write_mask
from hypothesis import given
from outcomes import result_or_error

from tpuseg.convert import objects
from tpuseg.formats import detection, labels, registry
from tpuseg.formats.dataset import Options, PixelSource

NUMBERS = st.one_of(
    st.integers(-3, 15),
    st.floats(-20, 130),
    st.sampled_from([0.0, -0.0, 1e-300, 1e6, 1e9, 1e15, 1e300, -1e8, 2**31, 2**32, 2**63, 2**64, -(2**63), 10**40, 10**400]),
    st.sampled_from([math.nan, math.inf, -math.inf]),
)
NAMES = [
    "",
    "1",
    "-1",
    "a.png",
    "../a.png",
    "/etc/passwd",
    "\ud800",
    "\0",
    "cat",
    "polygon",
    "mask",
    "rle",
    "brushlabels",
    "A%2Epng",
]
ATOMS = st.one_of(st.none(), st.booleans(), NUMBERS, st.text(max_size=6), st.sampled_from(NAMES))
VALUES = st.recursive(
    ATOMS, lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3), max_leaves=8
)

POINTS = [[2, 1], [8, 1], [8, 7], [2, 7]]
SIZE = {"original_width": 12, "original_height": 8}
RESULTS = [
    {"type": "polygonlabels", "value": {"points": POINTS, "polygonlabels": ["cat"]}, **SIZE},
    {"type": "brushlabels", "value": {"rle": [0, 0, 1, 128, 57], "brushlabels": ["cat"]}, **SIZE},
    {
        "type": "ellipselabels",
        "value": {"x": 50, "y": 50, "radiusX": 9, "radiusY": 9, "rotation": 3, "ellipselabels": ["cat"]},
        **SIZE,
    },
]
SHAPES = [
    {"label": "cat", "points": POINTS, "group_id": None, "shape_type": "polygon"},
    {"label": "cat", "points": [[1, 1], [3, 3]], "group_id": 3, "shape_type": "circle"},
    {"label": "cat", "points": [[1, 1], [3, 3]], "group_id": 3, "shape_type": "mask", "mask": "aGk="},
]
REGIONS = [
    {
        "shape_attributes": {"name": "polygon", "all_points_x": [2, 8, 8], "all_points_y": [1, 1, 7]},
        "region_attributes": {"class": "cat"},
    },
    {
        "shape_attributes": {"name": "ellipse", "cx": 4, "cy": 4, "rx": 2, "ry": 1, "theta": 1},
        "region_attributes": {"class": {"cat": True}},
    },
]
SEGMENTS = [{"id": 1, "category_id": 2, "iscrowd": 0}]
IMAGES = [coco_folder.image(1, "a.png")]
JSON_FILES = {
    "coco": (
        "train.json",
        {"images": IMAGES, "annotations": [coco_folder.annotation(1)], "categories": coco_folder.CATEGORIES},
    ),
    "coco_panoptic": (
        "panoptic.json",
        {
            "images": IMAGES,
            "annotations": [{"image_id": 1, "file_name": "a.png", "segments_info": SEGMENTS}],
            "categories": [{"id": 2, "name": "cat", "isthing": 1}],
        },
    ),
    "labelme": ("a.json", {"shapes": SHAPES, "imagePath": "a.png", "imageData": None, "imageHeight": 8, "imageWidth": 12}),
    "label_studio": (
        "export.json",
        [{"id": 7, "data": {"image": "a.png"}, "annotations": [{"was_cancelled": False, "result": RESULTS}]}],
    ),
    "via": ("via.json", {"a.png1": {"filename": "a.png", "regions": REGIONS}}),
}
XML = """<?xml version="1.0"?><annotations><meta><task><labels><label><name>cat</name></label></labels></task></meta>
<image id="0" name="a.png" width="12" height="8">
<polygon label="cat" points="2.0,1.0;8.0,1.0;8.0,7.0" z_order="1"/><box label="cat" xtl="1" ytl="1" xbr="5" ybr="6" rotation="3"/>
<ellipse label="cat" cx="3" cy="3" rx="2" ry="1" rotation="9"/><mask label="cat" rle="1,2,1" left="1" top="1" width="2" height="2"/>
</image></annotations>"""
LINES = ["0 0.25 0.25 0.75 0.25 0.75 0.75", "1 0 0.5 0.5 0.5 0.5 1 0 1", "0 0.5 0.5 0.2 0.2"]
YAML = "train: images\nval: images\nnames: [car, cat]\n"
YAML_LINES = [*YAML.splitlines(), "train:", "names:", "val: [a, {}]", "names: {1: a, x: b}", "train: /", "train: ../.."]
YAML_LINES += ["names: [1, null]", "path: 3", "test: x.txt", "- a", "\t"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("formats")


def folder_of(root, name):
    """Returns a folder of one format with an image, and for panoptic with its PNG; label files are written by each case."""
    folder = root / name
    if not folder.exists():
        write_image(folder / "images" / "a.png")
        if name == "coco_panoptic":
            numbers = rectangle((1, 7), (2, 8))
            write_mask(folder / "panoptic" / "a.png", np.stack([numbers, 0 * numbers, 0 * numbers], 2))
    return folder


def check(folder, name, *files):
    """Reads a folder for both kinds, and converts its images as the converters do."""
    for kind in ("instances", "semantic"):
        dataset, _ = result_or_error(
            lambda kind=kind: detection.read_dataset(str(folder), name, Options(kind=kind)), *files, str(folder)
        )
        for finding in dataset.findings if dataset else ():
            assert finding.kind in objects.REPAIRS and finding.where.encode(errors="surrogatepass") and "\n" not in finding.where
        for image in dataset.images if dataset else ():
            result_or_error(lambda image=image: convert(image), *files, "a.png")


def convert(image):
    labels.find_classes(image)
    if isinstance(image.labels, PixelSource):
        return labels.convert_pixels(image)
    converted = labels.convert_objects(image, objects.Options())
    for instance in converted.example.instances if converted.example else ():
        assert np.isfinite(instance.box).all() and np.isfinite(instance.annotated_area)
    return converted


@st.composite
def changed(draw, content):
    """Draws a value in which some values, at any depth, are others, gone, or there twice."""
    content = copy.deepcopy(content)
    for _ in range(draw(st.integers(1, 3))):
        holder, key = [content], 0
        for _ in range(draw(st.integers(1, 7))):
            inner = holder[key]
            if not isinstance(inner, list | dict) or not inner:
                break
            holder, key = inner, draw(st.sampled_from(sorted(inner, key=str) if isinstance(inner, dict) else range(len(inner))))
        action = draw(st.sampled_from(["replace", "replace", "remove", "repeat"]))
        if isinstance(holder, list) and action == "repeat":
            holder.append(copy.deepcopy(holder[key]))
        elif action == "remove":
            del holder[key]
        else:
            holder[key] = draw(VALUES)
        if not content:
            break
    return content


@pytest.mark.parametrize("name", sorted(JSON_FILES))
@given(data=st.data())
def test_changed_values(root, name, data):
    file, content = JSON_FILES[name]
    folder = folder_of(root, name)
    (folder / file).write_text(json.dumps(data.draw(changed(content))))
    check(folder, name, file)


@pytest.mark.parametrize("name", [*sorted(JSON_FILES), "cvat"])
@given(data=st.data())
def test_damaged_bytes(root, name, data):
    file, content = ("annotations.xml", XML) if name == "cvat" else JSON_FILES[name]
    text = content if name == "cvat" else json.dumps(content)
    raw = bytearray(text.encode(data.draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))))
    for _ in range(data.draw(st.integers(0, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    start = data.draw(st.integers(0, len(raw)))
    del raw[start : data.draw(st.sampled_from([len(raw), start, start + 10]))]
    folder = folder_of(root, name)
    (folder / file).write_bytes(raw)
    check(folder, name, file)


@given(data=st.data())
def test_changed_attributes_of_xml(root, data):
    tree = ElementTree.fromstring(XML)
    elements = list(tree.iter())
    for _ in range(data.draw(st.integers(1, 4))):
        element = data.draw(st.sampled_from(elements))
        key = data.draw(st.sampled_from([*element.attrib, "points", "rle", "label", "z_order", "rotation"]))
        texts = st.one_of(
            NUMBERS.map(str), st.lists(NUMBERS.map(str), max_size=5).map(",".join), st.sampled_from(["", ";", "1,2;3", "x"])
        )
        element.set(key, data.draw(texts))
    folder = folder_of(root, "cvat")
    (folder / "annotations.xml").write_bytes(ElementTree.tostring(tree))
    check(folder, "cvat", "annotations.xml")


@given(data=st.data())
def test_yolo(root, data):
    tokens = st.one_of(
        st.sampled_from(["0", "1", "2", "0.5", "-1", "x", "nan", "inf", "1e400", "\u00b2", "\0", "#"]), NUMBERS.map(str)
    )
    lines = data.draw(st.lists(st.one_of(st.sampled_from(LINES), st.lists(tokens, max_size=9).map(" ".join)), max_size=4))
    folder = folder_of(root, "yolo")
    (folder / "labels").mkdir(exist_ok=True)
    (folder / "labels" / "a.txt").write_bytes("\n".join(lines).encode("utf-8", "replace"))
    yaml = data.draw(st.one_of(st.just(YAML), st.lists(st.sampled_from(YAML_LINES), max_size=5).map("\n".join)))
    (folder / "data.yaml").write_text(yaml)
    check(folder, "yolo", "data.yaml", "a.txt")


NAMES_OF_FILES = """
images/a.png masks/a.png a.json data.yaml annotations.xml labels/a.txt classes.txt labelmap.txt _classes.csv class_dict.csv
label_colors.txt JPEGImages/a.png SegmentationClass/a.png SegmentationObject/a.png ImageSets/Segmentation/train.txt
leftImg8bit/train/x/a_leftImg8bit.png gtFine/train/x/a_gtFine_labelIds.png images/training/ADE_1.jpg annotations/training/ADE_1.png
""".split()
FILES = st.lists(st.sampled_from(NAMES_OF_FILES), max_size=6, unique=True)
CONTENTS = st.one_of(
    st.binary(max_size=20),
    st.sampled_from([XML.encode(), YAML.encode(), *(json.dumps(one).encode() for _, one in JSON_FILES.values())]),
)


@given(files=FILES, data=st.data())
def test_any_folder_is_of_a_format_or_of_none(root, files, data):
    folder = root / "any"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for file in files:
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in (".png", ".jpg") and data.draw(st.booleans()):
            write_mask(path, rectangle((1, 7), (2, 8)))
        else:
            path.write_bytes(data.draw(CONTENTS))
    for name in ["", *registry.formats()]:
        check(folder, name, *[file.rpartition("/")[2] for file in files], "--task")
