"""Fuzz tests of what the VOC converter reads: folders, lists, labelmaps, files of class names, masks, and its flags."""

import io
import os
import shutil
import struct

import numpy as np
import outcomes
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st
from voc_folder import make_voc

from tpuseg.convert import label_masks, labelmap, mask_values, voc, voc_instances
from tpuseg.convert.mask_values import LabelRules
from tpuseg.convert.voc_files import Layout
from tpuseg.data import class_names, records, semantic_records
from tpuseg.io import text_files

NAMES = ["background", "road", "car"]
COLORS = ((0, 0, 0), (250, 50, 83), (51, 221, 255))
TEXT_PIECES = [
    "a", "b", "background", "Größe", "道路", "__ignore__", "\n", "\r\n", "\r", " ", "\t", ",", ":", "0,0,0", "250,50,83", "300,0,0",
    "::", "#", "\0", "\x1b", "\ufeff", "\u2028", "\x85", "../", "/", ".txt", "-1", "9" * 30, "²", "*", "ignore", "255", ".", "..",
]  # fmt: skip
TEXT = st.lists(st.sampled_from(TEXT_PIECES), max_size=20).map("".join)
ENCODINGS = st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1", "cp1252"])
CONTENT = st.one_of(
    st.binary(max_size=60), st.builds(lambda text, encoding: text.encode(encoding, errors="replace"), TEXT, ENCODINGS)
)
RULES = st.builds(
    LabelRules,
    num_classes=st.sampled_from([2, 3, 21, 255]),
    ignore_label=st.just(255),
    colors=st.sampled_from([(), COLORS]),
    values=st.sampled_from(
        [mask_values.ValueRules(), mask_values.parse_values("255:1,7:0,*:ignore"), mask_values.parse_values("", -1, "0")]
    ),
    palette=st.sampled_from(mask_values.PALETTE_CHOICES),
)
RULES = RULES.map(
    lambda rules: rules if rules.num_classes == 3 else LabelRules(rules.num_classes, 255, (), rules.values, rules.palette)
)


@given(content=CONTENT)
def test_small_text_files(tmp_path, content):
    path = str(tmp_path / "names.txt")
    with open(path, "wb") as file:
        file.write(content)
    lines, _ = outcomes.result_or_error(lambda: text_files.read_lines(path, "list"), path)
    names, _ = outcomes.result_or_error(lambda: class_names.read(path), path)
    assert names is None or (lines is not None and names and set(names) <= set(lines))
    found, _ = outcomes.result_or_error(lambda: labelmap.read(path), path)
    if found:
        assert len(set(found.names)) == len(found.names) == len(set(found.colors)) and np.array(found.colors).max() <= 255


@given(text=TEXT)
def test_flags(tmp_path_factory, text):
    outcomes.result_or_error(lambda: class_names.read(text), "--class_names", "there is", "is a folder", "no regular file")
    outcomes.result_or_error(lambda: mask_values.parse_values(text), "--mask_values")
    outcomes.result_or_error(lambda: mask_values.parse_values("", 0, text), "--ignore_value")


@given(values=st.lists(st.integers(-2, 300), min_size=1, max_size=12), rules=RULES)
def test_values_against_a_loop(values, rules):
    def expected(value):
        told = dict(rules.values.mapped)
        if value in told:
            return rules.ignore_label if told[value] is None else told[value]
        if value == rules.ignore_label or value in rules.values.ignored or rules.values.ignores_others:
            return rules.ignore_label
        moved = value + rules.values.offset
        return moved if 0 <= moved < rules.num_classes else None

    array = np.array([values], np.int64)
    ids, message = outcomes.result_or_error(lambda: mask_values.to_ids(array, rules, "a.png"), "a.png")
    wanted = [expected(value) for value in values]
    if None in wanted:
        assert ids is None and str(sorted(value for value, to in zip(values, wanted, strict=True) if to is None)[0]) in message
    else:
        assert ids[0].tolist() == wanted


def encoded(pixels, mode, form, seed):
    image = PIL.Image.fromarray(pixels)
    random = np.random.default_rng(seed)
    if mode == "P":
        colors = random.permutation(np.array([*COLORS, (1, 2, 3)], np.uint8)) if seed % 3 else np.zeros((4, 3), np.uint8)
        image.putpalette(colors.tobytes())
    elif mode == "I;16":
        image = PIL.Image.fromarray(pixels.astype(np.uint16) * (1 + seed % 2 * 255))
    elif mode == "F":
        image, form = PIL.Image.fromarray(pixels.astype(np.float32) / (1 + seed % 2)), "TIFF"
    elif mode == "colors":
        image = PIL.Image.fromarray(np.array([*COLORS, (224, 224, 192)], np.uint8)[np.minimum(pixels, 3)])
    elif mode != "L":
        image = image.convert(mode)
    file = io.BytesIO()
    image.save(file, form if mode in ("L", "RGB") else ("TIFF" if mode == "F" else "PNG"))
    return file.getvalue()


MASKS = st.builds(
    encoded,
    st.lists(st.sampled_from([0, 1, 2, 3, 7, 255]), min_size=12, max_size=12).map(
        lambda row: np.array(row, np.uint8).reshape(3, 4)
    ),
    st.sampled_from(["L", "P", "I;16", "F", "colors", "RGB", "RGBA", "LA", "1"]),
    st.sampled_from(["PNG", "JPEG", "BMP", "TIFF", "GIF", "WEBP"]),
    st.integers(0, 20),
)


def damaged(data, cut, changes):
    """A file with some bytes changed, and perhaps its end missing."""
    data = bytearray(data[: len(data) - cut % len(data)] if cut else data)
    for place, value in changes:
        data[place % len(data)] = value
    return bytes(data)


BROKEN_MASKS = st.builds(
    damaged,
    MASKS,
    st.sampled_from([0, 0, 1, 12, 40, 1000]),
    st.lists(st.tuples(st.integers(0, 2000), st.sampled_from([0, 1, 4, 8, 16, 127, 255])), max_size=3),
)
# A width and height that a reader should not believe.
HUGE = struct.pack(">II", 2**31 - 1, 2**31 - 1)


@given(
    data=st.one_of(MASKS, BROKEN_MASKS, MASKS.map(lambda data: data[:16] + HUGE + data[24:]), st.binary(max_size=100)), rules=RULES
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning", "ignore::UserWarning:PIL")
def test_masks(tmp_path, data, rules):
    path = str(tmp_path / "a.png")
    with open(path, "wb") as file:
        file.write(data)
    mask, _ = outcomes.result_or_error(lambda: label_masks.read_mask(path, rules), path)
    if mask:
        assert mask.ids.dtype == np.uint8 and mask.ids.ndim == 2
        assert set(np.unique(mask.ids)) <= {*range(rules.num_classes), rules.ignore_label}
        with PIL.Image.open(path) as image:
            assert image.format not in ("JPEG", "WEBP")


@pytest.fixture(scope="module")
def two_folders(tmp_path_factory):
    """A data set, and a file beside it that nobody named: its size tells it from all others."""
    root = tmp_path_factory.mktemp("voc")
    ids = np.array([[0, 1], [2, 255]], np.uint8)
    make_voc(root / "mine", {"a": (ids, "ids"), "b": (ids, "rgb"), "2007_000032": (ids, "ids")})
    make_voc(root / "secret", {"a": (np.zeros((5, 7), np.uint8), "ids")})
    for name in ("a", "b", "2007_000032"):
        os.makedirs(root / "mine/SegmentationObject", exist_ok=True)
        PIL.Image.fromarray(np.minimum(ids, 3)).save(root / f"mine/SegmentationObject/{name}.png")
    for folder, ending in (("JPEGImages", "jpg"), ("SegmentationClass", "png"), ("SegmentationObject", "png")):
        os.symlink(root / "secret" / folder.replace("Object", "Class"), root / "mine" / folder / "linked")
        os.symlink(root / f"secret/{folder.replace('Object', 'Class')}/a.{ending}", root / f"mine/{folder}/link.{ending}")
    return root


LIST_NAMES = st.sampled_from(
    ["a", "b", "2007_000032", "a", "../../secret/JPEGImages/a", "{root}/secret/JPEGImages/a", "linked/a", "link", "./a",
     "linked/../a", "", " ", "a.jpg", "x" * 300, "Größe", "*", "[a]", "../mine/a", "a/../b", "~", "a\tb", "."]
)  # fmt: skip


@given(
    names=st.lists(LIST_NAMES, max_size=4),
    split=st.sampled_from(["train", "train", "train", "../x", "/tmp/x", "x/y", "", ".", "none"]),
    values=st.sampled_from(["", "255:1", "255:ignore", "255:9", "*:ignore"]),
    given_names=st.sampled_from([NAMES, (), ["a"], ["a", "a"], [str(number) for number in range(300)]]),
    ignore_label=st.sampled_from([255, 255, -1, 3, 256]),
    layout=st.sampled_from(
        [Layout(), Layout("nothing"), Layout(mask_suffix="_x"), Layout("../secret/SegmentationClass"), Layout("linked")]
    ),
    convert=st.sampled_from([voc.convert_voc, voc_instances.convert_voc_instances]),
)
def test_folders(two_folders, names, split, values, given_names, ignore_label, layout, convert):
    root, output = str(two_folders / "mine"), str(two_folders / "out")
    shutil.rmtree(output, ignore_errors=True)
    listed = [name.format(root=two_folders) for name in names]
    with open(f"{root}/ImageSets/Segmentation/train.txt", "w") as file:
        file.write("\n".join(listed))
    summary, _ = outcomes.result_or_error(
        lambda: convert(
            root,
            split,
            output,
            class_names=given_names,
            ignore_label=ignore_label,
            layout=layout,
            values=mask_values.parse_values(values),
        ),
        root,
        output,
        "--",
        "class",
    )
    written = os.listdir(output) if os.path.isdir(output) else []
    if summary is None:
        assert written == []
        return
    assert split == "train" and sorted(written) == sorted([*summary["shards"], "train.json"])
    rows = [row for shard in summary["shards"] for row in records.read_raw(f"{output}/{shard}")]
    assert len(rows) == summary["num_examples"] == len([name for name in listed if name.strip()])
    for row in rows:
        parsed = semantic_records.parse_semantic(row)
        assert records.decode_image(parsed["image"]).shape[:2] == (2, 2)  # Nothing of the other folder.
