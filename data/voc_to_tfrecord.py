"""Converts a data set in Pascal VOC's layout to TFRecords with a class for every pixel, or with objects.

python data/voc_to_tfrecord.py --voc_root=VOCdevkit/VOC2012 --split=train --output=datasets/voc2012
python data/voc_to_tfrecord.py --instances --voc_root=VOCdevkit/VOC2012 --split=train --output=datasets/voc2012_instances
"""

import os
import sys

from absl import flags

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "official"))

from tpuseg import cli  # noqa: E402

_VOC_ROOT = flags.DEFINE_string("voc_root", None, "Folder with JPEGImages, SegmentationClass and ImageSets/Segmentation.")
_SPLIT = flags.DEFINE_string("split", None, "List to convert: `train` is ImageSets/Segmentation/train.txt.")
_CLASS_NAMES = flags.DEFINE_string(
    "class_names",
    "",
    "Names in the order of the ids, separated by commas, or a file with one per line; `voc` for VOC's 21, which are the default"
    " if the images are named as in VOC.",
)
_LABELMAP = flags.DEFINE_string(
    "labelmap", "", "CVAT's labelmap.txt, instead of --class_names: contains the names, and the colours of RGB masks and palettes."
)
_INSTANCES = flags.DEFINE_bool("instances", False, "Converts the objects of SegmentationObject, for Mask R-CNN.")
_MASK_DIR = flags.DEFINE_string(
    "mask_dir", "SegmentationClass", "Folder of the masks in --voc_root, for example SegmentationClassAug."
)
_IMAGE_SUFFIX = flags.DEFINE_string("image_suffix", "", "Suffix of the names of images, for example _leftImg8bit.")
_MASK_SUFFIX = flags.DEFINE_string("mask_suffix", "", "Suffix of the names of masks, for example _gtFine_labelTrainIds.")
_IGNORE_LABEL = flags.DEFINE_integer("ignore_label", 255, "Id of ignored pixels in the records.")
_IGNORE_VALUE = flags.DEFINE_string("ignore_value", "", "Additional values of ignored pixels in the masks, separated by commas.")
_ID_OFFSET = flags.DEFINE_integer("id_offset", 0, "Added to the mask values; -1 if the first class is 1 (with --ignore_value=0).")
_MASK_VALUES = flags.DEFINE_string(
    "mask_values", "", "Maps mask values to class ids: 255:1 for objects with the value 255; 7:0,8:1,*:ignore ignores all others."
)
_PALETTE = flags.DEFINE_enum(
    "palette",
    "auto",
    ["auto", "index", "colors"],
    "Whether the indices or the colours of a palette PNG are the classes; by default the indices, unless all colours are those of"
    " the --labelmap at other indices.",
)
_EXIF = flags.DEFINE_enum(
    "exif",
    "apply",
    ["apply", "ignore"],
    "Whether the EXIF orientation of an image is applied if the mask fits both sizes; otherwise the size decides.",
)
_ALLOW_OUTSIDE = flags.DEFINE_bool("allow_outside", False, "Permit names and symbolic links that lead out of --voc_root.")
cli.define_conversion_flags()
cli.define_tile_flags()
flags.adopt_module_key_flags(cli)  # So that --help shows them too.


def main(argv: list[str]) -> None:
    """Converts the list given by the flags."""
    cli.refuse_arguments(argv)
    cli.require(voc_root=_VOC_ROOT.value, split=_SPLIT.value, output=cli.FLAGS.output)
    from tpuseg.convert import coco, labelmap, mask_values, voc, voc_files, voc_instances

    for name in ("tile_min_visible", "tile_empty_share"):
        if cli.FLAGS[name].present and not _INSTANCES.value:
            raise ValueError(f"--{name} is about objects, so it needs --instances; all windows of masks of classes are written")
    if _LABELMAP.value and _CLASS_NAMES.value:
        raise ValueError("--labelmap and --class_names both name the classes; leave one of them out")
    names, colors = voc.VOC_CLASSES if _CLASS_NAMES.value == "voc" else cli.names(_CLASS_NAMES.value), ()
    if _LABELMAP.value:
        names, colors = labelmap.read(_LABELMAP.value)
    layout = voc_files.Layout(_MASK_DIR.value, _IMAGE_SUFFIX.value, _MASK_SUFFIX.value, _ALLOW_OUTSIDE.value)
    shared = {
        "class_names": names,
        "class_colors": colors,
        "ignore_label": _IGNORE_LABEL.value,
        "layout": layout,
        "values": mask_values.parse_values(_MASK_VALUES.value, _ID_OFFSET.value, _IGNORE_VALUE.value),
        "palette": _PALETTE.value,
        "exif": _EXIF.value,
        "tiles": cli.tile_rules(),
        **cli.conversion_options(),
    }
    source = (_VOC_ROOT.value, _SPLIT.value, cli.FLAGS.output)
    if _INSTANCES.value:
        print(coco.describe(voc_instances.convert_voc_instances(*source, **shared)))
    else:
        print(voc.describe(voc.convert_voc(*source, **shared)))
    print(cli.records_hint(cli.FLAGS.output, _SPLIT.value))


if __name__ == "__main__":
    cli.run(main)
