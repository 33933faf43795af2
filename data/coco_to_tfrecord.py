"""Converts a data set in COCO's format into TFRecords for Mask R-CNN.

python data/coco_to_tfrecord.py --images=coco/train2017 --annotations=coco/instances_train2017.json --output=datasets/coco
"""

import os
import sys

from absl import flags

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "official"))

from tpuseg import cli  # noqa: E402

_IMAGES = flags.DEFINE_string("images", None, "Folder of the pictures.")
_ANNOTATIONS = flags.DEFINE_string("annotations", None, "JSON file with images, annotations and categories.")
_OUTPUT = flags.DEFINE_string("output", None, "Folder of the records and their summary.")
_SPLIT = flags.DEFINE_string(
    "split", "", "Name of the records; that of the annotation file by default, or of its folder if programs call every split's so."
)
_NUM_SHARDS = flags.DEFINE_integer("num_shards", 8, "Files to write.", lower_bound=1)
_NUM_WORKERS = flags.DEFINE_integer("num_workers", os.cpu_count() or 1, "Processes.", lower_bound=1)
_STRICT = flags.DEFINE_bool("strict", False, "Stop at anything odd instead of repairing, counting and listing it.")
_EXIF = flags.DEFINE_enum(
    "exif",
    "apply",
    ["apply", "ignore"],
    "Whether annotations belong to the pixels as the EXIF orientation turns them (apply) or as they are stored (ignore), where an"
    " image's annotated size fits both; otherwise that size decides.",
)
_CROWDS = flags.DEFINE_enum(
    "crowds",
    "ignore",
    ["ignore", "instances"],
    "What annotations with iscrowd 1 are: regions that are ignored, or instances like all others (CVAT writes 1 for brush masks).",
)
_PIXEL_RANGE = flags.DEFINE_list(
    "pixel_range", [], "LOW,HIGH: of images of more than 8 bits, the values that become black and white; 0,4095 for 12 bits."
)
_NUM_CHANNELS = flags.DEFINE_integer(
    "num_channels",
    3,
    "Of the pictures: 3 is RGB (grey is repeated, transparency dropped); 1, 4 and others take files that have so many.",
    lower_bound=1,
    upper_bound=64,
)
_ALLOW_OUTSIDE = flags.DEFINE_bool("allow_outside", False, "File names and symbolic links may lead out of --images.")
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace records of a different data set that have the same names.")


def main(argv: list[str]) -> None:
    """Converts the files that the flags name."""
    cli.refuse_arguments(argv)
    cli.require(images=_IMAGES.value, annotations=_ANNOTATIONS.value, output=_OUTPUT.value)
    from tpuseg import image_files
    from tpuseg.convert import coco

    summary = coco.convert_coco(
        _IMAGES.value,
        _ANNOTATIONS.value,
        _OUTPUT.value,
        split=_SPLIT.value,
        num_shards=_NUM_SHARDS.value,
        num_workers=_NUM_WORKERS.value,
        strict=_STRICT.value,
        exif=_EXIF.value,
        pixel_range=image_files.parse_range(_PIXEL_RANGE.value, "--pixel_range"),
        num_channels=_NUM_CHANNELS.value,
        crowds=_CROWDS.value,
        allow_outside=_ALLOW_OUTSIDE.value,
        overwrite=_OVERWRITE.value,
    )
    print(coco.describe(summary))
    print(cli.records_hint(_OUTPUT.value, summary["split"]))


if __name__ == "__main__":
    cli.run(main)
