"""Turns a folder of labelled images into records, a split and an experiment with values that fit the data.

python official/plan.py --data=MY_FOLDER --output=datasets/mine
python official/plan.py --data=MY_FOLDER --output=datasets/mine --budget=30m
python official/train.py --experiment=datasets/mine/experiment.yaml
"""

from absl import flags

from tpuseg import cli

_DATA = flags.DEFINE_string("data", None, "Folder of images and labels, or tfds:NAME for a data set of tensorflow-datasets.")
_FORMAT = flags.DEFINE_string("format", "", "Format of the labels; by default found out from the files.")
_TASK = flags.DEFINE_enum(
    "task", "", ["", "instances", "semantic"], "What to learn where the labels allow both; by default what the format is made for."
)
_VAL_SHARE = flags.DEFINE_float("val_share", 0.2, "Share of the images for validation, if the data set is not split.")
_SEED = flags.DEFINE_integer("seed", 0, "Another seed gives another split.", lower_bound=0)
_GROUP_BY = flags.DEFINE_string(
    "group_by", "", "Regular expression: images in whose names it finds the same text stay on one side of the split."
)
_SPLITS = flags.DEFINE_string("splits", "", "Folder with train.txt and val.txt, as an earlier plan has them in `splits`.")
_CLASSES = flags.DEFINE_string(
    "classes",
    "",
    "Classes to learn, in their order, with their names after --rename and --merge: with commas between, or a file of lines.",
)
_RENAME = flags.DEFINE_multi_string("rename", [], "OLD=NEW: another name for a class; may be repeated.")
_MERGE = flags.DEFINE_multi_string("merge", [], "NEW=OLD,OLD: several classes as one; may be repeated.")
_OTHERS = flags.DEFINE_enum("others", "background", ["background", "ignore"], "What pixels of classes outside --classes become.")
_CLASS_NAMES = flags.DEFINE_string(
    "class_names", "", "Names of masks whose files do not name them, in the order of the ids, or a file with one a line."
)
_MASK_VALUES = flags.DEFINE_string("mask_values", "", "What values in masks stand for: 255:1 for objects of 255; 0:ignore.")
_BOXES_ARE_MASKS = flags.DEFINE_bool("boxes_are_masks", False, "Rectangles are the outlines of their objects, not ignored regions.")
_CROWDS = flags.DEFINE_enum(
    "crowds", "ignore", ["ignore", "instances"], "What annotations with iscrowd 1 are: ignored regions, or instances."
)
_ALLOW_OUTSIDE = flags.DEFINE_bool("allow_outside", False, "File names and symbolic links may lead out of --data.")
_DEVICE = flags.DEFINE_string(
    "device", "", "What the experiment is for: cpu, gpu, or a type of TPU such as v3-8; by default what this computer has."
)
_BUDGET = flags.DEFINE_string(
    "budget", "", "Time for the whole training, such as 30m or 2h: model, image size and steps are chosen by a measurement."
)
cli.define_conversion_flags()
cli.define_import_flag()
flags.adopt_module_key_flags(cli)  # So that --help shows them too.


def main(argv: list[str]) -> None:
    """Plans the experiment that the flags describe."""
    cli.refuse_arguments(argv)
    cli.require(data=_DATA.value, output=cli.FLAGS.output)
    from tpuseg import registry
    from tpuseg.configs import experiments
    from tpuseg.convert import mask_values
    from tpuseg.formats import classes, dataset, splits
    from tpuseg.planning import budget, conversion, planner

    registry.import_modules(cli.FLAGS.import_module)
    writing = cli.conversion_options()
    overwrite = writing.pop("overwrite")
    options = planner.Options(
        format_name=_FORMAT.value,
        reading=dataset.Options(
            kind=_TASK.value,
            class_names=tuple(cli.names(_CLASS_NAMES.value)),
            values=mask_values.parse_values(_MASK_VALUES.value),
            boxes_are_masks=_BOXES_ARE_MASKS.value,
            crowds_are_instances=_CROWDS.value == "instances",
            allow_outside=_ALLOW_OUTSIDE.value,
            num_workers=cli.FLAGS.num_workers,
        ),
        chosen=classes.parse_options(cli.names(_CLASSES.value), _RENAME.value, _MERGE.value, _OTHERS.value),
        splitting=splits.Options(_VAL_SHARE.value, _SEED.value, _GROUP_BY.value),
        lists=_SPLITS.value,
        writing=conversion.Options(**writing),
        device=_DEVICE.value,
        budget_seconds=budget.parse_duration(_BUDGET.value) if _BUDGET.value else 0,
        overwrite=overwrite,
    )
    output = cli.FLAGS.output.rstrip("/")
    command = f"python official/train.py --experiment={output}/{experiments.PLAN_FILE}"
    if planner.plan(_DATA.value, output, options, lambda line: print(line, flush=True)):
        print(f"written to {output}; train with {command}")
    else:
        print(f"{output} is the result of these arguments already; train with {command}, or plan again with --overwrite")


if __name__ == "__main__":
    cli.run(main)
