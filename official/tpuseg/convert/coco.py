"""Converting data sets in COCO format to instance records."""

import os
import re
from collections.abc import Iterable, Iterator
from typing import Any

from tpuseg.convert import coco_file, image_sample, inside, objects, tiling
from tpuseg.convert.objects import REPAIRS, Finding
from tpuseg.convert.tally import Tally, describe, write
from tpuseg.data.tile_rules import WHOLE_IMAGES, TileRules

__all__ = ["Tally", "convert_coco", "describe", "split_name", "write"]

# File names that programs use for the annotations of every split, each in its own folder.
_NAMES_OF_ALL_SPLITS = ("_annotations.coco", "instances_default", "result", "annotations", "coco", "labels")


def convert_coco(
    images: str,
    annotations: str,
    output: str,
    *,
    split: str = "",
    num_shards: int = 8,
    num_workers: int = 1,
    strict: bool = False,
    exif: str = "apply",
    pixel_range: tuple[float, ...] = (),
    num_channels: int = 3,
    crowds: str = "ignore",
    allow_outside: bool = False,
    overwrite: bool = False,
    tiles: TileRules = WHOLE_IMAGES,
) -> dict[str, Any]:
    """Converts an annotation file and its images.

    The labels in the records are the category ids of the file, as in the Model Garden's records, so that its readers and metrics
    work. The records also contain the rank of each category id, which this package uses for training (see `instance_records`).
    Images without objects become records too.

    Args:
      images: folder of the images, for the file names in the annotations.
      annotations: path of the JSON file.
      output: folder of the shards and of the summary, `{split}.json`; local or gs://.
      split: first part of the shards' names; by default derived from the annotation file, see `split_name`.
      num_shards: number of shards.
      num_workers: number of processes that read and check images; the records do not depend on it.
      strict: whether findings are errors instead of being repaired, counted and listed; see `objects.REPAIRS`.
      exif: which pixels of an image with an EXIF orientation were annotated if the annotated size fits both: `apply` for the
        upright image, `ignore` for the stored pixels.
      pixel_range: values that become black and white, for images with more than 8 bits.
      num_channels: required number of channels of every image, see `image_channels`.
      crowds: how annotations with iscrowd 1 are read: `ignore` as ignored regions, `instances` as objects.
      allow_outside: whether file names and symbolic links may lead out of the folder of the images.
      overwrite: whether records of a different data set with the same names are replaced.
      tiles: how images that are too large are cut into windows; by default every image is written as a whole.

    Returns:
      The summary that was written.

    Raises:
      ValueError: the file is not in COCO format, nothing in it can be used, there is a finding and `strict` is set, or the
        records would replace those of a different data set.
    """
    split = split or split_name(annotations)
    inside.require_split(split)
    options = coco_file.Options(crowds == "instances", allow_outside)
    contents = coco_file.read_annotations(annotations, images, options)
    if strict:
        _refuse(contents.findings, annotations)
    annotated = contents.images
    sample = image_sample.sample_of([(image.filename, image.path) for image in annotated])
    image_sample.refuse_other(output, split, "instances", sample, overwrite, "name these records with --split=, ")
    counts = (contents.num_images, contents.num_annotations)
    reader = tiling.AnnotatedReader(objects.Options(exif, pixel_range, num_channels))
    plans = tiling.plan(annotated, reader, tiles, num_workers)
    tally = Tally(contents.categories, contents.findings, annotations, *counts, pixel_range, num_channels, tiles, plans)

    def check_all() -> Iterator[objects.Converted]:
        for converted in tiling.convert_all(plans, reader, tiles, num_workers):
            if strict:
                _refuse(converted.findings, annotations)
            yield converted

    return write(check_all(), plans.num_records, tally, output, split, num_shards, {image_sample.KEY: sample})


def split_name(annotations: str) -> str:
    """Returns the name of the split of an annotation file.

    It is the name of the file without `instances_` (`instances_val2017.json`: `val2017`). For programs that use the same file name
    for every split, it is the name of the folder (`valid/_annotations.coco.json`: `valid`).

    Args:
      annotations: path of the file.
    """
    folder, name = os.path.split(os.path.abspath(annotations))
    stem = os.path.splitext(name)[0]
    if stem.lower() in _NAMES_OF_ALL_SPLITS:
        parts = [part for part in folder.split(os.sep) if part and part != "annotations"]
        derived = re.sub(r"[^\w.-]+", "_", parts[-1]).strip("._") if parts else ""
        return derived or stem
    return stem.removeprefix("instances_") or stem


def _refuse(findings: Iterable[Finding], source: str) -> None:
    """Raises ValueError for the first finding."""
    for finding in findings:
        what, done = REPAIRS[finding.kind]
        raise ValueError(f"{source}: {finding.where} ({what}); without --strict: {done}")
