"""A training that fits a time budget: measures steps on this machine and chooses model, image size and number of steps."""

import dataclasses
import glob
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import tpuseg
from tpuseg.data import pipeline
from tpuseg.io import files
from tpuseg.training import timing
from tpuseg.training.progress import format_seconds
from tpuseg.training.timing import Timing

# Share of the budget for evaluations, and the largest number of evaluations.
_EVALUATION_SHARE = 0.2
MOST_EVALUATIONS = 6
# Images of which the time of an evaluation is measured, as far as whole shards allow.
_EVALUATED = 100
# With fewer steps than this, no training is planned.
FEWEST_STEPS = 50
# A more expensive level is tried if this many times the usual steps fit, and a cheaper one if only this share of them fits.
_TIMES_FOR_MORE, _SHARE_FOR_LESS = 2.0, 0.5
# A longer training is not expected to improve the model.
_MOST_TIMES_LONGER = 10
_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")


@dataclasses.dataclass(frozen=True)
class Fit:
    """A training that fits a budget.

    Attributes:
      steps: Number of steps.
      num_evaluations: Number of evaluations, the one after the last step included.
      seconds: Expected time of the whole program.
    """

    steps: int
    num_evaluations: int
    seconds: float


def parse_duration(text: str) -> int:
    """Returns a duration such as `30m`, `1h30m` or `90s` in seconds.

    Raises:
      ValueError: The text is not a duration.
    """
    match = _DURATION.fullmatch(text)
    if not text or match is None:
        raise ValueError(f"--budget={text} is not a duration; write it as 30m, 2h, 1h30m or 90s")
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    total = hours * 3600 + minutes * 60 + seconds
    if not total:
        raise ValueError(f"--budget={text} is no time; for example --budget=30m")
    return total


def fit(budget: float, measured: Timing, num_validation: int, checkpoint_interval: int, most_steps: int) -> Fit | None:
    """Returns the longest training that fits a budget.

    Args:
      budget: Time of the whole program in seconds.
      measured: The cost of the parts.
      num_validation: Number of validation images.
      checkpoint_interval: Steps between two checkpoints.
      most_steps: Limit for the number of steps.

    Returns:
      The training; None if fewer than 50 steps fit.
    """
    evaluation = _evaluation_seconds(measured, num_validation)
    fixed = measured.start_seconds + measured.first_evaluation_seconds
    number = min(max(math.floor(_EVALUATION_SHARE * budget / max(evaluation, 1e-9)), 1), MOST_EVALUATIONS)
    per_step = measured.step_seconds + measured.checkpoint_seconds / checkpoint_interval
    steps = min(math.floor((budget - fixed - number * evaluation) / per_step), most_steps)
    steps -= steps % 10
    if steps < FEWEST_STEPS:
        return None
    return Fit(steps, number, fixed + number * evaluation + steps * per_step)


def shortest(measured: Timing, num_validation: int) -> float:
    """Returns the seconds of the fewest steps that are planned, with one evaluation."""
    fixed = measured.start_seconds + measured.first_evaluation_seconds + measured.checkpoint_seconds
    return fixed + _evaluation_seconds(measured, num_validation) + FEWEST_STEPS * measured.step_seconds


def _evaluation_seconds(measured: Timing, num_validation: int) -> float:
    return measured.evaluation_seconds * num_validation / measured.num_evaluated


@dataclasses.dataclass(frozen=True)
class Candidate:
    """An experiment that was measured.

    Attributes:
      level: Index of its level.
      usual_steps: Number of steps without a budget.
      measured: The cost of its parts.
      fit: The training that fits the budget; None if none does.
    """

    level: int
    usual_steps: int
    measured: Timing
    fit: Fit | None


def choose(first: int, num_levels: int, measure: Callable[[int], Candidate | None]) -> Candidate:
    """Returns the most expensive level for which the budget allows enough steps.

    Args:
      first: Index of the level to begin with.
      num_levels: Number of levels, from the cheapest to the most expensive.
      measure: Measures a level; returns None for one that does not differ from the one measured before.

    Returns:
      The chosen candidate; its `fit` is None if the budget is too short for every level.
    """
    best = measure(first)
    assert best is not None
    if _share(best) >= _TIMES_FOR_MORE:
        for level in range(first + 1, num_levels):
            larger = measure(level)
            if larger is None:
                continue
            if _share(larger) < 1:
                break
            best = larger
            if _share(larger) < _TIMES_FOR_MORE:
                break
        return best
    for level in range(first - 1, -1, -1):
        if _share(best) >= _SHARE_FOR_LESS:
            break
        best = measure(level) or best
    return best


def _share(candidate: Candidate) -> float:
    """Returns the steps that fit as a multiple of the usual number."""
    return candidate.fit.steps / candidate.usual_steps if candidate.fit else 0.0


def most_steps(usual_steps: int) -> int:
    """Returns the limit for the number of steps of a training that needs `usual_steps` without a budget."""
    return _MOST_TIMES_LONGER * usual_steps


def measure(experiment: str, folder: str) -> Timing:
    """Measures an experiment in a process of its own.

    Args:
      experiment: Path of its YAML file.
      folder: Folder of its records, `train-*.tfrecord` and `val-*.tfrecord`.

    Raises:
      ValueError: The training does not run; has its message.
    """
    train = os.path.join(glob.escape(os.path.abspath(folder)), "train-*.tfrecord")
    source_root = os.path.dirname(os.path.dirname(os.path.abspath(tpuseg.__file__)))
    with tempfile.TemporaryDirectory(prefix="tpuseg-budget-") as temporary:
        result = os.path.join(temporary, "timing.json")
        arguments = [experiment, train, json.dumps(_some_shards(folder)), repr(time.time()), result]
        done = subprocess.run(
            [sys.executable, "-m", timing.__name__, *arguments],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([source_root, os.environ.get("PYTHONPATH", "")])},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode:
            last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            raise ValueError(f"a trial of the experiment failed: {last}")
        return Timing(**files.read_json(result))


def _some_shards(folder: str) -> list[str]:
    """Returns the patterns of the first shards of validation that have enough images to measure an evaluation."""
    paths = sorted(glob.glob(os.path.join(glob.escape(os.path.abspath(folder)), "val-*.tfrecord")))
    chosen, images = [], 0
    for path, number in zip(paths, pipeline.examples_per_file(paths), strict=True):
        if images < _EVALUATED and number:
            chosen.append(glob.escape(path))
            images += number
    return chosen


def describe(fitted: Fit, measured: Timing) -> str:
    """Returns the expected steps, time and memory, for a person."""
    gpu = f", {measured.gpu_memory_bytes / 1e9:.1f} GB on the GPU" if measured.gpu_memory_bytes else ""
    return (
        f"{fitted.steps} steps of {measured.step_seconds:.2f} s and {fitted.num_evaluations} evaluations in"
        f" {format_seconds(fitted.seconds)}, {measured.memory_bytes / 1e9:.1f} GB of memory{gpu}"
    )
