"""Generating images for benchmarks, with smooth areas, edges and noise like photographs, and with regions or objects."""

import io
import itertools
import os
from collections.abc import Iterable
from typing import Any

import numpy as np
import PIL.Image

NUM_REGIONS = 21
_SHARDS = 4


def noise_photo(size: tuple[int, int], random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Generates an image, [H, W, 3] uint8, and the labels of its regions, [H, W] uint8.

    Args:
      size: (height, width) in pixels.
      random: NumPy random generator.
    """
    height, width = size

    def smooth(cells: int, channels: int) -> np.ndarray:
        coarse = random.normal(size=(cells, cells, channels)).astype(np.float32)
        bicubic = PIL.Image.Resampling.BICUBIC
        planes = [PIL.Image.fromarray(coarse[..., c]).resize((width, height), bicubic) for c in range(channels)]
        return np.stack([np.asarray(plane) for plane in planes], -1)

    regions = smooth(8, NUM_REGIONS).argmax(-1)
    colors = random.uniform(0, 255, (NUM_REGIONS, 3))
    pixels = colors[regions] + 25 * smooth(12, 3) + 15 * smooth(max(height, width) // 8, 3)
    grain = random.normal(size=(height, width, 1)) * 4
    return np.clip(pixels + grain, 0, 255).astype(np.uint8), regions.astype(np.uint8)


def write_regions(folder: str, size: tuple[int, int], number: int) -> str:
    """Writes records with a class for every pixel, and returns their pattern.

    Args:
      folder: folder of the records.
      size: (height, width) of the images in pixels.
      number: number of images.
    """
    from tpuseg.data import semantic_records
    from tpuseg.data.examples import SemanticExample

    def examples() -> Iterable[bytes]:
        random = np.random.default_rng(0)
        for index in range(number):
            image, labels = noise_photo(size, random)
            jpeg, png = _encoded(image, "jpeg", quality=90), _encoded(labels, "png")
            yield semantic_records.encode_semantic(SemanticExample(jpeg, "jpeg", *size, f"{index}", f"{index}.jpg", png))

    return _write(examples(), folder, f"regions{size[1]}x{size[0]}")


def write_objects(folder: str, size: tuple[int, int], number: int, num_objects: int, num_classes: int) -> str:
    """Writes records of images with objects, and returns their pattern.

    Args:
      folder: folder of the records.
      size: (height, width) of the images in pixels.
      number: number of images.
      num_objects: number of objects per image, whose sizes are from 16 pixels to half the image.
      num_classes: number of classes of the objects.
    """
    from tpuseg.data import instance_records
    from tpuseg.data.examples import InstanceExample

    def examples() -> Iterable[bytes]:
        random = np.random.default_rng(0)
        for index in range(number):
            image, _ = noise_photo(size, random)
            instances = [_blob(size, random, num_classes) for _ in range(num_objects)]
            jpeg = _encoded(image, "jpeg", quality=90)
            yield instance_records.encode_instances(InstanceExample(jpeg, "jpeg", *size, f"{index}", f"{index}.jpg", instances))

    return _write(examples(), folder, f"objects{size[1]}x{size[0]}")


def blob_corners(size: tuple[int, int], random: np.random.Generator) -> np.ndarray:
    """Returns the corners of a blob of 16 pixels to half the image, [24, 2] as x, y."""
    sides = np.exp(random.uniform(np.log(16), np.log(min(size) / 2), 2))
    centre = sides / 2 + random.uniform(size=2) * (np.array(size) - sides)
    angles = np.arange(24) * np.pi / 12
    radii = 0.5 * (0.8 + 0.2 * np.sin(angles * random.integers(2, 6) + random.uniform(0, 6)))
    y, x = centre[:, None] + sides[:, None] * radii * np.stack([np.sin(angles), np.cos(angles)])
    return np.stack([x, y], 1)


def _blob(size: tuple[int, int], random: np.random.Generator, num_classes: int) -> Any:
    from tpuseg.convert import objects
    from tpuseg.data.examples import Category

    corners = blob_corners(size, random)
    x, y = corners.T
    polygon = corners.ravel().tolist()
    box = (float(x.min()), float(y.min()), float(np.ptp(x)), float(np.ptp(y)))
    index = int(random.integers(num_classes))
    annotation = objects.Annotation("", Category(index + 1, f"class {index}"), index, False, box, None, [polygon])
    return objects.instance(annotation, size, [])


def _encoded(image: np.ndarray, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(image).save(file, kind, **options)
    return file.getvalue()


def _write(examples: Iterable[bytes], folder: str, name: str) -> str:
    import tensorflow as tf

    pattern = os.path.join(folder, f"{name}-{{}}.tfrecord")
    writers = [tf.io.TFRecordWriter(pattern.format(f"{shard:05d}-of-{_SHARDS:05d}")) for shard in range(_SHARDS)]
    for example, writer in zip(examples, itertools.cycle(writers)):  # noqa: B905 - the second one is endless.
        writer.write(example)
    for writer in writers:
        writer.close()
    return pattern.format("*")
