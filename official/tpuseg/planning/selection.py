"""Selects the experiment to extend and the values to change, for a device and a time budget."""

import dataclasses
import math
import os
from collections.abc import Callable

import tensorflow as tf

from tpuseg.configs import experiments
from tpuseg.configs.schema import ExperimentConfig
from tpuseg.formats.dataset import VAL
from tpuseg.planning import budget, experiment_file, rules
from tpuseg.planning.fingerprint import Fingerprint
from tpuseg.planning.rules import CPU, GPU, TPU, Choice, Device, Level
from tpuseg.tpu import compiler, preflight, topology
from tpuseg.training.progress import format_seconds


@dataclasses.dataclass(frozen=True)
class Selected:
    """A planned experiment.

    Attributes:
      level: The experiment to extend, by its name and with its reason.
      base: The configuration of this experiment.
      choices: The values that differ from it.
      expected: Expected steps, time and memory, for a person; empty if nothing was measured or estimated.
    """

    level: Level
    base: ExperimentConfig
    choices: list[Choice]
    expected: str = ""


# Writes an experiment beside its records, and returns the path of the file.
Write = Callable[[Selected], str]


def find_device(name: str, *, measures: bool) -> Device:
    """Returns a device by its name.

    Args:
      name: `cpu`, `gpu`, a type of TPU such as `v3-8`, or empty for what this computer has.
      measures: Whether steps will be measured, which a TPU does not need.

    Raises:
      ValueError: There is no such device, or it is needed for the measurement and missing here, or the TPU compiler is missing.
    """
    has_gpu = bool(tf.config.list_physical_devices("GPU"))
    kind = name or (GPU if has_gpu else CPU)
    if kind not in (CPU, GPU):
        try:
            tpu = topology.parse(name)
        except ValueError as error:
            raise ValueError(f"{error}; or cpu, or gpu".replace("--tpu_type", "--device")) from error
        compiler.require_installed()
        return Device(tpu.name, TPU, tpu.num_replicas)
    if measures and (kind == GPU) != has_gpu:
        here = "has a GPU" if has_gpu else "has no GPU"
        raise ValueError(f"--budget measures steps on this computer, which {here}; leave out --device={name}, or --budget")
    return Device(kind, kind)


def select(content: Fingerprint, device: Device, budget_seconds: int, write: Write, say: Callable[[str], None]) -> Selected:
    """Selects the experiment and its values.

    Args:
      content: The content of the data set.
      device: The machine for which the experiment is planned.
      budget_seconds: Time for the whole training in seconds; 0 without a limit.
      write: Writes an experiment beside its records, and returns the path of the file.
      say: Is called with every line for people.

    Raises:
      ValueError: The budget is too short, or the model does not fit into the memory of the TPU.
    """
    if device.kind == TPU:
        return _for_tpu(content, device, budget_seconds, write, say)
    if budget_seconds:
        return _within_budget(content, device, budget_seconds, write, say)
    return _plan_level(content, rules.levels(content.kind)[rules.usual_level(device)], device)


def _plan_level(content: Fingerprint, level: Level, device: Device) -> Selected:
    """Returns the experiment of a level with its usual number of steps."""
    base = experiments.load(level.experiment).config
    memory = 0 if device.kind == TPU else _memory()
    return Selected(level, base, experiment_file.choose(content, base, level, device, memory))


def _change_length(planned: Selected, steps: int, num_evaluations: int, usual_steps: int, fits: str) -> Selected:
    """Returns a planned experiment with the number of steps that a budget allows.

    Args:
      planned: The experiment with the usual number of steps.
      steps: The new number.
      num_evaluations: Number of evaluations.
      usual_steps: The usual number.
      fits: The reason if the budget, and not the limit for useful steps, determines the number.
    """
    is_limit = steps == budget.most_steps(usual_steps)
    limit = f"more are not expected to help: {usual_steps} are usual for this number of images"
    length = rules.length(steps, num_evaluations, planned.base, limit if is_limit else fits)
    kept = [choice for choice in planned.choices if choice.path not in rules.LENGTH_KEYS]
    return dataclasses.replace(planned, choices=[*kept, *length])


def _within_budget(
    content: Fingerprint, device: Device, budget_seconds: int, write: Write, say: Callable[[str], None]
) -> Selected:
    """Measures one level after the other until one uses the budget well."""
    levels = rules.levels(content.kind)
    num_validation = content.num_images(VAL)
    measured_plans: dict[int, Selected] = {}

    def measure(index: int) -> budget.Candidate | None:
        planned = _plan_level(content, levels[index], device)
        if any(_is_same(planned, other) for other in measured_plans.values()):
            return None
        measured_plans[index] = planned
        return _measure(planned, index, num_validation, budget_seconds, write, say)

    best = budget.choose(rules.usual_level(device), len(levels), measure)
    if best.fit is None:
        shortest = budget.shortest(best.measured, num_validation)
        raise ValueError(
            f"--budget={format_seconds(budget_seconds)} is too short: {budget.FEWEST_STEPS} steps of the fastest model and one"
            f" evaluation need {format_seconds(shortest)} on this computer"
        )
    fits = f"as many as fit into {format_seconds(budget_seconds)} at {best.measured.step_seconds:.2f} s a step on this computer"
    chosen = _change_length(measured_plans[best.level], best.fit.steps, best.fit.num_evaluations, best.usual_steps, fits)
    return dataclasses.replace(chosen, expected=budget.describe(best.fit, best.measured))


def _is_same(planned: Selected, other: Selected) -> bool:
    return planned.level.experiment == other.level.experiment and planned.choices == other.choices


def _measure(
    planned: Selected, index: int, num_validation: int, budget_seconds: int, write: Write, say: Callable[[str], None]
) -> budget.Candidate:
    """Measures a planned experiment, and says what was found."""
    path = write(planned)
    config = experiments.load(path).config
    size, usual = config.task.model.input_size, config.trainer.train_steps
    name = f"{planned.level.experiment} at {size[0]}x{size[1]}"
    say(f"measuring a few steps of {name}; this takes a minute or two")
    measured = budget.measure(path, os.path.dirname(path))
    interval = config.trainer.checkpoint_interval
    fitted = budget.fit(budget_seconds, measured, num_validation, interval, budget.most_steps(usual))
    fits = f"{fitted.steps} steps fit" if fitted else "too few steps fit"
    say(f"{name}: {measured.step_seconds:.2f} s a step; {fits} into the budget, {usual} are usual")
    return budget.Candidate(index, usual, measured, fitted)


def _for_tpu(content: Fingerprint, device: Device, budget_seconds: int, write: Write, say: Callable[[str], None]) -> Selected:
    """Compiles the train step for the TPU, with fewer images per replica until it fits."""
    tpu = topology.parse(device.name)
    level = rules.levels(content.kind)[rules.usual_level(device)]
    while True:
        planned = _plan_level(content, level, device)
        experiment = experiments.load(write(planned))
        size = experiment.config.task.train_data.global_batch_size // tpu.num_replicas
        say(f"compiling {level.experiment} with {size} images per replica for a {tpu.name}; this takes minutes")
        check = preflight.check(experiment, tpu, "train")
        if check.fits or size == 1:
            break
        device = dataclasses.replace(device, replica_batch=size // 2)
    if check.step_seconds is None or check.compiled is None:
        raise ValueError(f"{level.experiment} does not fit into the memory of a {tpu.name}, even with one image per replica")
    steps = usual = experiment.config.trainer.train_steps
    if budget_seconds:
        steps = min(int(budget_seconds / check.step_seconds), budget.most_steps(usual))
        if steps < budget.FEWEST_STEPS:
            shortest = format_seconds(math.ceil(budget.FEWEST_STEPS * check.step_seconds))
            raise ValueError(
                f"--budget={format_seconds(budget_seconds)} is too short: {budget.FEWEST_STEPS} steps are estimated to take"
                f" {shortest} on a {tpu.name}"
            )
        fits = f"at most {format_seconds(budget_seconds)} at {check.step_seconds:.3f} s a step, estimated for a {tpu.name}"
        planned = _change_length(planned, steps, budget.MOST_EVALUATIONS, usual, fits)
    used, capacity = check.compiled.memory.peak, check.compiled.memory.capacity
    expected = (
        f"{steps} steps of {check.step_seconds:.3f} s in {format_seconds(steps * check.step_seconds)} without evaluations"
        f" and waiting for input, {used / 1e9:.1f} of {capacity / 1e9:.1f} GB of a replica's memory; estimated by the compiler for"
        f" the {tpu.name}, nothing was run on a TPU"
    )
    return dataclasses.replace(planned, expected=expected)


def _memory() -> int:
    """Returns the memory of this computer in bytes; 0 if the system does not report it."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return 0
