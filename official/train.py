"""Trains and evaluates an experiment.

python official/train.py --experiment=deeplab_shapes
python official/train.py --experiment=deeplab_voc --tpu=$TPU_NAME --data_dir=gs://bucket/voc --model_dir=gs://bucket/run1
"""

from absl import flags

from tpuseg import cli

_MODE = flags.DEFINE_enum(
    "mode",
    "train_and_eval",
    ["train_and_eval", "train", "eval", "continuous_eval"],
    "What to do; `continuous_eval` follows another process's training.",
)
_START_OVER = flags.DEFINE_bool(
    "start_over", False, "Moves an earlier run in the model directory to a subfolder, and starts at step 0."
)
cli.define_experiment_flags()
flags.adopt_module_key_flags(cli)  # So that --help shows them too.


def main(argv: list[str]) -> None:
    """Runs the experiment given by the flags."""
    cli.refuse_arguments(argv)
    from tpuseg.training import runs  # Flags and installed packages are checked before TensorFlow takes its seconds.

    experiment = cli.load_experiment()
    model_dir = cli.model_dir(experiment.name)
    runs.run(experiment, _MODE.value, model_dir, cli.data_dir(), start_over=_START_OVER.value)


if __name__ == "__main__":
    cli.run(main)
