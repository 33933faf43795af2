"""A data set of any format into records: the checks, records and summaries are those of the converters."""

import dataclasses
import functools
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tpuseg.convert import coco, image_sample, objects, pixel_tally, tally, voc
from tpuseg.convert.mask_values import LabelRules
from tpuseg.convert.objects import Finding
from tpuseg.data import duplicates
from tpuseg.data.duplicates import Twin
from tpuseg.formats import labels
from tpuseg.formats.dataset import INSTANCES, SEMANTIC, Dataset, LabelledFile, LabelledObjects
from tpuseg.utils import parallel


@dataclasses.dataclass(frozen=True)
class Options:
    """How records are written.

    Attributes:
      num_shards: number of shards of each split.
      num_workers: number of processes that read and check images; the records do not depend on it.
      pixel_range: values that become black and white, for images with more than 8 bits.
      num_channels: required number of channels of every image, see `image_channels`.
    """

    num_shards: int = 8
    num_workers: int = 1
    pixel_range: tuple[float, ...] = ()
    num_channels: int = 3


@dataclasses.dataclass(frozen=True)
class ImageContents:
    """What the record of one image holds.

    Attributes:
      name: of the image.
      split: `train`, `val` or `test`.
      size: height and width in pixels.
      boxes: [N, 4] float32 yxyx boxes of the objects in pixels of the image, without ignored regions.
      classes: [N] int32 class of each object.
      pixels: [256] int64 number of pixels of each value of the mask; empty for objects.
      digest: digest of the image's size and pixels, equal for duplicates.
      twins: objects with the mask and category of an earlier one.
    """

    name: str
    split: str
    size: tuple[int, int]
    boxes: np.ndarray
    classes: np.ndarray
    pixels: np.ndarray
    digest: bytes = b""
    twins: tuple[Twin, ...] = ()


@dataclasses.dataclass(frozen=True)
class Written:
    """Records that were written.

    Attributes:
      summaries: of each split, as the converters write them.
      images: contents of the images, in the order of the records.
      findings: everything odd about the data set, its images and labels.
      num_bytes: size of the records of each split.
    """

    summaries: dict[str, dict[str, Any]]
    images: list[ImageContents]
    findings: list[Finding]
    num_bytes: dict[str, int]


def write(dataset: Dataset, output: str, options: Options) -> Written:
    """Writes the records of all splits, and their summaries.

    Args:
      dataset: with a split for every image.
      output: folder of the records.
      options: how to write them.

    Raises:
      ValueError: a split has nothing that can be used for training, or a semantic data set a file that cannot be read.
    """
    written = Written({}, [], list(dataset.findings), {})
    write_split = _write_objects if dataset.kind == INSTANCES else _write_pixels
    if dataset.kind == SEMANTIC:
        voc.check_classes(dataset.class_names, labels.IGNORE_LABEL)
    for split in dataset.splits:
        images = tuple(image for image in dataset.images if image.split == split)
        summary = write_split(_Split(split, images, dataset, output, options), written)
        written.summaries[split] = summary
        written.num_bytes[split] = sum(os.path.getsize(os.path.join(output, name)) for name in summary["shards"])
    return written


def describe(summary: dict[str, Any]) -> str:
    """Formats the summary of a split for people."""
    return coco.describe(summary) if summary["kind"] == INSTANCES else voc.describe(summary)


@dataclasses.dataclass(frozen=True)
class _Split:
    """One split of a data set, and how its records are written.

    Attributes:
      name: `train`, `val` or `test`.
      images: the images of the split.
      dataset: the data set that the images belong to.
      output: folder of the records.
      options: how to write them.
    """

    name: str
    images: tuple[LabelledFile, ...]
    dataset: Dataset
    output: str
    options: Options

    def sample(self) -> dict[str, str]:
        """Returns the entry of the summary that identifies the images."""
        return {image_sample.KEY: image_sample.sample_of([(image.name, image.path) for image in self.images])}

    def convert_images(self, convert: Callable[[LabelledFile], Any]) -> Iterator[Any]:
        """Yields the result of `convert` for each image, in order, computed by worker processes."""
        return parallel.map_in_processes(convert, self.images, min(self.options.num_workers, len(self.images)))


def _write_objects(split: _Split, written: Written) -> dict[str, Any]:
    """Writes the records of a split with objects, adds to `written`, and returns the summary."""
    images, options, dataset = split.images, split.options, split.dataset
    annotated = [image.labels.annotations if isinstance(image.labels, LabelledObjects) else None for image in images]
    counts = [len(annotations) for annotations in annotated if annotations is not None]
    num_annotations = sum(counts) if len(counts) == len(images) else None
    summary = tally.Tally(
        list(dataset.categories),
        [],
        dataset.source,
        len(images),
        num_annotations,
        options.pixel_range,
        options.num_channels,
    )
    converter = objects.Options("apply", options.pixel_range, options.num_channels, with_digest=True)
    convert = functools.partial(labels.convert_objects, options=converter)

    def convert_images() -> Iterator[objects.Converted]:
        for image, one in zip(images, split.convert_images(convert), strict=True):
            written.findings.extend(one.findings)
            if one.example is not None:
                written.images.append(_contents_of_objects(image, one))
            yield one

    return tally.write(convert_images(), len(images), summary, split.output, split.name, options.num_shards, split.sample())


def _contents_of_objects(image: LabelledFile, converted: objects.Converted) -> ImageContents:
    example = converted.example
    assert example is not None
    found = [instance for instance in example.instances if not instance.is_crowd]
    boxes = np.array([instance.box for instance in found], np.float32).reshape(-1, 4)
    classes = np.array([instance.class_index for instance in found], np.int32)
    size, no_pixels = (example.height, example.width), np.zeros(0, np.int64)
    keys = ((instance.class_index, instance.runs["counts"], instance.is_crowd) for instance in example.instances)
    return ImageContents(
        image.name, image.split, size, boxes, classes, no_pixels, converted.digest, tuple(duplicates.find_twins(keys))
    )


def _write_pixels(split: _Split, written: Written) -> dict[str, Any]:
    """Writes the records of a split with a class for every pixel, adds to `written`, and returns the summary."""
    images, options, dataset = split.images, split.options, split.dataset
    names = dataset.class_names
    rules = LabelRules(len(names), labels.IGNORE_LABEL)
    summary = pixel_tally.PixelTally(names, rules, options.pixel_range, options.num_channels)
    convert = functools.partial(labels.convert_pixels, pixel_range=options.pixel_range, num_channels=options.num_channels)

    def convert_images() -> Iterator[pixel_tally.Named]:
        for image, one in zip(images, split.convert_images(convert), strict=True):
            written.findings.extend(one.findings)
            size, pixels = (one.labelled.image.height, one.labelled.image.width), one.labelled.counts
            no_objects = np.zeros((0, 4), np.float32), np.zeros(0, np.int32)
            written.images.append(ImageContents(image.name, split.name, size, *no_objects, pixels, one.labelled.image.digest))
            yield pixel_tally.Named(image.source_id, image.name, one.labelled)

    return pixel_tally.write(
        convert_images(),
        len(images),
        summary,
        split.output,
        split.name,
        options.num_shards,
        dataset.source,
        split.sample(),
    )
