"""The lines about a run's progress that are printed during training."""

import time

from tpuseg.training.trainer import Trainer

# Maximum seconds between two lines if steps are slow.
_LONGEST_SILENCE = 30.0


def format_seconds(seconds: float) -> str:
    """Returns a duration as `45s`, `3m20s` or `5h07m`."""
    rounded = int(seconds + 0.5)
    if rounded < 60:
        return f"{rounded}s"
    if rounded < 3600:
        return f"{rounded // 60}m{rounded % 60:02d}s"
    return f"{rounded // 3600}h{rounded % 3600 // 60:02d}m"


class Progress:
    """Prints a line every `interval` steps, and at least every half minute."""

    def __init__(self, trainer: Trainer, train_steps: int, interval: int, batch_size: int) -> None:
        self._trainer = trainer
        self._train_steps = train_steps
        self._interval = interval
        self._batch_size = batch_size
        self._compiling_since: float | None = time.monotonic()
        print("the first step compiles the model: this can take a minute or more", flush=True)
        self._start_window(0)

    def _start_window(self, step: int) -> None:
        self._window_step = step
        self._window_seconds = 0.0
        self._window_input = self._trainer.input_seconds
        self._resumed = time.monotonic()

    def resume(self) -> None:
        """Marks the end of a pause (an evaluation, a checkpoint), whose time is not counted."""
        self._resumed = time.monotonic()

    def step_done(self, step: int) -> None:
        """Counts a completed step (or a loop of steps on a TPU); `step` is the number of steps so far."""
        now = time.monotonic()
        if self._compiling_since is not None:
            print(f"first step done after {format_seconds(now - self._compiling_since)}", flush=True)
            self._compiling_since = None
            self._start_window(step)
            return
        self._window_seconds += now - self._resumed
        self._resumed = now
        if step % self._interval == 0 or step == self._train_steps or self._window_seconds > _LONGEST_SILENCE:
            self._print(step)
            self._start_window(step)

    def _print(self, step: int) -> None:
        seconds = max(self._window_seconds, 1e-9)
        steps = max(step - self._window_step, 1)
        waiting = min((self._trainer.input_seconds - self._window_input) / seconds, 1.0)
        losses = self._trainer.current_losses()
        parts = [
            f"step {step}/{self._train_steps}",
            f"loss {losses['loss']:.4f}",
            f"learning rate {self._trainer.learning_rate:.3g}",
            f"{steps * self._batch_size / seconds:.1f} images/s",
            f"input wait {waiting:.0%}",
            f"{format_seconds((self._train_steps - step) * seconds / steps)} left",
        ]
        ignored = losses.get("ignored_instances", 0.0)
        if ignored:
            parts.append(f"{ignored:.1f} ignored instances per batch")
        print(" | ".join(parts), flush=True)
