"""Converts weights of another library to a checkpoint of this project.

python official/import_weights.py --source=torchvision --checkpoint=maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth \
  --experiment=maskrcnn_torchvision --output=runs/from_torchvision
"""

from absl import flags

from tpuseg import cli

_SOURCE = flags.DEFINE_string(
    "source", None, "Source of the weights: keras, torchvision, detectron2, model_garden, deeplab_tf1, or a registered source."
)
_CHECKPOINT = flags.DEFINE_string("checkpoint", None, "The file, or a checkpoint's name without .index; for keras also `imagenet`.")
_OUTPUT = flags.DEFINE_string("output", None, "Folder of the checkpoint, for init_checkpoint or as a --model_dir.")
_MAP_CLASSES = flags.DEFINE_bool("map_classes", False, "Restores the classifier's rows of classes with equal names.")
_CLASS_NAMES = flags.DEFINE_string(
    "class_names", "", "Names of the experiment's classes, comma-separated or a file; by default those of its records."
)
cli.define_experiment_flags()
flags.adopt_module_key_flags(cli)  # So that --help shows them too.


def main(argv: list[str]) -> None:
    """Imports the weights given by the flags, and prints what was restored."""
    cli.refuse_arguments(argv)
    cli.require(source=_SOURCE.value, checkpoint=_CHECKPOINT.value, output=_OUTPUT.value)
    experiment = cli.load_experiment()
    from tpuseg import weights
    from tpuseg.training import import_weights

    if _SOURCE.value not in weights.kinds():
        raise ValueError(f"--source={_SOURCE.value} is not one of {', '.join(weights.kinds())}")
    report = import_weights.run(
        experiment,
        _SOURCE.value,
        _CHECKPOINT.value,
        _OUTPUT.value,
        cli.data_dir(),
        cli.names(_CLASS_NAMES.value),
        _MAP_CLASSES.value,
    )
    print(report.table())
    print(import_weights.use(report, _OUTPUT.value))


if __name__ == "__main__":
    cli.run(main)
