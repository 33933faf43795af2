"""Pascal VOC's layout (JPEGImages, SegmentationClass, ImageSets/Segmentation) into records."""

import collections
import functools
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tpuseg import files, parallel, records
from tpuseg.convert import pictures, shards
from tpuseg.pictures import ENDINGS

VOC_CLASSES = (
    "background aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person"
    " pottedplant sheep sofa train tvmonitor"
).split()


def convert_voc(
    voc_root: str,
    split: str,
    output: str,
    *,
    class_names: Sequence[str] = tuple(VOC_CLASSES),
    class_colors: Sequence[tuple[int, int, int]] = (),
    ignore_label: int = 255,
    num_shards: int = 8,
    num_workers: int = 1,
    mask_dir: str = "SegmentationClass",
) -> dict[str, Any]:
    """Converts one list of a VOC folder.

    Args:
      voc_root: the folder with the pictures, the masks and ImageSets/Segmentation.
      split: name of the list, `train` for ImageSets/Segmentation/train.txt.
      output: folder of the shards and of `{split}.json`, the summary; local or gs://.
      class_names: in the order of the ids; they go into the summary.
      class_colors: red, green and blue of the classes in masks that hold colours; VOC's by default.
      ignore_label: id of pixels that do not count.
      num_shards: files.
      num_workers: processes that read and check; the files do not depend on it.
      mask_dir: folder of the masks, in the root or absolute.

    Returns:
      The summary, as it is written.

    Raises:
      ValueError: a list, picture or mask is missing or wrong; names the file and the value.
    """
    check_classes(class_names, ignore_label)
    rows = find_files(voc_root, split, mask_dir)
    rules = pictures.LabelRules(len(class_names), ignore_label, tuple(class_colors))
    counts = np.zeros(256, np.int64)
    reencoded: collections.Counter[str] = collections.Counter()

    def serialized() -> Iterator[bytes]:
        read = functools.partial(pictures.read_labelled_image, rules=rules)
        labelled_images = parallel.map_in_processes(read, rows, min(num_workers, len(rows)))
        for row, labelled in zip(rows, labelled_images, strict=True):
            counts[:] += labelled.counts
            reencoded.update([labelled.image.reencoded] if labelled.image.reencoded else [])
            yield records.encode_semantic(_example(row, labelled))

    written = shards.write(serialized(), len(rows), output, split, num_shards)
    summary = {
        "kind": "semantic",
        "split": split,
        "num_examples": len(rows),
        "num_classes": len(class_names),
        "class_names": list(class_names),
        "ignore_label": ignore_label,
        "pixels_per_class": dict(zip(class_names, counts.tolist(), strict=False)),
        "ignored_share": float(counts[ignore_label] / counts.sum()),
        "reencoded": dict(reencoded),
        "shards": list(written),
        "examples_per_shard": list(written.values()),
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


def check_classes(class_names: Sequence[str], ignore_label: int) -> None:
    """Raises ValueError for a name that stands twice, and an ignore label that is also a class."""
    repeated = [name for name, count in collections.Counter(class_names).items() if count > 1]
    if repeated:
        raise ValueError(f"the class names have `{repeated[0]}` twice")
    if ignore_label < len(class_names):
        raise ValueError(f"ignore_label {ignore_label} is also the id of class `{class_names[ignore_label]}`; use 255")


def _read_list(root: str, split: str) -> list[str]:
    folder = os.path.join(root, "ImageSets", "Segmentation")
    path = os.path.join(folder, f"{split}.txt")
    if not os.path.isfile(path):
        there = sorted(name[:-4] for name in os.listdir(folder) if name.endswith(".txt")) if os.path.isdir(folder) else []
        known = f"lists there: {', '.join(there)}" if there else f"{folder} is no folder with lists; is --voc_root right?"
        raise ValueError(f"there is no list {path} ({known})")
    with open(path, encoding="utf-8-sig") as file:
        ids = [line.strip() for line in file if line.strip()]
    if not ids:
        raise ValueError(f"{path} is empty")
    repeated = [name for name, count in collections.Counter(ids).items() if count > 1]
    if repeated:
        raise ValueError(f"{path} lists {repeated[0]} twice ({len(repeated)} pictures are repeated)")
    return ids


def find_files(voc_root: str, split: str, mask_dir: str = "SegmentationClass") -> list[pictures.Files]:
    """Returns the files of every picture of a list; all are looked for before any is read.

    Args:
      voc_root: the folder with the pictures, the masks and ImageSets/Segmentation.
      split: name of the list.
      mask_dir: folder of the masks, in the root or absolute.

    Raises:
      ValueError: the list, a picture or a mask is missing.
    """
    ids = _read_list(voc_root, split)
    image_folder, mask_folder = os.path.join(voc_root, "JPEGImages"), os.path.join(voc_root, mask_dir)
    for folder in (image_folder, mask_folder):
        if not os.path.isdir(folder):
            raise ValueError(f"there is no folder {folder}")
    images = [pictures.find_image(image_folder, name) for name in ids]
    masks = [os.path.join(mask_folder, f"{name}.png") for name in ids]
    missing = [name for name, path in zip(ids, images, strict=True) if path is None]
    if missing:
        endings = ", ".join(ENDINGS)
        raise ValueError(f"there is no picture {os.path.join(image_folder, missing[0])} ({endings}); {len(missing)} are missing")
    missing = [path for path in masks if not os.path.isfile(path)]
    if missing:
        raise ValueError(f"there is no mask {missing[0]}; {len(missing)} of {len(ids)} are missing")
    found = zip(ids, images, masks, strict=True)
    return [pictures.Files(name, image, mask) for name, image, mask in found if image]


def _example(row: pictures.Files, labelled: pictures.LabelledImage) -> records.SemanticExample:
    return records.SemanticExample(
        image=labelled.image.data,
        image_format=labelled.image.format,
        height=labelled.image.height,
        width=labelled.image.width,
        source_id=row.name,
        filename=os.path.basename(row.image),
        labels=labelled.labels,
    )
