"""The preflight: lowers an experiment's step and compiles it for a TPU, to check whether it fits into the memory."""

import dataclasses
from collections.abc import Callable, Sequence

from tpuseg.configs import experiments, schema
from tpuseg.tpu import compiler, hlo, lowering, program, topology


@dataclasses.dataclass(frozen=True)
class Check:
    """Result of checking an experiment's step for a TPU.

    Attributes:
      experiment: name of the experiment.
      mode: `train` or `eval`.
      tpu: the TPU on which the experiment will run.
      replica_batch_size: number of images per replica.
      steps: number of steps of the run; 0 for an evaluation, whose data is unknown.
      num_parameters: number of the model's parameters.
      compiled: result of compiling; None if the step cannot be lowered.
      unsupported: operations that a TPU cannot run.
      largest_batch_size: the largest number of images per replica that fits, if it was searched; 0 if not even one image fits.
      too_large_batch_size: the smallest number of images per replica that was found not to fit.
    """

    experiment: str
    mode: str
    tpu: topology.Tpu
    replica_batch_size: int
    steps: int
    num_parameters: int = 0
    compiled: compiler.Compiled | None = None
    unsupported: tuple[lowering.UnsupportedOp, ...] = ()
    largest_batch_size: int | None = None
    too_large_batch_size: int | None = None

    @property
    def fits(self) -> bool:
        """Whether the step can run."""
        return self.compiled is not None and self.compiled.fits

    @property
    def global_batch_size(self) -> int:
        """Number of images of a step over all replicas."""
        return self.replica_batch_size * self.tpu.num_replicas

    @property
    def step_seconds(self) -> float | None:
        """Estimated seconds of a step; None if it does not fit."""
        return self.compiled.seconds if self.compiled is not None and self.compiled.fits else None

    @property
    def images_per_second(self) -> float | None:
        """Estimated speed of all replicas together; None if the step does not fit."""
        return self.global_batch_size / self.step_seconds if self.step_seconds else None

    @property
    def hours(self) -> float | None:
        """Estimated hours of all steps, without evaluations, checkpoints and waiting for input; None if they are unknown."""
        return self.steps * self.step_seconds / 3600 if self.step_seconds and self.steps else None


def check(
    experiment: experiments.Experiment, tpu: topology.Tpu, mode: str, loop_trips: int | None = None, batch_size: int | None = None
) -> Check:
    """Compiles an experiment's step for a TPU.

    Args:
      experiment: the resolved experiment.
      tpu: the TPU on which the experiment will run.
      mode: `train` or `eval`.
      loop_trips: see `compiler.compile_program`.
      batch_size: number of images per replica; by default, the global batch size divided by the number of replicas.

    Raises:
      ValueError: the batch cannot be divided evenly, or the compiler is not installed or failed.
    """
    size = batch_size or program.replica_batch_size(experiment.config, tpu, mode)
    found = Check(experiment.name, mode, tpu, size, _count_steps(experiment.config, mode))
    try:
        built = program.build(experiment.config, tpu.num_replicas, size, mode)
    except lowering.LoweringError as error:
        if not error.unsupported:
            raise
        return dataclasses.replace(found, unsupported=tuple(error.unsupported))
    compiled = compiler.compile_program(built.hlo, tpu.name, loop_trips)
    return dataclasses.replace(found, num_parameters=built.num_parameters, compiled=compiled)


def _count_steps(experiment: schema.ExperimentConfig, mode: str) -> int:
    return experiment.trainer.train_steps if mode == "train" else 0


def on_larger_slices(first: Check, tpus: Sequence[topology.Tpu], loop_trips: int | None = None) -> list[Check]:
    """Returns the checks of the same step on other slices with the same chips and the same number of images per replica.

    The program of a replica is the same on all slices except for the sums over replicas, whose time is computed for each slice, so
    it is compiled only once. The number of steps is changed so that the number of images stays the same.

    Args:
      first: a check whose program fits.
      tpus: the other slices.
      loop_trips: see `compiler.compile_program`.

    Raises:
      ValueError: the slices have different chips, or the program of the first check does not fit.
    """
    topology.require_same_chips([first.tpu, *tpus])
    if first.compiled is None or not first.compiled.fits:
        raise ValueError(f"--scaling needs a batch that fits: {first.replica_batch_size} images on a {first.tpu.name} do not")
    found = []
    for tpu in tpus:
        estimate = hlo.estimate(first.compiled.optimized, tpu, loop_trips)
        compiled = dataclasses.replace(first.compiled, tpu=tpu, estimate=estimate)
        steps = round(first.steps * first.tpu.num_replicas / tpu.num_replicas)
        found.append(dataclasses.replace(first, tpu=tpu, compiled=compiled, steps=steps))
    return found


def find_batch_size(first: Check, try_size: Callable[[int], Check], most: int = 1024) -> tuple[int, int | None]:
    """Searches the largest number of images per replica that fits, with a tolerance of one sixteenth.

    Args:
      first: an existing check.
      try_size: function that makes a check with another number of images.
      most: largest number of images that is tried.

    Returns:
      The largest number that was found to fit (0 if not even one image fits), and the smallest that was found not to fit (None if
      all fit).
    """
    fits, fails = (first.replica_batch_size, most + 1) if first.fits else (0, first.replica_batch_size)
    best = first if first.fits else None
    while fails - fits > max(1, fits // 16):
        latest = try_size(_choose_next_size(best, fails))
        if latest.fits:
            fits, best = latest.replica_batch_size, latest
        else:
            fails = latest.replica_batch_size
    return fits, fails if fails <= most else None


def _choose_next_size(best: Check | None, fails: int) -> int:
    """Returns the batch size to try next, between the largest one that fits and the smallest one that does not.

    The memory of a program that does not fit is not informative: the compiler recomputes values to make the program smaller, and
    stops just above the limit, however large the program was. So the next size is estimated from the memory of one that fits;
    if this is not possible, the interval is halved.
    """
    if best is None or best.compiled is None:
        return fails // 2
    fits, memory = best.replica_batch_size, best.compiled.memory
    fixed = memory.aliased + memory.code
    guess = int((memory.capacity - fixed) / max(memory.peak - fixed, 1) * fits)
    if fits + (fails - fits) / 8 <= guess < fails:
        return guess
    return min((fits + fails) // 2, 4 * fits)
