"""The preflight: lower an experiment's step, compile it for a TPU, and learn what fits."""

import dataclasses
from collections.abc import Callable, Sequence

from tpuseg.configs import experiments, schema
from tpuseg.tpu import compiler, hlo, lowering, program, topology


@dataclasses.dataclass(frozen=True)
class Check:
    """What is known of an experiment's step on a TPU.

    Attributes:
      experiment: name of the experiment.
      mode: `train` or `eval`.
      tpu: where it shall run.
      replica_batch_size: images of one replica.
      steps: number of steps of the run; 0 for an evaluation, whose data is unknown.
      num_parameters: number of the model's parameters.
      compiled: what the compiler says; None where it could not be asked.
      unsupported: operations that a TPU cannot run.
      largest_batch_size: the most images of a replica that were found to fit, if that was asked for; 0 if none do.
      too_large_batch_size: the fewest that were found not to.
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
        """Whether it can run."""
        return self.compiled is not None and self.compiled.fits

    @property
    def global_batch_size(self) -> int:
        """Images of a step, over all replicas."""
        return self.replica_batch_size * self.tpu.num_replicas

    @property
    def step_seconds(self) -> float | None:
        """Estimated time of a step, if it fits."""
        return self.compiled.seconds if self.compiled is not None and self.compiled.fits else None

    @property
    def images_per_second(self) -> float | None:
        """Of all replicas together."""
        return self.global_batch_size / self.step_seconds if self.step_seconds else None

    @property
    def hours(self) -> float | None:
        """Of all steps; without evaluations, checkpoints and waiting for input."""
        return self.steps * self.step_seconds / 3600 if self.step_seconds and self.steps else None


def check(
    experiment: experiments.Experiment, tpu: topology.Tpu, mode: str, loop_trips: int | None = None, batch_size: int | None = None
) -> Check:
    """Compiles an experiment's step for a TPU.

    Args:
      experiment: the resolved experiment.
      tpu: where it shall run.
      mode: `train` or `eval`.
      loop_trips: see `compiler.compile_program`.
      batch_size: images of a replica; the experiment's global batch divided by the replicas by default.

    Raises:
      ValueError: the batch cannot be divided, or the compiler is not installed or failed.
    """
    size = batch_size or program.replica_batch_size(experiment.config, tpu, mode)
    found = Check(experiment.name, mode, tpu, size, _steps(experiment.config, mode))
    try:
        built = program.build(experiment.config, tpu.num_replicas, size, mode)
    except lowering.LoweringError as error:
        if not error.unsupported:
            raise
        return dataclasses.replace(found, unsupported=tuple(error.unsupported))
    compiled = compiler.compile_program(built.hlo, tpu.name, loop_trips)
    return dataclasses.replace(found, num_parameters=built.num_parameters, compiled=compiled)


def _steps(experiment: schema.ExperimentConfig, mode: str) -> int:
    return experiment.trainer.train_steps if mode == "train" else 0


def on_larger_slices(first: Check, tpus: Sequence[topology.Tpu], loop_trips: int | None = None) -> list[Check]:
    """Returns a check's counterparts on other slices of the same chips, each with the same replica's batch.

    A replica's program is the same on all of them but for its sums over replicas, whose time follows from the slice; so it is
    compiled once. The steps are as many as see the same number of images.
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
    """Searches the largest replica's batch that fits, to a sixteenth.

    Args:
      first: a check that was made already.
      try_size: makes one of another batch size.
      most: where the search ends.

    Returns:
      The largest batch that was found to fit (0 if not even one image does), and the smallest found not to (None if all do).
    """
    fits, fails = (first.replica_batch_size, most + 1) if first.fits else (0, first.replica_batch_size)
    best = first if first.fits else None
    while fails - fits > max(1, fits // 16):
        latest = try_size(_next_size(best, fails))
        if latest.fits:
            fits, best = latest.replica_batch_size, latest
        else:
            fails = latest.replica_batch_size
    return fits, fails if fails <= most else None


def _next_size(best: Check | None, fails: int) -> int:
    """Returns the batch size to try between the best one that fits and one that does not.

    What a program needs that does not fit says little: the compiler computes things twice to make it smaller, and gives up just
    above the limit, however large it was. So sizes are guessed from what fits, and otherwise the gap is halved.
    """
    if best is None or best.compiled is None:
        return fails // 2
    fits, memory = best.replica_batch_size, best.compiled.memory
    fixed = memory.aliased + memory.code
    guess = int((memory.capacity - fixed) / max(memory.peak - fixed, 1) * fits)
    if fits + (fails - fits) / 8 <= guess < fails:
        return guess
    return min((fits + fails) // 2, 4 * fits)
