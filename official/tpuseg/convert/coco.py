"""A data set in COCO's format, people's own ones too, into records."""

import functools
import os
import re
from collections.abc import Iterable, Iterator
from typing import Any

from tpuseg.convert import coco_file, earlier, inside, objects
from tpuseg.convert.objects import REPAIRS, Finding
from tpuseg.convert.tally import Tally, describe, write
from tpuseg.utils import parallel

__all__ = ["Tally", "convert_coco", "describe", "split_name", "write"]

# Names under which programs write the annotations of every split, each in a folder of its own.
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
) -> dict[str, Any]:
    """Converts an annotation file and its images.

    The records' labels are the category ids of the file, as in the Model Garden's own records, so that its readers and its AP
    come out right; beside them stands each category's place in the order of the ids, which this package trains on (see
    `instance_records`). Images without objects are records too.

    Args:
      images: folder of the images; file names in the annotations start there.
      annotations: the JSON file.
      output: folder of the shards and of `{split}.json`, the summary; local or gs://.
      split: first part of the files' names; by default that of the annotation file, see `split_name`.
      num_shards: files.
      num_workers: processes that read and check; the files do not depend on it.
      strict: everything odd is an error instead of being repaired, counted and listed; see `objects.REPAIRS`.
      exif: which pixels of an image with an EXIF orientation are annotated where its annotated size fits both: `apply`, the
        rotated ones, or `ignore`, the stored ones.
      pixel_range: of images of more than 8 bits, the values that become black and white.
      num_channels: that each image must have, see `image_channels`.
      crowds: what annotations with iscrowd 1 are: `ignore`, regions that are ignored, or `instances`, objects like all others.
      allow_outside: file names and symbolic links may lead out of the folder of the images.
      overwrite: records of a different data set with the same names are replaced.

    Returns:
      The summary, as it is written.

    Raises:
      ValueError: the file is not in COCO's format, nothing in it can be used, something is odd and `strict` is set, or the
        records would replace those of a different data set.
    """
    split = split or split_name(annotations)
    inside.require_split(split)
    options = coco_file.Options(crowds == "instances", allow_outside)
    contents = coco_file.read_annotations(annotations, images, options)
    if strict:
        _refuse(contents.findings, annotations)
    annotated = contents.images
    sample = earlier.sample_of([(image.filename, image.path) for image in annotated])
    earlier.refuse_other(output, split, "instances", sample, overwrite, "name these records with --split=, ")
    counts = (contents.num_images, contents.num_annotations)
    tally = Tally(contents.categories, contents.findings, annotations, *counts, pixel_range, num_channels)
    convert = functools.partial(objects.convert, options=objects.Options(exif, pixel_range, num_channels))

    def checked() -> Iterator[objects.Converted]:
        for converted in parallel.map_in_processes(convert, annotated, min(num_workers, len(annotated))):
            if strict:
                _refuse(converted.findings, annotations)
            yield converted

    return write(checked(), len(annotated), tally, output, split, num_shards, {earlier.KEY: sample})


def split_name(annotations: str) -> str:
    """Returns the name of the records of an annotation file.

    It is that of the file, without `instances_` (`instances_val2017.json`: `val2017`). Where a program writes files of the same
    name for every split, it is that of the folder (`valid/_annotations.coco.json`: `valid`).

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
