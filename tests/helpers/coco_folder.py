"""Small data sets in COCO's format: images of 12 x 8 pixels and an annotation file with whatever a test wants in it."""

import json
import pathlib

import numpy as np
import PIL.Image

from tpuseg.convert import coco
from tpuseg.data import instance_records, records

WIDTH, HEIGHT = 12, 8
# Corners of a rectangle, rows 1 to 6 and columns 2 to 7.
POLYGON = [2, 1, 8, 1, 8, 7, 2, 7]
MASK = np.zeros((HEIGHT, WIDTH), np.uint8)
MASK[1:7, 2:8] = 1
CATEGORIES = [{"id": 3, "name": "car"}, {"id": 17, "name": "cat"}]


def image(number=1, name="a.png", **more):
    """Returns an entry of `images`."""
    return {"id": number, "file_name": name, "width": WIDTH, "height": HEIGHT, **more}


def annotation(number=1, **more):
    """Returns an entry of `annotations`; `...` leaves a key out."""
    row = {"id": number, "image_id": 1, "category_id": 17, "bbox": [2, 1, 6, 6], "area": 36.0, "iscrowd": 0}
    row = {**row, "segmentation": [POLYGON], **more}
    return {key: value for key, value in row.items() if value is not ...}


def write_image(path: pathlib.Path, size=(WIDTH, HEIGHT), seed=0):
    """Writes an image of random pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3)).astype(np.uint8)
    PIL.Image.fromarray(pixels).save(path)


def write(folder: pathlib.Path, annotations, images=None, categories=CATEGORIES, files=("a.png",), name="train.json"):
    """Writes `images/` and the annotation file; returns their paths."""
    for seed, file in enumerate(files):
        write_image(folder / "images" / file, seed=seed)
    if images is None:
        images = [image(number, file) for number, file in enumerate(files, start=1)]
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return str(folder / "images"), str(path)


def convert(folder: pathlib.Path, annotations, *, options=None, **content):
    """Writes a data set and converts it; returns the summary, and the examples as they are read from the records."""
    images, path = write(folder, annotations, **content)
    return convert_file(folder, images, path, **(options or {}))


def convert_file(folder: pathlib.Path, images: str, path: str, **options):
    """Converts an annotation file; returns the summary and the examples."""
    output = folder / "records"
    summary = coco.convert_coco(images, path, str(output), num_shards=1, **options)
    return summary, [
        instance_records.read_instances(record) for name in summary["shards"] for record in records.read_raw(str(output / name))
    ]


def kinds(summary):
    """Returns the number of findings of each kind."""
    return {kind: finding["count"] for kind, finding in summary["findings"].items()}
