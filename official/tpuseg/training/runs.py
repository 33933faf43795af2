"""Running an experiment: the modes of `official/train.py`."""

import contextlib
import dataclasses
import os
import signal
import tempfile
import threading
import time
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import orbit
import tensorflow as tf
import tf_keras

from tpuseg import registry, weights
from tpuseg.configs import experiments
from tpuseg.data import class_counts, pipeline
from tpuseg.io import checkpoint_files, checkpoints, files
from tpuseg.training import advice, class_lists, distribution, event_files, progress, run_directory, run_lock
from tpuseg.training.class_lists import CLASS_NAMES_FILE
from tpuseg.training.early_stopping import EarlyStopping
from tpuseg.training.evaluation import Evaluation
from tpuseg.training.task import SegmentationTask
from tpuseg.training.trainer import (
    Evaluator,
    Interrupted,
    Trainer,
    create_optimizer_variables,
    moving_average,
    start_average,
    swap_weights,
)
from tpuseg.utils import memory, private_apis
from tpuseg.utils.messages import format_count

# Seconds between two checks for a new checkpoint.
_POLL_SECONDS = 5.0


class StopRequest:
    """Records Ctrl-C or SIGTERM until the current step ends; a second signal ends the process immediately."""

    def __init__(self) -> None:
        self.signal: int | None = None

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Handles the signals inside the block if this is the main thread, the only one that receives signals in Python."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.getsignal(number) for number in numbers}

        def handle(number: int, frame: types.FrameType | None) -> None:
            del frame
            self.signal = number
            print(f"\n{signal.Signals(number).name}: stopping after this step; repeat it to stop immediately", flush=True)
            for each in numbers:
                signal.signal(each, signal.SIG_DFL)

        for number in numbers:
            signal.signal(number, handle)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def check(self) -> None:
        """Raises Interrupted if a signal was received."""
        if self.signal is not None:
            raise Interrupted


class Run:
    """The objects of one experiment on one machine."""

    def __init__(
        self, experiment: experiments.Experiment, strategy: tf.distribute.Strategy, model_dir: str, data_dir: str, *, train: bool
    ) -> None:
        """Builds task, model and optimizer without restoring or writing anything.

        Args:
          experiment: the resolved experiment.
          strategy: the distribution strategy.
          model_dir: folder of checkpoints, metrics and images.
          data_dir: folder of relative input patterns.
          train: whether the model will be trained.
        """
        self.config = experiment.config
        self.model_dir = model_dir
        self.stop = StopRequest()
        self.strategy = strategy
        # The seed of the initial weights. It must not be 0, because tf.data cannot shuffle with a tensor as seed then.
        tf_keras.utils.set_random_seed(self.config.task.train_data.seed + 1)
        self.is_chief = distribution.is_chief(self.strategy)
        print(f"{experiment.name}: {distribution.describe(self.strategy, self.config.runtime)}", flush=True)
        print(f"model directory: {model_dir}", flush=True)
        self.task: SegmentationTask = registry.architectures.get(self.config.architecture).task_class(
            self.config.task, logging_dir=model_dir, data_dir=data_dir
        )
        self._check_settings(train)
        trainer_config = self.config.trainer
        with self.strategy.scope():
            self._fit_to_data(train)
            with distribution.precision(self.config.runtime):
                self.model: tf_keras.Model = self.task.build_model()
            self.optimizer = self.task.create_optimizer(trainer_config.optimizer_config, self.config.runtime)
            self.trainer = Trainer(self.config, self.task, self.model, self.optimizer, self._on_step)
            self.global_step = self.trainer.global_step
            self.evaluator = Evaluator(self.task, self.model, self.optimizer, self.global_step, self.stop.check)
        self.checkpoint = tf.train.Checkpoint(global_step=self.global_step, model=self.model, optimizer=self.optimizer)
        # Every worker takes part in saving, but only the files of the first worker are kept.
        writes_to = model_dir if self.is_chief else tempfile.mkdtemp(prefix="tpuseg-worker-")
        # All workers read the files of the first one, because they must make the same decisions after a restart.
        self.results = checkpoints.Results(model_dir, writes_to)
        self.best = checkpoints.BestCheckpoint(
            model_dir,
            trainer_config.best_checkpoint_eval_metric,
            trainer_config.best_checkpoint_metric_comp,
            self.checkpoint,
            writes_to,
            self.results.rows,
        )
        self._early_stopping = EarlyStopping(trainer_config)
        self._keeps_best = True
        self._started = time.monotonic()
        self._latest: dict[str, Any] = {}
        self.evaluator.after_evaluation = self._after_evaluation
        keep = trainer_config.max_to_keep if self.is_chief else 1
        self._checkpoints = checkpoints.Checkpoints(self.checkpoint, model_dir, keep, writes_to)
        self._progress: progress.Progress | None = None
        self._records: dict[str, tuple[int, int]] = {}
        self._controller = self._make_controller(train)

    def _check_settings(self, train: bool) -> None:
        """Raises ValueError for invalid settings before data is read and the model is built."""
        self._check_batch_sizes(train)
        if train:
            run_directory.require_same_architecture(self.model_dir, self.config.architecture)
            self.task.warn(self.strategy.num_replicas_in_sync)
            self._check_initial_weights()

    def _fit_to_data(self, train: bool) -> None:
        """Checks the records, and replaces settings of the configuration that depend on them."""
        self.task.prepare_data(train)
        if train:
            self.task.classes.check(resumes=bool(checkpoints.list_checkpoints(self.model_dir)))
        self.task.fit_to_data(train)
        self.config = self.config.replace(task=self.task.task_config)
        self.config.lock()

    def _check_initial_weights(self) -> None:
        """Raises ValueError if the initial weights of a new run do not exist, before its model is built, which takes minutes."""
        path = self.config.task.init_checkpoint
        if path and not checkpoints.list_checkpoints(self.model_dir):
            weights.require_known(path)

    def _check_batch_sizes(self, train: bool) -> None:
        replicas = self.strategy.num_replicas_in_sync
        for name in ("train_data", "validation_data") if train else ("validation_data",):
            size = getattr(self.config.task, name).global_batch_size
            if size % replicas:
                raise ValueError(
                    f"task.{name}.global_batch_size is {size}, which {replicas} replicas cannot divide evenly;"
                    f" use a multiple of {replicas}"
                )

    def _make_controller(self, train: bool) -> orbit.Controller:
        folder = self.model_dir if self.is_chief else None
        controller = _Controller(
            global_step=self.global_step,
            trainer=self.trainer if train else None,
            evaluator=self.evaluator,
            strategy=self.strategy,
            steps_per_loop=self._count_steps_to_next_event if train else None,
            summary_dir=folder and os.path.join(folder, "train"),
            eval_summary_dir=folder and os.path.join(folder, "validation"),
        )
        event_files.tolerate_failures(controller)
        return controller

    def _count_steps_to_next_event(self, step: int) -> int:
        """Returns the number of steps of orbit's next loop: up to the next report, on a TPU at most `steps_per_loop`."""
        step, trainer_config = int(step), self.config.trainer
        loop = trainer_config.summary_interval - step % trainer_config.summary_interval
        return min(loop, trainer_config.steps_per_loop) if distribution.is_tpu(self.strategy) else loop

    def _on_step(self) -> None:
        if self._progress is not None:
            self._progress.step_done(int(self.global_step.numpy()))
        self.stop.check()

    def _after_evaluation(self, logs: dict[str, Any]) -> None:
        logs["step"] = int(self.global_step.numpy())
        self._latest = logs
        if not self._keeps_best:
            print(f"metrics of this evaluation: {self.results.write_alone(logs)}", flush=True)
            return
        # After a kill between checkpoint and evaluation, or in a process that only evaluates, no step has been run yet.
        create_optimizer_variables(self.optimizer, self.model.trainable_variables)
        if self.best.update(logs, logs["step"]):
            covered = class_counts.coverage(self.config.task.model.num_classes, logs.get("classes_without_truth", []))
            metric = self.config.trainer.best_checkpoint_eval_metric
            print(f"best checkpoint so far: {metric} {self.best.value:.4f}{covered}", flush=True)
        self.results.write({**logs, "resources": self._measure_resources()})

    def _measure_resources(self) -> dict[str, float]:
        """Returns the seconds since the run was set up and the peak memory of the process, for `metrics.json`."""
        used = {"seconds": round(time.monotonic() - self._started, 1), "peak_memory_bytes": memory.peak()}
        on_gpu = memory.gpu_peak()
        return {**used, "peak_gpu_memory_bytes": on_gpu} if on_gpu else used

    def initialize(self) -> None:
        """Loads the initial weights of a new run, and starts their moving average; must be called in the strategy's scope."""
        self.task.initialize(self.model)
        average = moving_average(self.optimizer)
        if average is not None:
            start_average(average)

    def train_and_evaluate(self, evaluate: bool) -> None:
        """Trains from the newest checkpoint to the last step, and saves and evaluates at the configured intervals."""
        trainer_config = self.config.trainer
        restored = self._checkpoints.restore_newest()
        if restored:
            print(f"resuming from {restored}", flush=True)
        else:
            self.initialize()
        self.best.forget_if_damaged()
        step, last = int(self.global_step.numpy()), trainer_config.train_steps
        self.results.forget_later(step)
        if step < last:
            self._describe(step if restored else None)
        if evaluate and step and step not in self.results.steps() and self._is_evaluated_at(step):
            self._evaluate(step)  # The process was killed between the checkpoint and its evaluation.
        if evaluate and step < last and self._check_early_stopping():
            return
        if step >= last:
            self._describe_if_missing()
            print(f"step {step} of {last}: training is complete; the configuration is not changed", flush=True)
            return
        self.trainer.start_input()
        self._records = pipeline.stamps(self.config.task.train_data, self.task.data_dir)
        batch = self.config.task.train_data.global_batch_size
        self._progress = progress.Progress(self.trainer, last, trainer_config.summary_interval, batch)
        while step < last:
            intervals = [trainer_config.checkpoint_interval] + [trainer_config.validation_interval] * evaluate
            step = min(last, *(step + interval - step % interval for interval in intervals))
            self._progress.resume()
            self._controller.train(step, checkpoint_at_completion=False)
            self._save(step)
            if evaluate and self._is_evaluated_at(step):
                self._evaluate(step)
                if step < last and self._check_early_stopping():
                    return

    def latest_metrics(self) -> dict[str, Any]:
        """Returns the metrics of the last evaluation, which may be one before resuming; empty if there is none."""
        return dict(self._latest or (self.results.rows[-1] if self.results.rows else {}))

    def print_advice(self) -> None:
        """Prints advice based on the evaluations so far."""
        trainer_config = self.config.trainer
        metric = trainer_config.best_checkpoint_eval_metric if trainer_config.best_checkpoint_metric_comp == "higher" else ""
        for line in advice.lines(self.results.rows, metric):
            print(line, flush=True)

    def _check_early_stopping(self) -> bool:
        """Returns whether early stopping ends training, and prints the reason."""
        reason = self._early_stopping.reason(self.results.rows)
        if reason:
            print(reason, flush=True)
        return reason is not None

    def _describe(self, step: int | None) -> None:
        """Writes the configuration and the class names; called after the run's checkpoints were restored."""
        if self.is_chief:
            run_directory.update_config(self.config, self.model_dir, step)
            self.task.classes.write()

    def _describe_if_missing(self) -> None:
        """Writes these files again if they were removed in the meantime."""
        for name, write in (
            (experiments.CONFIG_FILE, lambda: run_directory.write_config(self.config, self.model_dir)),
            (CLASS_NAMES_FILE, self.task.classes.write),
        ):
            if self.is_chief and not files.exists(os.path.join(self.model_dir, name)):
                write()

    def _save(self, step: int) -> None:
        self._checkpoints.save_if_new(step)
        self._describe_if_missing()
        self._warn_of_other_records()

    def _warn_of_other_records(self) -> None:
        """Prints a warning once if training records were replaced during the run, because later batches contain the new ones."""
        if not self._records:
            return
        try:
            now = pipeline.stamps(self.config.task.train_data, self.task.data_dir)
        except (ValueError, OSError):
            return  # They were removed; reading them raises an error.
        changed = [path for path, stamp in self._records.items() if now.get(path) != stamp]
        if changed:
            print(
                f"warning: {changed[0]} was replaced during the run ({len(changed)} of {format_count(len(now), 'file')}); later"
                " batches contain the new records, so the run cannot be repeated",
                flush=True,
            )
            self._records = {}

    def _is_evaluated_at(self, step: int) -> bool:
        return step % self.config.trainer.validation_interval == 0 or step == self.config.trainer.train_steps

    def save_after_stop(self) -> None:
        """Saves a checkpoint of the step at which the run was stopped."""
        step = int(self.global_step.numpy())
        self.trainer.check_finite()
        self._save(step)
        print(f"stopped at step {step}, which is saved; the same command resumes from it", flush=True)

    def evaluate(self, path: str) -> dict[str, Any]:
        """Evaluates one checkpoint; `path` is its prefix, as `checkpoints.find` returns it."""
        self.task.classes.check_evaluated(class_lists.beside(path))
        checkpoints.restore(self.checkpoint, path)
        average = moving_average(self.optimizer)
        if average is not None and checkpoints.is_best(path):
            swap_weights(average)  # The best checkpoint was saved with swapped weights, which is undone here.
        print(f"evaluating {path}", flush=True)
        return self._evaluate(checkpoints.step_of(path))

    def _evaluate(self, step: int) -> dict[str, Any]:
        """Evaluates the weights of a step; writes a report about the last step, or about a checkpoint that is evaluated alone."""
        is_last = step == self.config.trainer.train_steps or not self._keeps_best
        is_reported = is_last and self.config.task.evaluation.report
        self.evaluator.report_folder = os.path.join(self.model_dir, run_directory.REPORT_FOLDER) if is_reported else ""
        logs = self._controller.evaluate()
        if self.evaluator.reported is not None and self.is_chief:
            self._write_report(self.evaluator.reported)
        self.evaluator.reported = None
        return logs

    def _write_report(self, evaluation: Evaluation) -> None:
        """Writes the report; a failure is a warning, because the metrics are already written."""
        started = time.monotonic()
        try:
            path = evaluation.write_report(self.results.rows)
        except (ValueError, OSError, tf.errors.OpError) as error:
            print(f"warning: the report cannot be written: {error}", flush=True)
            return
        if path:
            print(f"what is wrong in each image: {path} ({progress.format_seconds(time.monotonic() - started)})", flush=True)

    def evaluate_alone(self, path: str) -> dict[str, Any]:
        """Evaluates one checkpoint without changing the best checkpoint and the metrics of training."""
        self._keeps_best = False
        return self.evaluate(path)

    def evaluate_continuously(self) -> None:
        """Evaluates every checkpoint once, the oldest first, up to the last step; stops earlier if no new one is found in time."""
        timeout, removed = self.config.trainer.continuous_eval_timeout, set[str]()
        self.best.forget_if_damaged()
        last_news = time.monotonic()
        while time.monotonic() - last_news < timeout:
            while waiting := self._list_not_evaluated(removed):
                try:
                    if self._is_intact(waiting[0]):
                        self.evaluate(waiting[0])
                    else:
                        removed.add(waiting[0])
                except (FileNotFoundError, tf.errors.NotFoundError):
                    removed.add(waiting[0])
                last_news = time.monotonic()
            newest = checkpoints.list_checkpoints(self.model_dir)[-1:]
            if newest and checkpoints.step_of(newest[0]) >= self.config.trainer.train_steps:
                return
            self.stop.check()
            time.sleep(min(_POLL_SECONDS, timeout / 4))
        print(f"no new checkpoint in {self.model_dir} within {timeout} s", flush=True)

    @staticmethod
    def _is_intact(path: str) -> bool:
        """Returns whether a checkpoint can be evaluated; prints a warning if it is damaged."""
        fault = checkpoint_files.find_damage(path)
        if fault is not None and files.exists(f"{path}.index"):
            print(f"warning: checkpoint {path} is damaged ({fault}) and is skipped", flush=True)
        return fault is None

    def _list_not_evaluated(self, removed: set[str]) -> list[str]:
        """Returns the checkpoints to evaluate, which are listed at each call because training removes old ones."""
        done = self.results.steps()
        return [p for p in checkpoints.list_checkpoints(self.model_dir) if p not in removed and checkpoints.step_of(p) not in done]


class _Controller(orbit.Controller):
    """Orbit's controller without its messages, which `Progress` replaces."""

    def train(self, steps: int, checkpoint_at_completion: bool = True) -> None:
        with private_apis.without_orbit_messages():
            super().train(steps, checkpoint_at_completion)

    def evaluate(self, steps: int = -1) -> Any:
        with private_apis.without_orbit_messages():
            return super().evaluate(steps)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
      metrics: metrics of the last evaluation, as in `metrics.json`; empty if there was none.
      stopped_by: the signal after which the run was saved and stopped; None for a completed run.
    """

    metrics: dict[str, Any]
    stopped_by: int | None = None


def train(
    experiment: str | os.PathLike[str],
    *,
    model_dir: str | os.PathLike[str] = "",
    data_dir: str | os.PathLike[str] = "datasets",
    overrides: Mapping[str, Any] | None = None,
    start_over: bool = False,
) -> dict[str, Any]:
    """Trains and evaluates an experiment like `tpuseg train`, and resumes it if the model directory contains checkpoints.

    Ctrl-C or SIGTERM saves a checkpoint and stops training; then the program receives the signal, Ctrl-C as KeyboardInterrupt.

    Args:
      experiment: the path of a YAML file, or the name of one of the project's experiments.
      model_dir: folder (or gs://) to which the run writes its files; if empty, `runs/` and the experiment's name.
      data_dir: folder (or gs://) of relative input patterns.
      overrides: values that replace those of the experiment by their keys: `{"trainer.train_steps": 500}`, or nested dictionaries.
      start_over: whether an earlier run in the model directory is moved aside, so that training starts at step 0.

    Returns:
      The metrics of the last evaluation, as in `metrics.json` but without `resources`; empty if nothing was evaluated.

    Raises:
      ValueError: an unknown experiment, key or value, data that does not fit, or a model directory that another training uses.
      OSError: a file cannot be read or written.
      NonFiniteLossError: the loss became NaN or infinite; the message lists the images of the batch.
    """
    resolved = experiments.load(os.fspath(experiment), params_override=overrides or "")
    folder = os.fspath(model_dir) or os.path.join("runs", resolved.name)
    outcome = run(resolved, "train_and_eval", folder, os.fspath(data_dir), start_over=start_over)
    if outcome.stopped_by is not None:
        signal.raise_signal(outcome.stopped_by)
    return outcome.metrics


def run(
    experiment: experiments.Experiment, mode: str, model_dir: str, data_dir: str, checkpoint: str = "", start_over: bool = False
) -> Outcome:
    """Runs an experiment.

    Args:
      experiment: the resolved experiment.
      mode: `train_and_eval`, `train`, `eval` or `continuous_eval`.
      model_dir: folder (or gs://) to which the run writes its files.
      data_dir: folder (or gs://) of relative input patterns.
      checkpoint: for `eval`, the checkpoint or folder; if empty, the best or newest checkpoint of the model directory.
      start_over: for training, whether an earlier run in the model directory is moved aside, so that training starts at step 0.

    Returns:
      The metrics of the last evaluation, and whether the run was stopped. The program's random states and its default step of
      summaries are restored.

    Raises:
      ValueError: another training uses the model directory, or the user made another error, which the message describes.
      OSError: a file cannot be read or written.
    """
    started = time.monotonic()
    for note in experiment.notes:
        print(note, flush=True)
    path = checkpoints.find(checkpoint or model_dir) if mode == "eval" else ""
    trains = mode in ("train", "train_and_eval")
    # Before any other TensorFlow operation, because workers must connect to each other first.
    strategy = distribution.make_strategy(experiment.config.runtime)
    writes = trains and distribution.is_chief(strategy)
    with run_lock.hold(model_dir) if writes else contextlib.nullcontext():
        if writes:
            for name in ("", checkpoints.BEST_FOLDER, run_directory.PICTURES_FOLDER):
                files.remove_left_over(os.path.join(model_dir, name))
        if writes and start_over:
            run_directory.start_over(model_dir)
        with private_apis.kept_random_state(), _restore_summary_step():
            this = Run(experiment, strategy, model_dir, data_dir, train=trains)
            with this.stop.listening():
                is_done = _run_mode(this, mode, path)
    if is_done and mode == "train_and_eval":
        this.print_advice()
    if is_done:
        print(f"done in {progress.format_seconds(time.monotonic() - started)}; results in {model_dir}", flush=True)
    return Outcome(this.latest_metrics(), None if is_done else this.stop.signal)


@contextlib.contextmanager
def _restore_summary_step() -> Iterator[None]:
    """Restores TensorFlow's default step of summaries after the block, because orbit sets it to that of the run."""
    before = tf.summary.experimental.get_step()
    try:
        yield
    finally:
        tf.summary.experimental.set_step(before)


def _run_mode(this: Run, mode: str, path: str) -> bool:
    """Runs one of the modes of `run`; returns whether the run was completed and not stopped."""
    actions: dict[str, Callable[[], Any]] = {
        "train_and_eval": lambda: this.train_and_evaluate(evaluate=True),
        "train": lambda: this.train_and_evaluate(evaluate=False),
        "eval": lambda: this.evaluate_alone(path),
        "continuous_eval": this.evaluate_continuously,
    }
    try:
        with this.strategy.scope():
            actions[mode]()
    except Interrupted:
        if mode in ("train", "train_and_eval"):
            this.save_after_stop()
        return False
    except (tf.errors.OpError, UnicodeDecodeError, checkpoints.SaveError) as error:
        # Saving waits for all workers, so it also fails if a worker is lost.
        cause = error if isinstance(error, tf.errors.OpError) else error.__cause__
        explanation = None
        if isinstance(cause, tf.errors.OpError):
            explanation = distribution.explain_lost_worker(cause, this.model_dir)
        if explanation is None and not isinstance(error, checkpoints.SaveError):
            explanation = this.task.explain_input_error(error)
        if explanation is None:
            raise
        raise ValueError(explanation) from error
    return True
