"""Checkpoints that are always whole: saving, restoring with a fallback, and keeping the best."""

import json
import os
import re
from typing import Any

import tensorflow as tf

from tpuseg import files

BEST_FOLDER = "best_checkpoint"
_UNFINISHED = re.compile(r"ckpt-\d+_temp/?$")


class Checkpoints:
    """The checkpoints of one run."""

    def __init__(self, checkpoint: tf.train.Checkpoint, folder: str, max_to_keep: int, writes_to: str = "") -> None:
        """Finds the checkpoints that are there.

        Args:
          checkpoint: what is saved and restored.
          folder: where.
          max_to_keep: older ones are deleted.
          writes_to: where they are saved, if not there.
        """
        self._checkpoint = checkpoint
        self._folder = folder
        self._manager = tf.train.CheckpointManager(checkpoint, writes_to or folder, max_to_keep)
        # Not what the manager calls its latest one: that may be broken, and is then to be saved again.
        self._newest_step: int | None = None

    def restore_newest(self) -> str | None:
        """Restores the newest checkpoint that can be read.

        One that cannot be read (a full disk, a broken copy) is passed over for the one before it, with a line that says so.

        Returns:
          The checkpoint's path; None if there is none yet.

        Raises:
          ValueError: none of them can be read, or they are of another model.
        """
        candidates = list(reversed(listed(self._folder)))
        for path in candidates:
            try:
                restore(self._checkpoint, path)
            except (tf.errors.DataLossError, tf.errors.NotFoundError, tf.errors.OutOfRangeError, IndexError) as error:
                print(f"warning: cannot read checkpoint {path} ({_first_line(error)}); trying the one before it", flush=True)
                continue
            self._newest_step = step_of(path)
            return path
        if candidates:
            raise ValueError(f"none of the checkpoints can be read: {', '.join(candidates)}; move them away to start again")
        return None

    def save_if_new(self, step: int) -> None:
        """Saves a checkpoint of this step unless it was restored from one, or saved."""
        if self._newest_step != step:
            _remove_unfinished(self._manager.directory)
            self._manager.save(checkpoint_number=step)
            self._newest_step = step


def _remove_unfinished(folder: str) -> None:
    """Removes what killed processes left of checkpoints: TensorFlow never does, and each can be as large as a whole one."""
    if not tf.io.gfile.isdir(folder):
        return
    for name in tf.io.gfile.listdir(folder):
        if _UNFINISHED.match(name):
            tf.io.gfile.rmtree(os.path.join(folder, name))


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


def step_of(path: str) -> int:
    """Returns the step in a checkpoint's name, `.../ckpt-1200`, or -1."""
    number = path.rpartition("-")[2]
    return int(number) if number.isdigit() else -1


def is_best(path: str) -> bool:
    """Returns whether a checkpoint was kept as the best: with a moving average of the weights, it is the model of that."""
    return os.path.basename(os.path.dirname(path)) == BEST_FOLDER


def folders_of(path: str) -> list[str]:
    """Returns where a file that belongs to a checkpoint can lie: its folder, and the one above, as a best one lies deeper.

    Args:
      path: a prefix (`.../ckpt-1200`) or a folder.
    """
    folder = (path if tf.io.gfile.isdir(path) else os.path.dirname(path)) or "."
    return [folder, os.path.dirname(folder if "://" in folder else os.path.abspath(folder))]


def find_beside(path: str, name: str) -> str | None:
    """Returns the path of the nearest file of a name above a checkpoint, given as in `folders_of`; None if there is none."""
    candidates = (os.path.join(folder, name) for folder in folders_of(path))
    return next((candidate for candidate in candidates if files.exists(candidate)), None)


def listed(folder: str) -> list[str]:
    """Returns the checkpoints of a folder, the oldest first."""
    state = tf.train.get_checkpoint_state(folder)
    return list(state.all_model_checkpoint_paths) if state else []


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

    def __init__(
        self, model_dir: str, metric: str, comparison: str, checkpoint: tf.train.Checkpoint, writes_to: str = ""
    ) -> None:
        """Reads what an earlier run found best.

        Args:
          model_dir: the best checkpoint lies in its folder `best_checkpoint`.
          metric: name of a metric, `bbox/AP` for a nested one; empty keeps none.
          comparison: `higher` or `lower` is better.
          checkpoint: what is saved.
          writes_to: the directory that is written to, if it is another one.
        """
        self._metric = metric
        self._sign = 1 if comparison == "higher" else -1
        folder = os.path.join(writes_to or model_dir, BEST_FOLDER)
        self._info = os.path.join(folder, "info.json")
        self._manager = tf.train.CheckpointManager(checkpoint, folder, max_to_keep=1) if metric else None
        self.value: float | None = None
        earlier = os.path.join(model_dir, BEST_FOLDER, "info.json")
        if metric and files.exists(earlier):
            info = files.read_json(earlier)
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
        _remove_unfinished(self._manager.directory)
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

    def __init__(self, model_dir: str, writes_to: str = "") -> None:
        """Reads what earlier runs found.

        Args:
          model_dir: where the files are.
          writes_to: the directory that is written to, if it is another one.
        """
        self._latest = os.path.join(writes_to or model_dir, "metrics.json")
        self._all = os.path.join(writes_to or model_dir, "metrics.jsonl")
        self._rows = _read_rows(os.path.join(model_dir, "metrics.jsonl"))

    def steps(self) -> set[int]:
        """Returns the steps that have been evaluated."""
        return {row["step"] for row in self._rows}

    def forget_later(self, step: int) -> None:
        """Forgets evaluations of later steps, which training that goes on from `step` will make again."""
        self._rows = [row for row in self._rows if row["step"] <= step]

    def write(self, logs: dict[str, Any]) -> None:
        """Adds an evaluation; an earlier one of the same step is replaced."""
        others = [row for row in self._rows if row["step"] != logs["step"]]
        self._rows = sorted([*others, logs], key=lambda row: row["step"])
        # In this order: a step among all evaluations is not evaluated again after a kill, so the latest must be there by then.
        files.write_json(self._latest, logs)
        files.write_text(self._all, "".join(json.dumps(row) + "\n" for row in self._rows))


def _read_rows(path: str) -> list[dict[str, Any]]:
    if not files.exists(path):
        return []
    return [json.loads(line) for line in files.read_text(path).splitlines() if line.strip()]
