"""Evaluates a checkpoint of an experiment.

python official/evaluate.py --model_dir=runs/deeplab_shapes
python official/evaluate.py --experiment=deeplab_voc --checkpoint=runs/deeplab_voc/ckpt-12000
"""

import os

from absl import flags

from tpuseg import cli

_CHECKPOINT = flags.DEFINE_string(
    "checkpoint", "", "Checkpoint (.../ckpt-1200) or folder; the best one of the model directory by default."
)
cli.define_experiment_flags()
flags.adopt_module_key_flags(cli)  # So that --help shows them too.


def main(argv: list[str]) -> None:
    """Evaluates the checkpoint given by the flags."""
    cli.refuse_arguments(argv)
    from tpuseg.training import runs

    experiment = cli.load_experiment(beside=_CHECKPOINT.value and os.path.dirname(_CHECKPOINT.value))
    runs.run(experiment, "eval", cli.model_dir(experiment.name), cli.data_dir(), _CHECKPOINT.value)


if __name__ == "__main__":
    cli.run(main)
