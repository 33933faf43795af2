"""A generated data set of overlapping textured shapes, in the layouts of Pascal VOC and COCO.

It replaces a download: layout, converter, records, training and evaluation work as with real images. As for real objects, the
colour is correlated with the class but does not determine it, textures are random, and backgrounds are less saturated.
"""

import colorsys
import dataclasses
import fcntl
import functools
import glob
import json
import os
import shutil
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFilter
import tqdm

from tpuseg.utils import parallel
from tpuseg.visualization.drawing import color_map

CLASS_NAMES = ("background", "circle", "square", "triangle", "star", "ring")
# As in COCO, the ids have gaps, so that a reader that confuses ids and class indices fails.
CATEGORY_IDS = {"circle": 3, "square": 7, "triangle": 8, "star": 20, "ring": 41}
IGNORE_LABEL = 255
_SEEDS = {"train": 0, "val": 1}
_FOLDERS = ("JPEGImages", "SegmentationClass", "SegmentationObject", "ImageSets/Segmentation", "annotations")
_NUM_SHARDS = 4
# Radii as fractions of the image's shorter side.
_RADIUS = (0.18, 0.36)
# An object with fewer visible pixels is not annotated.
_FEWEST_PIXELS = 16
# Standard deviation of a class's hue, in turns of the colour circle; the means of the classes are 0.2 apart.
_HUE_DEVIATION = 0.05


@dataclasses.dataclass(frozen=True)
class ShapesConfig:
    """The configuration of the data set.

    Attributes:
      num_train: number of training images.
      num_val: number of validation images.
      width: width of the images in pixels.
      height: height of the images in pixels.
      max_objects: largest number of objects in an image; the smallest is 2.
      seed: seed of the images; image n does not depend on the numbers of images.
    """

    num_train: int = 1200
    num_val: int = 120
    width: int = 160
    height: int = 128
    max_objects: int = 6
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Shape:
    """One object: its class, its visible pixels, and its outline if it is completely visible."""

    category: str
    mask: np.ndarray
    polygon: list[float] | None


def _outline(category: str, centre: np.ndarray, radius: float, angle: float) -> np.ndarray:
    """Returns the corners of a shape, [N, 2] as x, y."""
    corners = {"circle": 48, "ring": 48, "square": 4, "triangle": 3, "star": 10}[category]
    angles = angle + np.arange(corners) * 2 * np.pi / corners
    radii = np.full(corners, radius)
    if category == "star":
        radii[1::2] *= 0.42
    return centre + np.stack([np.cos(angles), np.sin(angles)], 1) * radii[:, np.newaxis]


def _fill(outline: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    image = PIL.Image.new("1", (size[1], size[0]))
    PIL.ImageDraw.Draw(image).polygon([tuple(point) for point in outline], fill=1)
    return np.asarray(image)


def _colors(random: np.random.Generator, category: str | None) -> np.ndarray:
    """Returns the two colours of a texture, [2, 3] in 0..255; those of objects are more saturated than those of backgrounds."""
    if category is None:
        hues, saturation, values = random.uniform(0, 1, 2), random.uniform(0, 0.35), random.uniform(0.1, 0.9, 2)
    else:
        centre = (CLASS_NAMES.index(category) - 1) / (len(CLASS_NAMES) - 1)
        hues = np.repeat(random.normal(centre, _HUE_DEVIATION), 2)
        saturation, values = random.uniform(0.55, 1), np.array([random.uniform(0.75, 1), random.uniform(0.45, 0.75)])
    pairs = zip(hues, values, strict=True)
    return 255 * np.array([colorsys.hsv_to_rgb(float(hue) % 1, float(saturation), float(value)) for hue, value in pairs])


def _texture(random: np.random.Generator, size: tuple[int, int], category: str | None = None) -> np.ndarray:
    """Returns a texture of stripes, checks, blotches or a gradient between two colours, [H, W, 3] float32."""
    first, second = _colors(random, category).astype(np.float32)
    rows = np.arange(size[0], dtype=np.float32)[:, np.newaxis]
    columns = np.arange(size[1], dtype=np.float32)
    angle, period = random.uniform(0, np.pi), random.uniform(4, 14)
    sine, cosine = np.float32(np.sin(angle) / period), np.float32(np.cos(angle) / period)
    along = rows * sine + columns * cosine
    kind = random.integers(4)
    blend: np.ndarray
    if kind == 0:
        blend = np.floor(along) % 2
    elif kind == 1:
        blend = (np.floor(along) + np.floor(columns * sine - rows * cosine)) % 2
    elif kind == 2:
        coarse = random.integers(0, 256, (size[0] // 8 + 1, size[1] // 8 + 1), dtype=np.uint8)
        smooth = PIL.Image.fromarray(coarse).resize((size[1], size[0]), PIL.Image.Resampling.BICUBIC)
        blend = np.asarray(smooth, np.float32) / 255
    else:
        blend = (along - along.min()) / max(float(np.ptp(along)), 1e-6)
    return first + blend[..., np.newaxis] * (second - first)


def _draw_object(random: np.random.Generator, pixels: np.ndarray) -> tuple[str, np.ndarray, np.ndarray]:
    """Draws one object over the image [H, W, 3]; returns its class, its mask [H, W] and its outline."""
    size = pixels.shape[:2]
    category = str(random.choice(CLASS_NAMES[1:]))
    radius = random.uniform(*_RADIUS) * min(size)
    centre = random.uniform(0, 1, 2) * (size[1], size[0])
    outline = _outline(category, centre, radius, random.uniform(0, 2 * np.pi))
    # Only the window around the object is computed, which is much smaller than the image.
    left, top = np.maximum(np.floor(centre - radius).astype(int), 0)
    right, bottom = np.minimum(np.ceil(centre + radius).astype(int) + 2, (size[1], size[0]))
    window = (slice(top, bottom), slice(left, right))
    window_size = (int(bottom - top), int(right - left))
    inside = _fill(outline - (left, top), window_size)
    if category == "ring":
        inside = inside & ~_fill(centre + (outline - centre) * 0.55 - (left, top), window_size)
    pixels[window][inside] = _texture(random, window_size, category)[inside]
    mask = np.zeros(size, bool)
    mask[window] = inside
    return category, mask, outline


def draw(seed: int, config: ShapesConfig) -> tuple[np.ndarray, list[Shape]]:
    """Draws one image.

    Args:
      seed: seed of this image.
      config: size and number of objects.

    Returns:
      The image, [H, W, 3] uint8, and its visible objects in the order in which they were drawn.
    """
    random = np.random.default_rng(seed)
    size = (config.height, config.width)
    pixels = _texture(random, size)
    drawn = [_draw_object(random, pixels) for _ in range(random.integers(2, config.max_objects + 1))]
    pixels += random.standard_normal((*size, 1), np.float32) * np.float32(random.uniform(2, 10))
    image = PIL.Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    image = image.filter(PIL.ImageFilter.GaussianBlur(random.uniform(0, 0.7)))
    owner = np.full(size, -1)
    for number, (_, mask, _) in enumerate(drawn):
        owner[mask] = number
    shapes = []
    for number, (category, mask, outline) in enumerate(drawn):
        visible = owner == number
        if visible.sum() < _FEWEST_PIXELS:
            continue
        inside = (outline >= 0).all() and (outline <= (size[1] - 1, size[0] - 1)).all()
        is_complete = category != "ring" and inside and visible.sum() == mask.sum()
        polygon = [round(float(value), 2) for value in (outline + 0.5).ravel()] if is_complete else None
        shapes.append(Shape(category, visible, polygon))
    return np.asarray(image), shapes


def semantic_labels(shapes: list[Shape], size: tuple[int, int]) -> np.ndarray:
    """Returns the class ids with an ignored border of two pixels around every object, as in VOC, [H, W] uint8."""
    labels = np.zeros(size, np.uint8)
    for shape in shapes:
        labels[shape.mask] = CLASS_NAMES.index(shape.category)
    labels[_borders(shapes, size)] = IGNORE_LABEL
    return labels


def _borders(shapes: list[Shape], size: tuple[int, int]) -> np.ndarray:
    """Returns the pixels on both sides of borders between two objects, or an object and the background, [H, W] bool."""
    owner = np.zeros(size, np.int32)
    for number, shape in enumerate(shapes, start=1):
        owner[shape.mask] = number
    border = np.zeros(size, bool)
    for one, other in ((np.s_[:, 1:], np.s_[:, :-1]), (np.s_[1:], np.s_[:-1])):
        differs = owner[one] != owner[other]
        border[one] |= differs
        border[other] |= differs
    return border


def _annotation(shape: Shape) -> dict[str, Any]:
    rows, columns = np.flatnonzero(shape.mask.any(1)), np.flatnonzero(shape.mask.any(0))
    box = [int(columns[0]), int(rows[0]), int(columns[-1] - columns[0] + 1), int(rows[-1] - rows[0] + 1)]
    segmentation: Any = [shape.polygon] if shape.polygon else _run_lengths(shape.mask)
    return {
        "category_id": CATEGORY_IDS[shape.category],
        "bbox": box,
        "area": int(shape.mask.sum()),
        "iscrowd": 0,
        "segmentation": segmentation,
    }


def _run_lengths(mask: np.ndarray) -> dict[str, Any]:
    """Returns COCO's uncompressed run lengths: column by column, zeros first."""
    flat = mask.ravel(order="F").astype(np.int8)
    changes = np.flatnonzero(np.diff(flat)) + 1
    bounds = np.concatenate([[0], changes, [flat.size]])
    counts = np.diff(bounds).tolist()
    return {"size": list(mask.shape), "counts": [0, *counts] if flat[0] else counts}


def _link(path: str, second: str) -> None:
    try:
        os.link(path, second)
    except OSError:  # Not every file system supports hard links.
        shutil.copyfile(path, second)


def _write_image(number: int, root: str, split: str, config: ShapesConfig) -> tuple[str, list[dict[str, Any]]]:
    """Writes an image and its masks; returns its name and COCO annotations."""
    # Each image has its own seed, so it depends neither on the number of images nor on the worker.
    seed = int(np.random.SeedSequence([config.seed, _SEEDS[split], number]).generate_state(1)[0])
    image, shapes = draw(seed, config)
    name = f"{split}_{number:06d}"
    path = os.path.join(root, "JPEGImages", f"{name}.jpg")
    PIL.Image.fromarray(image).save(path, quality=92)
    _link(path, os.path.join(root, split, f"{name}.jpg"))
    labels = semantic_labels(shapes, (config.height, config.width))
    instances = np.zeros(image.shape[:2], np.uint8)
    for object_number, shape in enumerate(shapes, start=1):
        instances[shape.mask] = object_number
    instances[labels == IGNORE_LABEL] = IGNORE_LABEL
    for folder, ids in (("SegmentationClass", labels), ("SegmentationObject", instances)):
        mask = PIL.Image.fromarray(ids)
        mask.putpalette(color_map().tobytes())
        mask.save(os.path.join(root, folder, f"{name}.png"))
    return name, [_annotation(shape) for shape in shapes]


def make_shapes(output: str, config: ShapesConfig, num_workers: int = 1) -> None:
    """Writes the data set in VOC's layout and in COCO's format.

    Args:
      output: folder, which must not exist; it is created when the data set is complete.
      config: numbers, sizes and seed.
      num_workers: number of processes; the files do not depend on it.

    Raises:
      ValueError: the folder exists already.
    """
    if os.path.exists(output):
        raise ValueError(f"{output} exists already; remove it, or choose another folder")
    building = f"{output}.{os.getpid()}.tmp"
    for folder in (*_FOLDERS, *_SEEDS):
        os.makedirs(os.path.join(building, folder))
    try:
        for split, count in (("train", config.num_train), ("val", config.num_val)):
            write = functools.partial(_write_image, root=building, split=split, config=config)
            made = parallel.map_in_processes(write, range(count), num_workers)
            images = list(tqdm.tqdm(made, f"drawing {split}", count, unit="image", disable=None))
            _write_lists(building, split, config, images)
        with open(os.path.join(building, "class_names.txt"), "w") as file:  # For readers of the masks.
            file.writelines(f"{name}\n" for name in CLASS_NAMES)
        os.rename(building, output)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _write_lists(root: str, split: str, config: ShapesConfig, drawn: list[tuple[str, list[dict[str, Any]]]]) -> None:
    with open(os.path.join(root, "ImageSets", "Segmentation", f"{split}.txt"), "w") as file:
        file.writelines(f"{name}\n" for name, _ in drawn)
    images = [
        {"id": number, "file_name": f"{name}.jpg", "width": config.width, "height": config.height}
        for number, (name, _) in enumerate(drawn, start=1)
    ]
    objects = [(number, row) for number, (_, rows) in enumerate(drawn, start=1) for row in rows]
    annotations = [{"id": i, "image_id": number, **row} for i, (number, row) in enumerate(objects, start=1)]
    categories = [{"id": number, "name": name, "supercategory": "shape"} for name, number in CATEGORY_IDS.items()]
    with open(os.path.join(root, "annotations", f"instances_{split}.json"), "w") as file:
        json.dump({"images": images, "annotations": annotations, "categories": categories}, file)


def ensure_records(data_dir: str, kind: str) -> None:
    """Creates the data set in `{data_dir}/shapes`, and its records of a kind in the folder of that name, unless they exist.

    The remains of a killed generation are not used. Processes that start at the same time wait for each other. An existing data set
    of `make_shapes` is kept and only converted.

    Args:
      data_dir: a local folder.
      kind: `semantic` or `instances`.

    Raises:
      ValueError: the data directory is not a local folder, or contains something else with this name.
    """
    root = os.path.join(data_dir, "shapes")
    done = os.path.join(root, kind, "val.json")  # The last file that is written.
    if "://" in data_dir:
        raise ValueError(f"the generated shapes need a local --data_dir, not {data_dir}")
    if os.path.exists(done):
        return
    os.makedirs(data_dir, exist_ok=True)
    with open(os.path.join(data_dir, ".shapes.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(done):
            _make_records(root, kind)


def _make_records(root: str, kind: str) -> None:
    """Creates the data set if it is missing, and its records; called by one process at a time."""
    from tpuseg.convert import coco, voc  # These import TensorFlow, which the drawing processes do not need.

    for left_over in glob.glob(f"{glob.escape(root)}.*.tmp"):
        shutil.rmtree(left_over)
    # `make_shapes` renames its folder when it is complete, so an existing folder is complete.
    if not os.path.exists(root):
        config = ShapesConfig()
        print(f"making the generated data set of {config.num_train + config.num_val} images in {root} (once)", flush=True)
        # Without worker processes, which would run the main module of a user's script again.
        make_shapes(root, config)
    elif not os.path.isdir(os.path.join(root, "SegmentationClass")):
        raise ValueError(f"{root} exists and is not the generated data set; move it, or choose another --data_dir")
    for split in _SEEDS:
        output = os.path.join(root, kind)
        if kind == "instances":
            annotations = os.path.join(root, "annotations", f"instances_{split}.json")
            coco.convert_coco(os.path.join(root, split), annotations, output, num_shards=_NUM_SHARDS, overwrite=True)
        else:
            voc.convert_voc(root, split, output, class_names=CLASS_NAMES, num_shards=_NUM_SHARDS, overwrite=True)
