"""Generates a data set of shapes in the layouts of Pascal VOC and COCO, to try all steps without a download.

python data/make_shapes.py --output=/tmp/shapes --num_train=1000 --num_val=100
"""

import os
import sys

from absl import flags

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "official"))

from tpuseg import cli  # noqa: E402

_OUTPUT = flags.DEFINE_string("output", None, "Folder to create.")
_NUM_TRAIN = flags.DEFINE_integer("num_train", 1200, "Number of training images.", lower_bound=0)
_NUM_VAL = flags.DEFINE_integer("num_val", 120, "Number of validation images.", lower_bound=0)
_WIDTH = flags.DEFINE_integer("width", 160, "Width of the images in pixels.", lower_bound=32)
_HEIGHT = flags.DEFINE_integer("height", 128, "Height of the images in pixels.", lower_bound=32)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the images.", lower_bound=0)


def main(argv: list[str]) -> None:
    """Generates the data set given by the flags."""
    cli.refuse_arguments(argv)
    cli.require(output=_OUTPUT.value)
    from tpuseg.convert import shapes

    config = shapes.ShapesConfig(
        num_train=_NUM_TRAIN.value,
        num_val=_NUM_VAL.value,
        width=_WIDTH.value,
        height=_HEIGHT.value,
        seed=_SEED.value,
    )
    shapes.make_shapes(_OUTPUT.value, config)
    print(f"{_OUTPUT.value}: JPEGImages, SegmentationClass, SegmentationObject, ImageSets (VOC) and annotations (COCO)")
    print(f"classes: {', '.join(shapes.CLASS_NAMES)}")


if __name__ == "__main__":
    cli.run(main)
