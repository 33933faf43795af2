"""Pascal VOC's layout with SegmentationObject into records of objects."""

import functools
import os
from collections.abc import Sequence
from typing import Any

from tpuseg.convert import coco, earlier, voc, voc_files, voc_objects
from tpuseg.convert.mask_values import ValueRules
from tpuseg.convert.voc_files import Layout
from tpuseg.utils import parallel


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
) -> dict[str, Any]:
    """Converts one list of a VOC folder into records like those of `convert_coco`.

    An object is the pixels of one number in SegmentationObject, and of the class that most of them have in SegmentationClass; the
    border (255) belongs to no object. Category ids are the class ids.

    Args:
      voc_root: folder with JPEGImages, SegmentationClass, SegmentationObject and ImageSets/Segmentation.
      split: name of the list, `train` for ImageSets/Segmentation/train.txt.
      output: folder of the shards and of `{split}.json`, the summary; local or gs://.
      class_names: in the order of the ids; the first is the background, which is no category. VOC's 21 if the folder is VOC's.
      class_colors: red, green and blue of the classes in masks that hold colours; VOC's by default.
      ignore_label: id of pixels in SegmentationClass that do not count.
      num_shards: files.
      num_workers: processes that read and check; the files do not depend on it.
      layout: what the files are called.
      values: how values of the classes' masks become class ids.
      palette: see `mask_values.LabelRules`.
      exif: see `images.read_image`; the size of the masks is the annotated one.
      pixel_range: see `images.read_image`.
      overwrite: records of a different data set with the same names are replaced.
      num_channels: that each image must have, see `image_channels`.

    Returns:
      The summary, as it is written.

    Raises:
      ValueError: a list, image or mask is missing or wrong; names the file and the value. Or the records would replace those of
        a different data set.
    """
    rows = voc_files.find(voc_root, split, layout, objects=True)
    class_names = class_names or voc.default_names(voc_root, [row.name for row in rows])
    labels = voc.check_rules(class_names, class_colors, ignore_label, values, palette)
    sample = earlier.sample_of_files(rows)
    earlier.refuse_other(output, split, "instances", sample, overwrite)
    rules = voc_objects.Rules(tuple(class_names), labels, exif, pixel_range, num_channels)
    convert = functools.partial(voc_objects.convert, rules=rules)
    converted = parallel.map_in_processes(convert, rows, min(num_workers, len(rows)))
    source = os.path.join(voc_root, voc_files.OBJECTS_FOLDER)
    tally = coco.Tally(rules.categories(), [], source, len(rows), None, pixel_range, num_channels)
    return coco.write(converted, len(rows), tally, output, split, num_shards, {earlier.KEY: sample})
