"""Converting data sets in Pascal VOC's layout with SegmentationObject to instance records."""

import os
from collections.abc import Sequence
from typing import Any

from tpuseg.convert import coco, image_sample, tiling, voc, voc_files, voc_objects
from tpuseg.convert.mask_values import ValueRules
from tpuseg.convert.voc_files import Layout
from tpuseg.data.tile_rules import WHOLE_IMAGES, TileRules


def convert_voc_instances(
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
    """Converts one split of a VOC folder to records like those of `convert_coco`.

    An object is the set of pixels with the same number in SegmentationObject. Its class is the most frequent one of these pixels in
    SegmentationClass. The border (255) belongs to no object. Category ids are the class ids.

    Args:
      voc_root: folder with JPEGImages, SegmentationClass, SegmentationObject and ImageSets/Segmentation.
      split: name of the list, `train` for ImageSets/Segmentation/train.txt.
      output: folder of the shards and of the summary, `{split}.json`; local or gs://.
      class_names: class names in the order of the ids; the first is the background, which is not a category. By default VOC's 21 if
        it is VOC's folder.
      class_colors: red, green and blue of the classes in masks with colours; VOC's by default.
      ignore_label: id of ignored pixels in SegmentationClass.
      num_shards: number of shards.
      num_workers: number of processes that read and check images; the records do not depend on it.
      layout: names of the files.
      values: rules that map values of SegmentationClass to class ids.
      palette: see `mask_values.LabelRules`.
      exif: see `images.read_image`; the annotated size is that of the masks.
      pixel_range: see `images.read_image`.
      overwrite: whether records of a different data set with the same names are replaced.
      num_channels: required number of channels of every image, see `image_channels`.
      tiles: how images that are too large are cut into windows; by default every image is written as a whole.

    Returns:
      The summary that was written.

    Raises:
      ValueError: a list, image or mask is missing or invalid (the message names the file and the value), or the records would
        replace those of a different data set.
    """
    rows = voc_files.find(voc_root, split, layout, objects=True)
    class_names = class_names or voc.default_names(voc_root, [row.name for row in rows])
    labels = voc.check_rules(class_names, class_colors, ignore_label, values, palette)
    sample = image_sample.sample_of_files(rows)
    image_sample.refuse_other(output, split, "instances", sample, overwrite)
    rules = voc_objects.Rules(tuple(class_names), labels, exif, pixel_range, num_channels)
    reader = voc_objects.VocReader(rules)
    plans = tiling.plan(rows, reader, tiles, num_workers)
    source = os.path.join(voc_root, voc_files.OBJECTS_FOLDER)
    tally = coco.Tally(rules.categories(), [], source, len(rows), None, pixel_range, num_channels, tiles, plans)
    converted = tiling.convert_all(plans, reader, tiles, num_workers)
    return coco.write(converted, plans.num_records, tally, output, split, num_shards, {image_sample.KEY: sample})
