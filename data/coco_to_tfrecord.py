"""Converts a data set in COCO format to TFRecords for Mask R-CNN.

python data/coco_to_tfrecord.py --images=coco/train2017 --annotations=coco/instances_train2017.json --output=datasets/coco
"""

import os
import sys

from absl import flags

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "official"))

from tpuseg import cli  # noqa: E402

_IMAGES = flags.DEFINE_string("images", None, "Folder of the images.")
_ANNOTATIONS = flags.DEFINE_string("annotations", None, "JSON file with images, annotations and categories.")
_SPLIT = flags.DEFINE_string(
    "split", "", "Name of the records; by default that of the annotation file, or of its folder if all splits share that name."
)
_STRICT = flags.DEFINE_bool("strict", False, "Stop at the first finding instead of repairing, counting and listing it.")
_EXIF = flags.DEFINE_enum(
    "exif",
    "apply",
    ["apply", "ignore"],
    "Whether the upright image (apply) or the stored pixels (ignore) of a file with an EXIF orientation were annotated, if the"
    " annotated size fits both; otherwise the size decides.",
)
_CROWDS = flags.DEFINE_enum(
    "crowds",
    "ignore",
    ["ignore", "instances"],
    "How annotations with iscrowd 1 are read: as ignored regions, or as instances (CVAT writes 1 for brush masks).",
)
_ALLOW_OUTSIDE = flags.DEFINE_bool("allow_outside", False, "Permit file names and symbolic links that lead out of --images.")
cli.define_conversion_flags()
cli.define_tile_flags()
flags.adopt_module_key_flags(cli)  # So that --help shows them too.


def main(argv: list[str]) -> None:
    """Converts the files given by the flags."""
    cli.refuse_arguments(argv)
    cli.require(images=_IMAGES.value, annotations=_ANNOTATIONS.value, output=cli.FLAGS.output)
    from tpuseg.convert import coco

    summary = coco.convert_coco(
        _IMAGES.value,
        _ANNOTATIONS.value,
        cli.FLAGS.output,
        split=_SPLIT.value,
        strict=_STRICT.value,
        exif=_EXIF.value,
        crowds=_CROWDS.value,
        allow_outside=_ALLOW_OUTSIDE.value,
        tiles=cli.tile_rules(),
        **cli.conversion_options(),
    )
    print(coco.describe(summary))
    print(cli.records_hint(cli.FLAGS.output, summary["split"]))


if __name__ == "__main__":
    cli.run(main)
