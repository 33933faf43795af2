"""Measures the parts of a training run on this machine: the start, a step, an evaluation, a checkpoint, and the memory.

python -m tpuseg.training.timing EXPERIMENT TRAIN_RECORDS VALIDATION_RECORDS STARTED RESULT

EXPERIMENT is a YAML file, TRAIN_RECORDS a pattern of absolute paths, VALIDATION_RECORDS a JSON list of such patterns. STARTED is
the time at which the program was started, in seconds since the epoch. RESULT is the JSON file to write.

The measurement runs in a separate process, because TensorFlow does not release memory, and a second model in the same process would
appear slower.
"""

import dataclasses
import json
import sys
import tempfile
import time
from collections.abc import Callable

import tensorflow as tf

from tpuseg.configs import experiments
from tpuseg.io import checkpoints, files
from tpuseg.training import distribution, runs
from tpuseg.training.trainer import create_optimizer_variables
from tpuseg.utils import memory

# Number of steps after the first one that are not measured, because buffers are filled and TensorFlow chooses algorithms in them.
_WARMUP_STEPS = 3
# The measurement ends after this time or the maximum number of steps, whichever is first, but not before the minimum number.
_SECONDS, _FEWEST_STEPS, _MOST_STEPS = 20.0, 8, 100


@dataclasses.dataclass(frozen=True)
class Timing:
    """The cost of the parts of a training run.

    Attributes:
      start_seconds: Seconds from the start of the program to the end of the first step, which compiles the model.
      step_seconds: Seconds of one step.
      first_evaluation_seconds: Additional seconds of the first evaluation, for compiling.
      evaluation_seconds: Seconds of one evaluation of the measured records, including writing images and files.
      num_evaluated: Number of images in these records.
      checkpoint_seconds: Seconds to save one checkpoint.
      memory_bytes: Peak resident memory of the process, in bytes.
      gpu_memory_bytes: Peak memory in use on the first GPU, in bytes; 0 without a GPU.
    """

    start_seconds: float
    step_seconds: float
    first_evaluation_seconds: float
    evaluation_seconds: float
    num_evaluated: int
    checkpoint_seconds: float
    memory_bytes: int
    gpu_memory_bytes: int


def measure(experiment: experiments.Experiment, data_dir: str, started: float) -> Timing:
    """Runs a few steps and two evaluations of an experiment, with random weights, in a temporary model directory.

    Args:
      experiment: The resolved experiment; its records are read.
      data_dir: Folder of relative input patterns.
      started: Time at which the program was started, in seconds since the epoch.

    Returns:
      The cost of the parts.

    Raises:
      ValueError: The experiment does not fit its records.
    """
    with tempfile.TemporaryDirectory(prefix="tpuseg-timing-") as folder:
        strategy = distribution.make_strategy(experiment.config.runtime)
        run = runs.Run(experiment, strategy, folder, data_dir, train=True)
        with strategy.scope():
            run.initialize()
            run.trainer.start_input()
            _train(run, 1)
            start_seconds = time.time() - started
            step_seconds = _measure_step(run)
            create_optimizer_variables(run.optimizer, run.model.trainable_variables)
            saving = _measure_seconds(lambda: checkpoints.save(run.checkpoint, folder, int(run.global_step.numpy())))
            first = _measure_seconds(lambda: run.evaluator.evaluate(tf.constant(-1)))
            later = _measure_seconds(lambda: run.evaluator.evaluate(tf.constant(-1)))
            return Timing(
                start_seconds=start_seconds,
                step_seconds=step_seconds,
                first_evaluation_seconds=max(first - later, 0.0),
                evaluation_seconds=later,
                num_evaluated=run.task.num_evaluation_examples(),
                checkpoint_seconds=saving,
                memory_bytes=memory.peak(),
                gpu_memory_bytes=memory.gpu_peak(),
            )


def _train(run: runs.Run, num_steps: int) -> None:
    run.trainer.train(tf.constant(num_steps))


def _measure_step(run: runs.Run) -> float:
    """Returns the mean seconds of a step, including waiting for input."""
    _train(run, _WARMUP_STEPS)
    started, done = time.monotonic(), 0
    while done < _FEWEST_STEPS or (done < _MOST_STEPS and time.monotonic() - started < _SECONDS):
        _train(run, 1)
        done += 1
    return (time.monotonic() - started) / done


def _measure_seconds(action: Callable[[], object]) -> float:
    started = time.monotonic()
    action()
    return time.monotonic() - started


def _main() -> None:
    path, train_records, validation_records, started, result = sys.argv[1:]
    overrides = {
        "task.init_checkpoint": "",  # It may not be downloaded yet, and does not change the time of a step.
        "task.train_data.input_path": train_records,
        "task.validation_data.input_path": json.loads(validation_records),
    }
    timing = measure(experiments.load(path, params_override=overrides), "", float(started))
    files.write_json(result, dataclasses.asdict(timing))


if __name__ == "__main__":
    _main()
