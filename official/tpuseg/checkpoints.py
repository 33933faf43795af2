"""Checkpoints that are always whole: saving, restoring with a fallback, and keeping the best."""

import json
import os
from typing import Any

import tensorflow as tf

from tpuseg import files

BEST_FOLDER = "best_checkpoint"


class Checkpoints:
    """The checkpoints of one run."""

    def __init__(self, checkpoint: tf.train.Checkpoint, folder: str, max_to_keep: int) -> None:
        """Finds the checkpoints that are there.

        Args:
          checkpoint: what is saved and restored.
          folder: where.
          max_to_keep: older ones are deleted.
        """
        self._checkpoint = checkpoint
        self._manager = tf.train.CheckpointManager(checkpoint, folder, max_to_keep)

    def restore_newest(self) -> str | None:
        """Restores the newest checkpoint that can be read.

        One that cannot be read (a full disk, a broken copy) is passed over for the one before it, with a line that says so.

        Returns:
          The checkpoint's path; None if there is none yet.

        Raises:
          ValueError: none of them can be read, or they are of another model.
        """
        candidates = list(reversed(self._manager.checkpoints))
        for path in candidates:
            try:
                restore(self._checkpoint, path)
            except (tf.errors.DataLossError, tf.errors.NotFoundError, tf.errors.OutOfRangeError, IndexError) as error:
                print(f"warning: cannot read checkpoint {path} ({_first_line(error)}); trying the one before it", flush=True)
                continue
            return path
        if candidates:
            raise ValueError(f"none of the checkpoints can be read: {', '.join(candidates)}; move them away to start again")
        return None

    def save_if_new(self, step: int) -> None:
        """Saves a checkpoint of this step unless the newest one is of it."""
        latest = self._manager.latest_checkpoint
        if latest is None or step_of(latest) != step:
            self._manager.save(checkpoint_number=step)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


def step_of(path: str) -> int:
    """Returns the step in a checkpoint's name, `.../ckpt-1200`, or -1."""
    number = path.rpartition("-")[2]
    return int(number) if number.isdigit() else -1


def restore(checkpoint: tf.train.Checkpoint, path: str) -> None:
    """Restores every existing object from a checkpoint.

    Raises:
      ValueError: the checkpoint is of another model; says what to do.
    """
    try:
        status = checkpoint.restore(path)
        status.expect_partial().assert_existing_objects_matched()
    except (AssertionError, ValueError) as error:
        raise ValueError(
            f"checkpoint {path} is of another model or optimizer than this experiment: {_first_line(error)}\n"
            "  use another --model_dir, or the experiment that wrote it (config.yaml beside it)"
        ) from error


def find(path: str) -> str:
    """Returns the prefix of a checkpoint.

    Args:
      path: a prefix (`.../ckpt-1200`), or a folder, whose best checkpoint is meant if it has one, else its newest.

    Raises:
      ValueError: there is none; says what is there.
    """
    if tf.io.gfile.exists(path + ".index"):
        return path
    if tf.io.gfile.isdir(path):
        for folder in (os.path.join(path, BEST_FOLDER), path):
            latest = tf.train.latest_checkpoint(folder)
            if latest:
                return latest
        raise ValueError(f"{path} holds no checkpoint; train first, or name one (.../ckpt-1200)")
    parent = os.path.dirname(path)
    there = sorted(tf.io.gfile.glob(os.path.join(parent or ".", "ckpt-*.index")))
    known = ", ".join(name.removesuffix(".index") for name in there) or "none"
    raise ValueError(f"there is no checkpoint {path} (checkpoints there: {known})")


class BestCheckpoint:
    """Keeps the checkpoint with the best evaluation metric, over restarts too."""

    def __init__(self, model_dir: str, metric: str, comparison: str, checkpoint: tf.train.Checkpoint) -> None:
        """Reads what an earlier run found best.

        Args:
          model_dir: the best checkpoint lies in its folder `best_checkpoint`.
          metric: name of a metric, `bbox/AP` for a nested one; empty keeps none.
          comparison: `higher` or `lower` is better.
          checkpoint: what is saved.
        """
        self._metric = metric
        self._sign = 1 if comparison == "higher" else -1
        self._folder = os.path.join(model_dir, BEST_FOLDER)
        self._info = os.path.join(self._folder, "info.json")
        self._manager = tf.train.CheckpointManager(checkpoint, self._folder, max_to_keep=1) if metric else None
        self.value: float | None = None
        if metric and files.exists(self._info):
            info = files.read_json(self._info)
            # Written after its checkpoint, so that a kill between the two only means that a better one is kept later.
            self.value = info["value"] if info["metric"] == metric else None

    def update(self, logs: dict[str, Any], step: int) -> bool:
        """Saves a checkpoint if the metric is better than ever before.

        Raises:
          ValueError: the evaluation has no such metric; lists those that it has.
        """
        if self._manager is None:
            return False
        value = look_up(logs, self._metric)
        if value is None or (self.value is not None and self._sign * value <= self._sign * self.value):
            return False
        self._manager.save(checkpoint_number=step)
        files.write_json(self._info, {"metric": self._metric, "value": value, "step": step})
        self.value = value
        return True


def look_up(logs: dict[str, Any], metric: str) -> float | None:
    """Returns a metric by its name, with `/` between the levels.

    Raises:
      ValueError: there is none of that name.
    """
    value: Any = logs
    for key in metric.split("/"):
        if not isinstance(value, dict) or key not in value:
            raise ValueError(f"trainer.best_checkpoint_eval_metric: the evaluation has no metric `{metric}`, only {_names(logs)}")
        value = value[key]
    return None if value is None else float(value)


def _names(logs: dict[str, Any], prefix: str = "") -> str:
    names = []
    for key, value in logs.items():
        names.append(_names(value, f"{prefix}{key}/") if isinstance(value, dict) else prefix + key)
    return ", ".join(names)


class Results:
    """The metrics of every evaluation, as files: `metrics.json` the latest, `metrics.jsonl` all of them."""

    def __init__(self, model_dir: str) -> None:
        self._latest = os.path.join(model_dir, "metrics.json")
        self._all = os.path.join(model_dir, "metrics.jsonl")

    def steps(self) -> set[int]:
        """Returns the steps that have been evaluated."""
        return {row["step"] for row in self._rows()}

    def _rows(self) -> list[dict[str, Any]]:
        if not files.exists(self._all):
            return []
        return [json.loads(line) for line in files.read_text(self._all).splitlines() if line.strip()]

    def write(self, logs: dict[str, Any]) -> None:
        """Adds an evaluation; one of the same step, or of a later one that was lost, is replaced."""
        rows = [row for row in self._rows() if row["step"] < logs["step"]] + [logs]
        files.write_text(self._all, "".join(json.dumps(row) + "\n" for row in rows))
        files.write_json(self._latest, logs)
