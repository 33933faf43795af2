"""Pascal VOC's layout (JPEGImages, SegmentationClass, ImageSets/Segmentation) into records."""

import collections
import dataclasses
import functools
import io
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageOps

from tpuseg import files, records
from tpuseg.convert import shards
from tpuseg.visualize import IGNORE_COLOR, color_map

VOC_CLASSES = (
    "background aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person"
    " pottedplant sheep sofa train tvmonitor"
).split()
_IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG")
_EXIF_ORIENTATION = 0x0112


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where the files of a VOC folder lie, and what its labels mean.

    Attributes:
      root: the folder with JPEGImages, SegmentationClass and ImageSets.
      num_classes: ids below it are classes.
      ignore_label: the id of pixels that do not count.
    """

    root: str
    num_classes: int
    ignore_label: int


def convert_voc(
    voc_root: str,
    split: str,
    output: str,
    *,
    class_names: Sequence[str] = tuple(VOC_CLASSES),
    ignore_label: int = 255,
    num_shards: int = 8,
    num_workers: int = 2,
) -> dict[str, Any]:
    """Converts one list of a VOC folder.

    Args:
      voc_root: the folder with JPEGImages, SegmentationClass and ImageSets/Segmentation.
      split: name of the list, `train` for ImageSets/Segmentation/train.txt.
      output: folder of the shards and of `{split}.json`, the summary.
      class_names: in the order of the ids; they go into the summary.
      ignore_label: id of pixels that do not count.
      num_shards: files.
      num_workers: processes.

    Returns:
      The summary, as it is written.

    Raises:
      ValueError: a list, picture or mask is missing or wrong; names the file and the value.
    """
    if ignore_label < len(class_names):
        raise ValueError(f"ignore_label {ignore_label} is also the id of class `{class_names[ignore_label]}`; use 255")
    ids = _read_list(voc_root, split)
    layout = Layout(voc_root, len(class_names), ignore_label)
    names, notes = shards.write(ids, functools.partial(_encode, layout), output, split, num_shards, num_workers)
    pixels = np.sum([note.pixels for note in notes], axis=0)
    reasons = collections.Counter(note.reencoded for note in notes if note.reencoded)
    summary = {
        "kind": "semantic",
        "split": split,
        "num_examples": len(ids),
        "num_classes": len(class_names),
        "class_names": list(class_names),
        "ignore_label": ignore_label,
        "pixels_per_class": {name: int(count) for name, count in zip(class_names, pixels, strict=False)},
        "ignored_share": float(pixels[ignore_label] / max(pixels.sum(), 1)),
        "reencoded": dict(reasons),
        "shards": [os.path.basename(name) for name in names],
    }
    files.write_json(os.path.join(output, f"{split}.json"), summary)
    return summary


def describe(summary: dict[str, Any]) -> str:
    """Returns the summary of a conversion as lines for people."""
    counts = summary["pixels_per_class"]
    total = max(sum(counts.values()), 1)
    width = max(len(name) for name in counts)
    lines = [f"{summary['num_examples']} pictures in {len(summary['shards'])} shards, {summary['num_classes']} classes"]
    lines += [f"  {i:3d} {name:{width}} {count:14,d} pixels {count / total:7.2%}" for i, (name, count) in enumerate(counts.items())]
    lines.append(f"  ignored: {summary['ignored_share']:.2%} of all pixels")
    lines += [f"  {count} pictures re-encoded: {reason}" for reason, count in summary["reencoded"].items()]
    return "\n".join(lines)


def _read_list(root: str, split: str) -> list[str]:
    folder = os.path.join(root, "ImageSets", "Segmentation")
    path = os.path.join(folder, f"{split}.txt")
    if not os.path.isfile(path):
        there = sorted(name[:-4] for name in os.listdir(folder) if name.endswith(".txt")) if os.path.isdir(folder) else []
        known = f"lists there: {', '.join(there)}" if there else f"{folder} is no folder with lists; is --voc_root right?"
        raise ValueError(f"there is no list {path} ({known})")
    with open(path) as file:
        ids = [line.split()[0] for line in file if line.strip()]
    if not ids:
        raise ValueError(f"{path} is empty")
    repeated = [name for name, count in collections.Counter(ids).items() if count > 1]
    if repeated:
        raise ValueError(f"{path} lists {repeated[0]} twice ({len(repeated)} pictures are repeated)")
    return ids


@dataclasses.dataclass(frozen=True)
class _Note:
    """What the summary needs to know of one example."""

    pixels: np.ndarray
    reencoded: str


def _encode(layout: Layout, name: str) -> tuple[bytes, _Note]:
    """Reads, checks and encodes one picture with its mask."""
    image_path = _find_image(layout.root, name)
    with open(image_path, "rb") as file:
        raw = file.read()
    image, image_format, size, reason = _pass_through(raw, image_path)
    labels = read_labels(os.path.join(layout.root, "SegmentationClass", f"{name}.png"), layout)
    if labels.shape != size:
        mask = f"{labels.shape[1]}x{labels.shape[0]}"
        raise ValueError(f"{name}: the mask is {mask}, the picture {image_path} {size[1]}x{size[0]}")
    example = records.SemanticExample(
        image=image,
        image_format=image_format,
        height=size[0],
        width=size[1],
        source_id=name,
        filename=os.path.basename(image_path),
        labels=_png(PIL.Image.fromarray(labels)),
    )
    pixels = np.bincount(labels.ravel(), minlength=256)
    return records.encode_semantic(example), _Note(pixels, reason)


def _find_image(root: str, name: str) -> str:
    for ending in _IMAGE_ENDINGS:
        path = os.path.join(root, "JPEGImages", name + ending)
        if os.path.isfile(path):
            return path
    raise ValueError(f"there is no picture {os.path.join(root, 'JPEGImages', name)} ({', '.join(_IMAGE_ENDINGS[:3])})")


def _png(picture: PIL.Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=False)
    return buffer.getvalue()


def _pass_through(raw: bytes, path: str) -> tuple[bytes, str, tuple[int, int], str]:
    """Returns (bytes, format, (height, width), reason): the file as it is where TensorFlow reads it, else a new PNG and why."""
    try:
        with PIL.Image.open(io.BytesIO(raw)) as picture:
            picture.load()
            kind, mode = picture.format, picture.mode
            rotated = picture.getexif().get(_EXIF_ORIENTATION, 1) != 1
            reason = ""
            if rotated:
                reason = "turned as its EXIF data says"
            elif kind not in ("JPEG", "PNG"):
                reason = f"{kind} format"
            elif mode not in ("RGB", "L", "P", "RGBA", "LA", "1"):
                reason = f"{mode} colours"
            if not reason:
                return raw, str(kind).lower(), (picture.height, picture.width), ""
            upright = PIL.ImageOps.exif_transpose(picture).convert("RGB")
            return _png(upright), "png", (upright.height, upright.width), reason
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as a picture: {error}") from error


def read_labels(path: str, layout: Layout) -> np.ndarray:
    """Reads a mask as class ids, whichever way it stores them.

    A palette PNG and a grey PNG hold the ids themselves; an RGB PNG holds VOC's colours.

    Args:
      path: of the PNG.
      layout: allowed ids.

    Returns:
      [H, W] uint8.

    Raises:
      ValueError: the file is missing or broken, or has a value or colour that is no class.
    """
    try:
        with PIL.Image.open(path) as picture:
            if picture.mode in ("P", "L"):
                labels = np.asarray(picture)
            elif picture.mode in ("RGB", "RGBA"):
                labels = _ids_of_colors(np.asarray(picture.convert("RGB")), layout, path)
            else:
                labels = _narrow(np.asarray(picture), path)
    except FileNotFoundError as error:
        raise ValueError(f"there is no mask {path}") from error
    except (OSError, SyntaxError) as error:
        raise ValueError(f"{path} cannot be read as a mask: {error}") from error
    counts = np.bincount(labels.ravel(), minlength=256)
    allowed = np.zeros(256, bool)
    allowed[: layout.num_classes] = allowed[layout.ignore_label] = True
    wrong = np.flatnonzero((counts > 0) & ~allowed)
    if len(wrong):
        raise ValueError(
            f"{path}: {counts[wrong].sum()} pixels have the value {', '.join(map(str, wrong[:5]))}, which is neither one of the"
            f" {layout.num_classes} classes nor the ignore label {layout.ignore_label}; give all class names, or correct the mask"
        )
    return labels


def _narrow(values: np.ndarray, path: str) -> np.ndarray:
    """Returns 8-bit ids of a mask with wider (or one-bit) pixels."""
    if values.ndim != 2 or values.max(initial=0) > 255:
        raise ValueError(f"{path}: the largest value is {values.max()}; class ids are 0 to 255")
    return values.astype(np.uint8)


def _ids_of_colors(colors: np.ndarray, layout: Layout, path: str) -> np.ndarray:
    packed = colors.astype(np.int64) @ np.array([65536, 256, 1])
    table = np.full(1 << 24, -1, np.int16)
    known = color_map(256).astype(np.int64) @ np.array([65536, 256, 1])
    table[known[: layout.num_classes]] = np.arange(layout.num_classes)
    table[np.array(IGNORE_COLOR) @ np.array([65536, 256, 1])] = layout.ignore_label
    ids = table[packed]
    if (ids < 0).any():
        row, column = np.argwhere(ids < 0)[0]
        raise ValueError(
            f"{path}: {int((ids < 0).sum())} pixels have colours of no class, the first at row {row}, column {column}:"
            f" {tuple(int(v) for v in colors[row, column])}; RGB masks use VOC's colour map"
        )
    return ids.astype(np.uint8)
