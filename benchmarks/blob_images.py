"""Writes a data set of many small touching blobs in COCO's format, like images of cells.

python benchmarks/blob_images.py --output=/tmp/blobs      # 60 images of 1000x1000 with 300 blobs each
"""

import json
import os

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFilter
from absl import app, flags

_OUTPUT = flags.DEFINE_string("output", None, "New folder.", required=True)
_NUM_IMAGES = flags.DEFINE_integer("num_images", 60, "Number of images.", lower_bound=2)
_NUM_BLOBS = flags.DEFINE_integer("num_blobs", 300, "Number of blobs in each image.", lower_bound=1)
_SIDE = flags.DEFINE_integer("side", 1000, "Height and width of the images.", lower_bound=64)
_RADII = (9.0, 18.0)
# Share of the blobs that touch an earlier one.
_TOUCHING = 0.7


def place_blobs(random: np.random.Generator, number: int, side: int) -> np.ndarray:
    """Returns centres and radii of blobs that do not overlap, [number, 3] as x, y, radius; most of them touch another one."""
    blobs = np.zeros((0, 3))
    for _ in range(number * 200):
        if len(blobs) == number:
            break
        radius = random.uniform(*_RADII)
        if len(blobs) and random.uniform() < _TOUCHING:
            x, y, other = blobs[random.integers(len(blobs))]
            angle = random.uniform(0, 2 * np.pi)
            centre = np.array([x, y]) + (radius + other) * np.array([np.cos(angle), np.sin(angle)])
        else:
            centre = random.uniform(0, side, 2)
        inside = (centre >= radius).all() and (centre <= side - 1 - radius).all()
        distances = np.hypot(*(blobs[:, :2] - centre).T)
        if inside and (distances >= blobs[:, 2] + radius - 1e-6).all():
            blobs = np.concatenate([blobs, [[*centre, radius]]])
    return blobs


def draw(random: np.random.Generator, blobs: np.ndarray, side: int) -> tuple[PIL.Image.Image, list[list[float]]]:
    """Returns an image of grainy blobs on an uneven background, and the polygon of each blob."""
    coarse = PIL.Image.fromarray(random.integers(60, 110, (12, 12, 3), dtype=np.uint8))
    image = coarse.resize((side, side), PIL.Image.Resampling.BICUBIC)
    canvas, polygons = PIL.ImageDraw.Draw(image), []
    for x, y, radius in blobs:
        angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        lengths = radius * (0.92 + 0.08 * np.sin(angles * random.integers(2, 5) + random.uniform(0, 6)))
        corners = np.stack([x + lengths * np.cos(angles), y + lengths * np.sin(angles)], 1)
        shade = random.integers(110, 170)
        canvas.polygon([tuple(corner) for corner in corners], fill=(shade, shade - 30, shade + 20), outline=(80, 60, 90))
        polygons.append([round(float(value), 2) for value in corners.ravel()])
    pixels = np.asarray(image.filter(PIL.ImageFilter.GaussianBlur(0.8)), np.float32) + random.normal(0, 8, (side, side, 1))
    return PIL.Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)), polygons


def main(argv: list[str]) -> None:
    """Writes the images and annotations.json."""
    del argv
    random = np.random.default_rng(0)
    os.makedirs(os.path.join(_OUTPUT.value, "images"))
    images, annotations = [], []
    for number in range(1, _NUM_IMAGES.value + 1):
        image, polygons = draw(random, place_blobs(random, _NUM_BLOBS.value, _SIDE.value), _SIDE.value)
        name = f"{random.integers(1 << 40):011x}.jpg"  # Without running numbers, which would be frames of a video.
        image.save(os.path.join(_OUTPUT.value, "images", name), quality=92)
        images.append({"id": number, "file_name": name, "height": _SIDE.value, "width": _SIDE.value})
        for polygon in polygons:
            low, high = np.min(np.reshape(polygon, (-1, 2)), 0), np.max(np.reshape(polygon, (-1, 2)), 0)
            box = [round(float(value), 2) for value in (*low, *(high - low))]
            row = {"image_id": number, "category_id": 1, "segmentation": [polygon], "bbox": box, "iscrowd": 0}
            row["area"] = round(box[2] * box[3] * 0.7, 2)
            annotations.append({"id": len(annotations) + 1, **row})
    with open(os.path.join(_OUTPUT.value, "annotations.json"), "w") as file:
        json.dump({"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "cell"}]}, file)
    print(f"{len(images)} images with {len(annotations)} blobs in {_OUTPUT.value}")


if __name__ == "__main__":
    app.run(main)
