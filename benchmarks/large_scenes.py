"""Writes large images of small objects: tiled TIFFs, annotations in COCO's format, and masks with a class for every pixel.

python benchmarks/large_scenes.py --output=/tmp/scenes --num_images=2        # 8192x8192 pixels, 1,500 objects of 12 to 60 pixels

No object touches the lines at multiples of `--line` pixels, so windows of this size cut no object. Half of the objects are on
borders of the windows of `--line` pixels with an overlap of 0.2, as far as they do not touch these lines.
"""

import colorsys
import json
import os

import numpy as np
import PIL.Image
import PIL.ImageDraw
import tifffile
from absl import app, flags

from tpuseg.ops import windows

CLASSES = ("disk", "square", "triangle", "star")
_DIAMETERS = (12.0, 60.0)
# Free pixels between two objects, and between an object and a line.
_GAP = 3.0


def place(random: np.random.Generator, side: int, number: int, line: int) -> np.ndarray:
    """Returns objects that touch neither each other nor the lines, [number, 3] as x, y, radius."""
    spans = windows.spans(side, windows.Tiling(line, windows.OVERLAP))
    borders = np.array([edge for span in spans for edge in span if 0 < edge < side] or [side / 2], np.float64)
    found = np.zeros((number, 3))
    count = 0
    for _ in range(number * 100):
        if count == number:
            return found
        radius = random.uniform(*_DIAMETERS) / 2
        centre = random.uniform(radius + _GAP, side - radius - _GAP, 2)
        if count % 2:
            centre[random.integers(2)] = random.choice(borders) + random.uniform(-radius, radius)
        crosses = (np.abs(centre - np.round(centre / line) * line) < radius + _GAP).any()
        outside = (centre < radius + _GAP).any() or (centre > side - radius - _GAP).any()
        near = np.hypot(*(found[:count, :2] - centre).T) < found[:count, 2] + radius + _GAP
        if not crosses and not outside and not near.any():
            found[count] = (*centre, radius)
            count += 1
    raise ValueError(f"{number} objects do not fit into {side}x{side} pixels; choose fewer")


def outline(random: np.random.Generator, label: int, radius: float) -> np.ndarray:
    """Returns the corners of an object around (0, 0), [N, 2] as x, y."""
    corners = (32, 4, 3, 10)[label]
    angles = random.uniform(0, 2 * np.pi) + np.arange(corners) * 2 * np.pi / corners
    radii = np.full(corners, radius)
    if CLASSES[label] == "star":
        radii[1::2] *= 0.5
    return np.stack([np.cos(angles), np.sin(angles)], 1) * radii[:, np.newaxis]


def background(random: np.random.Generator, side: int) -> np.ndarray:
    """Returns an uneven grey background with grain, [side, side, 3] uint8."""
    coarse = PIL.Image.fromarray(random.integers(70, 150, (side // 64 + 2, side // 64 + 2, 3), dtype=np.uint8))
    smooth = np.array(coarse.resize((side, side), PIL.Image.Resampling.BICUBIC))
    # The grain repeats, because drawing a random number for each value takes minutes.
    grain = random.integers(0, 24, (512, 512, 1), dtype=np.uint8)
    for top in range(0, side, 512):
        for left in range(0, side, 512):
            part = smooth[top : top + 512, left : left + 512]
            part += grain[: part.shape[0], : part.shape[1]]
    return smooth


def draw(random: np.random.Generator, pixels: np.ndarray, labels: np.ndarray, spot: np.ndarray) -> tuple[int, list[float]]:
    """Draws an object into the image and the class map; returns its class and its polygon."""
    x, y, radius = spot
    label = int(random.integers(len(CLASSES)))
    corners = outline(random, label, radius)
    top, left, side = int(y - radius) - 1, int(x - radius) - 1, int(2 * radius) + 4
    patch = PIL.Image.new("1", (side, side))
    PIL.ImageDraw.Draw(patch).polygon([tuple(corner + (x - left - 0.5, y - top - 0.5)) for corner in corners], fill=1)
    inside = np.asarray(patch)
    hue = (label / len(CLASSES) + random.normal(0, 0.04)) % 1
    color = 255 * np.array(colorsys.hsv_to_rgb(hue, random.uniform(0.3, 0.7), random.uniform(0.6, 0.95)))
    place = np.s_[top : top + side, left : left + side]
    values = color + random.normal(0, 10, (side, side, 1))
    pixels[place][inside] = np.clip(values, 0, 255).astype(np.uint8)[inside]
    labels[place][inside] = label + 1
    return label, np.round(corners + (x, y), 2).ravel().tolist()


def write(folder: str, random: np.random.Generator, number: int, side: int, num_objects: int, line: int) -> tuple[dict, list]:
    """Writes one image and its mask; returns its entries of the annotation file."""
    pixels, labels = background(random, side), np.zeros((side, side), np.uint8)
    rows = []
    for spot in place(random, side, num_objects, line):
        label, polygon = draw(random, pixels, labels, spot)
        points = np.reshape(polygon, (-1, 2))
        low, size = points.min(0), np.ptp(points, 0)
        box = [round(float(value), 2) for value in (*low, *size)]
        x, y = points.T
        area = abs(float(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1)))) / 2
        row = {"image_id": number, "category_id": label + 1, "segmentation": [polygon], "bbox": box, "iscrowd": 0}
        rows.append({**row, "area": round(area, 2)})
    # The name has no running number, which would be the frame of a video.
    name = f"scene_{'abcdefghijklmnopqrstuvwxyz'[number - 1]}"
    tifffile.imwrite(os.path.join(folder, "images", f"{name}.tif"), pixels, tile=(512, 512), photometric="rgb")
    PIL.Image.fromarray(labels).save(os.path.join(folder, "masks", f"{name}.png"))
    return {"id": number, "file_name": f"{name}.tif", "height": side, "width": side}, rows


def main(argv: list[str]) -> None:
    """Writes the folder."""
    del argv
    for name in ("images", "masks"):
        os.makedirs(os.path.join(flags.FLAGS.output, name))
    images, annotations = [], []
    for number in range(1, flags.FLAGS.num_images + 1):
        random = np.random.default_rng([flags.FLAGS.seed, number])
        image, rows = write(flags.FLAGS.output, random, number, flags.FLAGS.side, flags.FLAGS.num_objects, flags.FLAGS.line)
        images.append(image)
        annotations += [{"id": len(annotations) + place, **row} for place, row in enumerate(rows, 1)]
    categories = [{"id": number, "name": name} for number, name in enumerate(CLASSES, 1)]
    with open(os.path.join(flags.FLAGS.output, "annotations.json"), "w") as file:
        json.dump({"images": images, "annotations": annotations, "categories": categories}, file)
    with open(os.path.join(flags.FLAGS.output, "class_names.txt"), "w") as file:
        file.write("\n".join(("background", *CLASSES)) + "\n")
    print(f"{len(images)} images with {len(annotations)} objects in {flags.FLAGS.output}")


def _define_flags() -> None:
    flags.DEFINE_string("output", None, "New folder.")
    flags.DEFINE_integer("num_images", 2, "Number of images.", lower_bound=1)
    flags.DEFINE_integer("side", 8192, "Height and width of the images.", lower_bound=128)
    flags.DEFINE_integer("num_objects", 1500, "Number of objects in each image.", lower_bound=1)
    flags.DEFINE_integer("line", 1024, "Distance of the lines that no object touches.", lower_bound=64)
    flags.DEFINE_integer("seed", 0, "Seed of the images.")


if __name__ == "__main__":
    _define_flags()
    flags.mark_flag_as_required("output")
    app.run(main)
