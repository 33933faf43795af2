"""What a data set holds: sizes of images and objects, numbers of objects, pixels of the classes."""

import collections
import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tpuseg.convert.objects import REPAIRS, Finding
from tpuseg.formats.dataset import INSTANCES, TRAIN
from tpuseg.planning.conversion import ImageContents

# Percentiles that are written of everything that has a distribution.
_PERCENTILES = (0, 5, 10, 25, 50, 75, 90, 95, 100)


@dataclasses.dataclass(frozen=True)
class Fingerprint:
    """What a data set holds.

    Attributes:
      kind: `instances` or `semantic`.
      class_names: of the records.
      images: contents of the images of all splits.
      num_bytes: size of the records of each split.
      num_channels: of the images.
      most_crowds: largest number of ignored regions in an image.
    """

    kind: str
    class_names: tuple[str, ...]
    images: tuple[ImageContents, ...]
    num_bytes: dict[str, int]
    num_channels: int = 3
    most_crowds: int = 0

    def num_images(self, split: str = TRAIN) -> int:
        """Returns the number of images of a split."""
        return sum(image.split == split for image in self.images)

    @property
    def splits(self) -> list[str]:
        """The splits, in the order of the records."""
        return list(dict.fromkeys(image.split for image in self.images))

    @property
    def image_sizes(self) -> np.ndarray:
        """[N, 2] int64 height and width of the images in pixels."""
        return np.array([image.size for image in self.images], np.int64).reshape(-1, 2)

    @property
    def boxes(self) -> np.ndarray:
        """[M, 4] float32 yxyx boxes of all objects in pixels of their images."""
        return np.concatenate([np.zeros((0, 4), np.float32), *(image.boxes for image in self.images)])

    @property
    def image_sizes_of_boxes(self) -> np.ndarray:
        """[M, 2] int64 height and width of the image of each box."""
        return np.repeat(self.image_sizes, [len(image.boxes) for image in self.images], axis=0)

    @property
    def most_instances(self) -> int:
        """Largest number of objects in an image."""
        return max((len(image.boxes) for image in self.images), default=0)

    def objects_per_class(self, split: str) -> np.ndarray:
        """Returns the number of objects of each class in a split, [classes] int64."""
        classes = [image.classes for image in self.images if image.split == split]
        return np.bincount(np.concatenate([np.zeros(0, np.int32), *classes]), minlength=len(self.class_names))

    def pixels_per_class(self, split: str = TRAIN) -> np.ndarray:
        """Returns the number of pixels of each value of the masks of a split, [256] int64."""
        return sum((image.pixels for image in self.images if image.split == split), np.zeros(256, np.int64))


def object_sizes(boxes: np.ndarray) -> np.ndarray:
    """Returns the square roots of the areas of boxes, [N] in their unit."""
    return np.sqrt(np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1))


def as_json(
    fingerprint: Fingerprint, arguments: dict[str, Any], findings: Iterable[Finding], notes: Sequence[str]
) -> dict[str, Any]:
    """Returns what is written as `fingerprint.json`.

    Args:
      fingerprint: of the data set.
      arguments: of the program, by which a second run recognises its result.
      findings: everything odd.
      notes: sentences about how the data set was understood.
    """
    sizes = collections.Counter(map(tuple, fingerprint.image_sizes.tolist()))
    content: dict[str, Any] = {
        "arguments": arguments,
        "kind": fingerprint.kind,
        "class_names": list(fingerprint.class_names),
        "num_channels": fingerprint.num_channels,
        "num_images": {split: fingerprint.num_images(split) for split in fingerprint.splits},
        "record_bytes": fingerprint.num_bytes,
        "image_sizes": [[height, width, count] for (height, width), count in sizes.most_common()],
        **(_objects(fingerprint) if fingerprint.kind == INSTANCES else _pixels(fingerprint)),
        "notes": list(notes),
        "findings": {kind: _as_row(kind, places) for kind, places in by_kind(findings).items()},
    }
    return content


def by_kind(findings: Iterable[Finding]) -> dict[str, list[str]]:
    """Returns where each kind of finding was found, in the order of `objects.REPAIRS`."""
    found = collections.defaultdict(list)
    for finding in findings:
        found[finding.kind].append(finding.where)
    return {kind: found[kind] for kind in REPAIRS if kind in found}


def _as_row(kind: str, places: Sequence[str]) -> dict[str, Any]:
    what, done = REPAIRS[kind]
    return {"what": what, "done": done, "count": len(places), "where": list(places)}


def _objects(fingerprint: Fingerprint) -> dict[str, Any]:
    boxes = fingerprint.boxes
    heights, widths = (boxes[:, 2:] - boxes[:, :2]).T
    per_image = collections.Counter(len(image.boxes) for image in fingerprint.images)
    counts = {split: fingerprint.objects_per_class(split).tolist() for split in fingerprint.splits}
    return {
        "instances_per_image": [[count, per_image[count]] for count in sorted(per_image)],
        "objects_per_class": {split: dict(zip(fingerprint.class_names, row, strict=True)) for split, row in counts.items()},
        "object_size": _percentiles(object_sizes(boxes)),
        "object_aspect_ratio": _percentiles(heights / np.maximum(widths, 1e-6)),
    }


def _pixels(fingerprint: Fingerprint) -> dict[str, Any]:
    counts = {split: fingerprint.pixels_per_class(split).tolist() for split in fingerprint.splits}
    return {
        "pixels_per_class": {split: dict(zip(fingerprint.class_names, row, strict=False)) for split, row in counts.items()},
        "ignored_pixels": {split: row[255] for split, row in counts.items()},
    }


def _percentiles(values: np.ndarray) -> dict[str, float]:
    if not len(values):
        return {}
    found = np.percentile(values, _PERCENTILES)
    return {f"p{percent}": round(float(value), 3) for percent, value in zip(_PERCENTILES, found, strict=True)}
