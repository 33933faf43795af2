"""Converting data sets in Pascal VOC's layout (JPEGImages, SegmentationClass, ImageSets/Segmentation) to semantic records."""

import collections
import functools
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tpuseg.convert import (
    channel_values,
    image_sample,
    label_masks,
    mask_values,
    objects,
    pixel_tally,
    tile_tally,
    tiling,
    voc_files,
    wide_images,
)
from tpuseg.convert.label_masks import WindowsTask
from tpuseg.convert.mask_values import LabelRules, ValueRules
from tpuseg.convert.voc_files import Layout
from tpuseg.data import class_counts
from tpuseg.data.examples import Origin, window_id
from tpuseg.data.tile_rules import WHOLE_IMAGES, TileRules
from tpuseg.utils import parallel
from tpuseg.utils.messages import format_count, plural

VOC_CLASSES = (
    "background aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person"
    " pottedplant sheep sofa train tvmonitor"
).split()
# Names of VOC's images since 2007, and of its folders.
_VOC_NAME, _VOC_FOLDER = re.compile(r"\d{4}_\d{6}"), re.compile(r"VOC20(0[5-9]|1[0-2])")
# If more than this fraction of the images has no class, the first line of the output says so.
_MUCH = 0.1


def convert_voc(
    voc_root: str,
    split: str,
    output: str,
    *,
    class_names: Sequence[str] = (),
    class_colors: Sequence[tuple[int, int, int]] = (),
    ignore_label: int = 255,
    num_shards: int = 8,
    num_workers: int = 1,
    layout: Layout = Layout(),  # noqa: B008 - cannot be changed.
    values: ValueRules = ValueRules(),  # noqa: B008
    palette: str = "auto",
    exif: str = "apply",
    pixel_range: tuple[float, ...] = (),
    overwrite: bool = False,
    num_channels: int = 3,
    tiles: TileRules = WHOLE_IMAGES,
) -> dict[str, Any]:
    """Converts one split of a VOC folder.

    Args:
      voc_root: the folder with the images, the masks and ImageSets/Segmentation.
      split: name of the list, `train` for ImageSets/Segmentation/train.txt.
      output: folder of the shards and of the summary, `{split}.json`; local or gs://.
      class_names: class names in the order of the ids, for the summary. By default VOC's 21 if it is VOC's folder, see
        `default_names`.
      class_colors: red, green and blue of the classes in masks with colours; VOC's by default.
      ignore_label: id of ignored pixels.
      num_shards: number of shards.
      num_workers: number of processes that read and check images; the records do not depend on it.
      layout: names of the files.
      values: rules that map mask values to class ids.
      palette: see `mask_values.LabelRules`.
      exif: see `images.read_image`; the annotated size is that of the mask.
      pixel_range: see `images.read_image`.
      overwrite: whether records of a different data set with the same names are replaced.
      num_channels: required number of channels of every image, see `image_channels`.
      tiles: how images that are too large are cut into windows, all of which are written; by default every image is written as a
        whole.

    Returns:
      The summary that was written.

    Raises:
      ValueError: a list, image or mask is missing or invalid, or the values of the masks cannot be class ids (the message names
        the file and the value), or the records would replace those of a different data set.
    """
    rows = voc_files.find(voc_root, split, layout)
    class_names = class_names or default_names(voc_root, [row.name for row in rows])
    rules = check_rules(class_names, class_colors, ignore_label, values, palette)
    sample = image_sample.sample_of_files(rows)
    image_sample.refuse_other(output, split, "semantic", sample, overwrite)
    tally = pixel_tally.PixelTally(class_names, rules, pixel_range, num_channels, tiles)
    tasks = [task for row in rows for task in _tasks_of(row, tiles)]
    read = functools.partial(
        label_masks.read_windows, rules=rules, exif=exif, pixel_range=pixel_range, num_channels=num_channels
    )

    def labelled() -> Iterator[pixel_tally.Named]:
        images = parallel.map_in_processes(read, tasks, min(num_workers, len(tasks)))
        for task, some in zip(tasks, images, strict=True):
            name, filename = task.files.name, os.path.basename(task.files.image)
            if not task.windows:
                yield pixel_tally.Named(name, filename, some[0])
            for window, image in zip(task.windows, some, strict=bool(task.windows)):
                origin = Origin(name, window.top, window.left, *task.size)
                yield pixel_tally.Named(window_id(name, window.top, window.left), filename, image, origin)

    masks, more = os.path.join(voc_root, layout.mask_dir), {image_sample.KEY: sample}
    num_records = sum(max(len(task.windows), 1) for task in tasks)
    return pixel_tally.write(labelled(), num_records, tally, output, split, num_shards, masks, more)


def _tasks_of(files: label_masks.Files, tiles: TileRules) -> list[WindowsTask]:
    """Returns the tasks that read an image: one for the whole image, or several with its windows."""
    size = label_masks.size_of(files.mask) if tiles.size else (0, 0)
    if not tiles.cuts(size):
        return [WindowsTask(files, size)]
    grid = tiles.grid(size)
    tasks = tiling.split_tasks(files, files.image, range(len(grid)), tiles)
    return [WindowsTask(files, size, tuple(grid[number] for number in task.numbers or ()), task.is_first) for task in tasks]


def describe(summary: dict[str, Any]) -> str:
    """Formats the summary of a conversion for the output of the converter; large losses come first."""
    counts = summary["pixels_per_class"]
    total = max(sum(counts.values()), 1)
    width = max(len(name) for name in counts)
    images = format_count(summary["num_examples"], "image")
    lines = [f"{images} in {format_count(len(summary['shards']), 'shard')}, {summary['num_classes']} classes"]
    lines += [f"  {i:3d} {name:{width}} {count:14,d} pixels {count / total:7.2%}" for i, (name, count) in enumerate(counts.items())]
    lines.append(f"  ignored: {summary['ignored_share']:.2%} of all pixels")
    lines += [f"  {format_count(count, 'image')} re-encoded: {reason}" for reason, count in summary["reencoded"].items()]
    lines += [f"  {objects.REPAIRS[kind][0]} ({count}): {objects.REPAIRS[kind][1]}" for kind, count in summary["exif"].items()]
    lines += tile_tally.describe(summary) + wide_images.describe(summary) + channel_values.describe(summary)
    lines += [f"  {format_count(count, 'mask')} {note}" for note, count in summary["mask_notes"].items()]
    without = summary["pictures_without_classes"]
    if without:
        share = without / summary["num_examples"]
        verbs = plural(without, "has no pixel of any class and teaches", "have no pixel of any class and teach")
        lost = f"{without} of {images} ({share:.0%}) {verbs} nothing"
        lines.insert(0 if share > _MUCH else len(lines), f"warning: {lost}" if share > _MUCH else f"  {lost}")
    missing = class_counts.missing_classes(np.array(list(counts.values())), summary["class_names"])
    if missing:
        hint = _hint_at_ignored(summary) if summary["ignored_share"] else ""
        lines.append(f"warning: {missing}{hint}")
    return "\n".join(lines)


def _hint_at_ignored(summary: dict[str, Any]) -> str:
    label = summary["ignore_label"]
    mapped = summary.get("mask_values", {}).get("mapped_values", {})
    return "" if str(label) in mapped else f"; if the value {label} stands for one of them, use --mask_values={label}:ID"


def default_names(voc_root: str, names: Sequence[str]) -> list[str]:
    """Returns VOC's classes if a folder is VOC's.

    Args:
      voc_root: the folder.
      names: names of its images. A folder is VOC's if nine out of ten names look like 2007_000032, or if it is named VOC2005 to
        VOC2012.

    Raises:
      ValueError: the folder is not VOC's, so VOC's names would be wrong for its ids.
    """
    like_voc = sum(bool(_VOC_NAME.fullmatch(os.path.basename(name))) for name in names)
    if like_voc >= 0.9 * len(names) or _VOC_FOLDER.fullmatch(os.path.basename(os.path.realpath(voc_root))):
        return list(VOC_CLASSES)
    raise ValueError(
        f"--class_names is missing: {voc_root} does not look like Pascal VOC, whose images have names like 2007_000032 and not"
        f" {names[0]}; give the names in the order of the ids (--class_names=sky,road,car or a file), --labelmap=labelmap.txt, or"
        " --class_names=voc for VOC's 21 classes"
    )


def check_rules(
    class_names: Sequence[str],
    class_colors: Sequence[tuple[int, int, int]],
    ignore_label: int,
    values: ValueRules,
    palette: str,
) -> LabelRules:
    """Creates the rules for masks from the arguments of `convert_voc`.

    Raises:
      ValueError: the names, the ignore label or the rules are invalid.
    """
    check_classes(class_names, ignore_label)
    rules = LabelRules(len(class_names), ignore_label, tuple(class_colors), values, palette)
    mask_values.check_rules(rules)
    return rules


def check_classes(class_names: Sequence[str], ignore_label: int) -> None:
    """Raises ValueError for invalid class names, and for an ignore label that is not an 8-bit value or is a class."""
    if len(class_names) < 2:
        raise ValueError(
            f"there is one class, `{class_names[0]}`; masks need at least two, including the background (give names in the order of"
            " the ids, separated by commas, or an existing file with one per line)"
        )
    repeated = [name for name, count in collections.Counter(class_names).items() if count > 1]
    if repeated:
        raise ValueError(f"the class name `{repeated[0]}` occurs twice; rename one")
    if len(class_names) > mask_values.LARGEST_ID:
        raise ValueError(
            f"there are {len(class_names)} classes, but masks in records have 8 bits: at most {mask_values.LARGEST_ID} classes, and"
            f" {mask_values.LARGEST_ID} for ignored pixels; select the classes that you need, give their values with"
            " --mask_values=1290:0,1451:1,... and ignore all others with *:ignore"
        )
    if not len(class_names) <= ignore_label <= mask_values.LARGEST_ID:
        is_class = f", which is the id of class `{class_names[ignore_label]}`" if 0 <= ignore_label < len(class_names) else ""
        raise ValueError(
            f"--ignore_label is {ignore_label}{is_class}, but must be {len(class_names)} to {mask_values.LARGEST_ID}, because masks"
            " have 8 bits: leave it at 255, and use --ignore_value for other values in the mask files that are to be ignored"
        )
