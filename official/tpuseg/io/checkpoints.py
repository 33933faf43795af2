"""Checkpoints: saving them atomically, restoring the newest intact one, and keeping the best."""

import json
import os
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tpuseg.io import checkpoint_files, files
from tpuseg.io.checkpoint_files import list_checkpoints, open_reader, step_of
from tpuseg.utils.error_text import first_line

__all__ = [
    "BestCheckpoint",
    "Checkpoints",
    "Results",
    "SaveError",
    "find",
    "list_checkpoints",
    "open_reader",
    "restore",
    "save",
    "step_of",
]

BEST_FOLDER = "best_checkpoint"
_STATE_FILE = "checkpoint"


class SaveError(OSError):
    """A checkpoint could not be saved; earlier checkpoints are unchanged."""


class Checkpoints:
    """The checkpoints of one run."""

    def __init__(self, checkpoint: tf.train.Checkpoint, folder: str, max_to_keep: int, writes_to: str = "") -> None:
        """Creates the object without reading files.

        Args:
          checkpoint: the objects to save and restore.
          folder: folder of the checkpoints.
          max_to_keep: number of checkpoints; older ones are deleted.
          writes_to: another folder for saving; nothing is then moved or deleted in `folder`.
        """
        self._checkpoint = checkpoint
        self._folder = folder
        self._writes_to = writes_to or folder
        self._max_to_keep = max_to_keep
        # The step that was restored or saved last; a damaged newer checkpoint is saved again.
        self._newest_step: int | None = None

    def restore_newest(self) -> str | None:
        """Restores the newest intact checkpoint.

        If the newest checkpoint is damaged (a full disk, an incomplete copy, a flipped bit), a warning is printed and the one
        before it is restored. The damaged one is moved to another folder after that.

        Returns:
          The path of the checkpoint; None if there is none yet.

        Raises:
          ValueError: there are checkpoints but none of them is intact, or they belong to another model. Nothing was changed.
        """
        damaged: dict[str, str] = {}
        for path in reversed(list_checkpoints(self._folder)):
            fault = checkpoint_files.find_damage(path)
            if fault is None:
                restore(self._checkpoint, path)
                self._newest_step = step_of(path)
                self._set_aside(damaged)
                return path
            damaged[path] = fault
        unfinished = _require_none_there(self._folder, damaged)
        self._set_aside(dict.fromkeys(unfinished, "it has data but no index: the process was killed while saving it"))
        return None

    def _set_aside(self, damaged: dict[str, str]) -> None:
        for path, fault in damaged.items():
            moved = ""
            if self._writes_to == self._folder:
                moved = f"; it is moved to {checkpoint_files.set_aside(path)}"
            print(f"warning: checkpoint {path} is damaged ({fault}){moved}", flush=True)

    def save_if_new(self, step: int) -> None:
        """Saves a checkpoint of this step, unless this step was restored or already saved.

        Raises:
          SaveError: it cannot be saved.
        """
        if self._newest_step != step:
            save(self._checkpoint, self._writes_to, step)
            self._newest_step = step
            if _remove_all_but(list_checkpoints(self._writes_to)[-self._max_to_keep :], self._writes_to):
                _write_state(self._writes_to, step)


def _require_none_there(folder: str, damaged: dict[str, str]) -> list[str]:
    """Raises ValueError if a folder has checkpoints that cannot be resumed, so that training would overwrite them.

    Returns:
      An incomplete checkpoint if it is the only one, because the run was killed during its first save.
    """
    without_index = checkpoint_files.list_without_index(folder)
    had_one = any(files.exists(os.path.join(folder, name)) for name in (_STATE_FILE, BEST_FOLDER, "metrics.jsonl"))
    if len(without_index) == 1 and not damaged and not had_one:
        return [os.path.join(folder, without_index[0])]
    found = [f"{os.path.basename(path)} is damaged ({fault})" for path, fault in damaged.items()]
    found += [f"{name} has data but no index" for name in without_index]
    best = list_checkpoints(os.path.join(folder, BEST_FOLDER))
    if not found and best:
        found = [f"only the best checkpoint exists, {os.path.join(BEST_FOLDER, os.path.basename(best[-1]))}"]
    if found:
        more = f", and {len(found) - 3} more" if len(found) > 3 else ""
        raise ValueError(
            f"{folder} has checkpoints, but none that training can continue from: {'; '.join(found[:3])}{more}. Nothing was"
            " changed.\n  copy the checkpoints again, use another --model_dir, or move this run aside and start at step 0 with"
            " --start_over"
        )
    if files.exists(os.path.join(folder, _STATE_FILE)):
        print(f"note: {folder} has a file named {_STATE_FILE}, but no checkpoint (ckpt-*.index); starting at step 0", flush=True)
    return []


def save(checkpoint: tf.train.Checkpoint, folder: str, step: int) -> None:
    """Saves a checkpoint, and adds it to TensorFlow's state file for other programs.

    Args:
      checkpoint: the objects to save.
      folder: folder of the checkpoints; created if it does not exist.
      step: step in the name, `ckpt-STEP`.

    Raises:
      SaveError: the checkpoint cannot be saved; incomplete files are removed.
    """
    path = os.path.join(folder, f"ckpt-{step}")
    try:
        checkpoint_files.remove_unfinished(folder)
        checkpoint.save_counter.assign_add(1)
        _write(checkpoint, path)
        _write_state(folder, step)
    except (tf.errors.OpError, OSError) as error:
        _discard(path)
        raise SaveError(
            f"cannot save checkpoint {path}: {first_line(error)}\n"
            "  earlier checkpoints are unchanged; once the cause is fixed (for example, free space on the disk), the same command"
            " resumes from the newest one"
        ) from error


def _write(checkpoint: tf.train.Checkpoint, path: str) -> None:
    """Writes a checkpoint, and tries again if the folder was removed at the same time."""
    tf.io.gfile.makedirs(os.path.dirname(path))
    try:
        checkpoint.write(path)
    except tf.errors.NotFoundError:
        # Workers save together, so a single worker that tries again would wait forever.
        if isinstance(tf.distribute.get_strategy(), tf.distribute.MultiWorkerMirroredStrategy):
            raise
        tf.io.gfile.makedirs(os.path.dirname(path))
        checkpoint.write(path)


def _write_state(folder: str, step: int) -> None:
    names = [os.path.basename(path) for path in list_checkpoints(folder)]
    lines = [f'model_checkpoint_path: "ckpt-{step}"', *(f'all_model_checkpoint_paths: "{name}"' for name in names)]
    files.write_text(os.path.join(folder, _STATE_FILE), "\n".join(lines) + "\n")


def _discard(path: str) -> None:
    """Removes the files of a failed save if possible, because on a full disk their space is needed to continue."""
    try:
        checkpoint_files.remove_unfinished(os.path.dirname(path))
        if not files.exists(f"{path}.index"):
            checkpoint_files.remove(path)
    except (tf.errors.OpError, OSError):
        pass  # The next save tries again.


def _remove_all_but(kept: Sequence[str], folder: str) -> bool:
    """Removes all checkpoints except `kept`, and older data without an index; returns whether anything was removed."""
    oldest = min(map(step_of, kept), default=0)
    left = [os.path.join(folder, name) for name in checkpoint_files.list_without_index(folder)]
    others = [path for path in list_checkpoints(folder) if path not in kept] + [path for path in left if step_of(path) < oldest]
    for path in others:
        checkpoint_files.remove(path)
    return bool(others)


def is_best(path: str) -> bool:
    """Returns whether a checkpoint is the best one, which contains the moving average of the weights if there is one."""
    return os.path.basename(os.path.dirname(path)) == BEST_FOLDER


def folders_of(path: str) -> list[str]:
    """Returns the folders with the files that belong to a checkpoint: its own, and the parent, in case it is the best checkpoint.

    Args:
      path: a prefix (`.../ckpt-1200`) or a folder.
    """
    folder = (path if tf.io.gfile.isdir(path) else os.path.dirname(path)) or "."
    return [folder, os.path.dirname(folder if "://" in folder else os.path.abspath(folder))]


def find_beside(path: str, name: str) -> str | None:
    """Returns the path of a file with a given name in the folders of a checkpoint (see `folders_of`), or None."""
    candidates = (os.path.join(folder, name) for folder in folders_of(path))
    return next((candidate for candidate in candidates if files.exists(candidate)), None)


def restore(checkpoint: tf.train.Checkpoint, path: str) -> None:
    """Restores every existing object from a checkpoint.

    Raises:
      ValueError: the checkpoint belongs to another model, or is damaged; the message says what to do.
      FileNotFoundError: the checkpoint was removed in the meantime.
    """
    try:
        status = checkpoint.restore(checkpoint_files.readable(path))
        status.expect_partial().assert_existing_objects_matched()
    except (AssertionError, ValueError) as error:
        raise ValueError(
            f"checkpoint {path} belongs to another model or optimizer than this experiment: {first_line(error)}\n"
            "  use another --model_dir, or the experiment that wrote it (config.yaml beside it)"
        ) from error
    except (tf.errors.OpError, RuntimeError, IndexError) as error:
        if not files.exists(f"{path}.index"):
            raise FileNotFoundError(f"checkpoint {path} was removed while it was being read") from error
        raise ValueError(f"checkpoint {path} cannot be read: {first_line(error)}") from error


def find(path: str) -> str:
    """Returns the prefix of an intact checkpoint.

    Args:
      path: a prefix (`.../ckpt-1200`), or a folder. In a folder, the best checkpoint is chosen, or the newest if there is no best
        one; a damaged checkpoint is skipped with a warning.

    Raises:
      ValueError: there is no checkpoint, or a checkpoint given by its prefix is damaged; the message lists others.
    """
    if files.exists(path + ".index"):
        fault = checkpoint_files.find_damage(path)
        if fault is None:
            return path
        others = [each for each in checkpoint_files.list_all_checkpoints(os.path.dirname(path)) if each != path]
        intact = ", ".join(each for each in others if checkpoint_files.find_damage(each) is None) or "none"
        raise ValueError(f"checkpoint {path} is damaged ({fault}); copy it again or choose another one (intact: {intact})")
    if tf.io.gfile.isdir(path):
        return _find_newest_intact(path)
    known = ", ".join(checkpoint_files.list_all_checkpoints(os.path.dirname(path) or ".")) or "none"
    raise ValueError(f"there is no checkpoint {path} (existing checkpoints: {known})")


def _find_newest_intact(folder: str) -> str:
    damaged = []
    for each in (os.path.join(folder, BEST_FOLDER), folder):
        for path in reversed(checkpoint_files.list_all_checkpoints(each)):
            fault = checkpoint_files.find_damage(path)
            if fault is None:
                return path
            damaged.append(f"{path} ({fault})")
            print(f"warning: checkpoint {path} is damaged ({fault}) and is skipped", flush=True)
    if damaged:
        raise ValueError(f"every checkpoint of {folder} is damaged: {', '.join(damaged[:3])}; copy them again")
    raise ValueError(f"{folder} contains no checkpoint; train first, or give the path of one (.../ckpt-1200)")


class BestCheckpoint:
    """Keeps the checkpoint with the best evaluation metric, across restarts."""

    def __init__(
        self,
        model_dir: str,
        metric: str,
        comparison: str,
        checkpoint: tf.train.Checkpoint,
        writes_to: str = "",
        evaluations: Sequence[dict[str, Any]] = (),
    ) -> None:
        """Reads the best value of an earlier run.

        Args:
          model_dir: the model directory; the best checkpoint is in its subfolder `best_checkpoint`.
          metric: name of the metric, `bbox/AP` for a nested one; empty keeps no best checkpoint.
          comparison: whether `higher` or `lower` values are better.
          checkpoint: the objects to save.
          writes_to: another directory for saving.
          evaluations: earlier evaluations, which contain the best value if its own file cannot be read.
        """
        self._metric = metric
        self._sign = 1 if comparison == "higher" else -1
        self._checkpoint = checkpoint
        self._reads_from = os.path.join(model_dir, BEST_FOLDER)
        self._folder = os.path.join(writes_to or model_dir, BEST_FOLDER)
        self._info = os.path.join(self._folder, "info.json")
        self.value = self._read_earlier_value(evaluations) if metric else None

    def _read_earlier_value(self, evaluations: Sequence[dict[str, Any]]) -> float | None:
        path = os.path.join(self._reads_from, "info.json")
        if not files.exists(path):
            return None
        try:
            info = files.read_json(path)
            # This file is written after its checkpoint; if a kill happens between the two, a better checkpoint is kept later.
            return float(info["value"]) if info["metric"] == self._metric else None
        except (ValueError, TypeError, KeyError, OSError) as error:
            value = self._find_evaluated_value(evaluations)
            known = "unknown, so the next one becomes the best" if value is None else f"{value:.4f}, from metrics.jsonl"
            reason = first_line(error)
            print(f"warning: {path} cannot be read ({reason}); the best value so far is {known}", flush=True)
            return value

    def _find_evaluated_value(self, evaluations: Sequence[dict[str, Any]]) -> float | None:
        """Returns the metric at the step of the best checkpoint, if it is among the earlier evaluations."""
        steps = [step_of(path) for path in list_checkpoints(self._reads_from)[-1:]]
        try:
            values = [look_up(row, self._metric) for row in evaluations if row["step"] in steps]
        except (ValueError, TypeError):
            return None
        return values[-1] if values else None

    def forget_if_damaged(self) -> None:
        """Moves a damaged best checkpoint to another folder, so that the next evaluation becomes the best."""
        for path in reversed(list_checkpoints(self._reads_from)):
            fault = checkpoint_files.find_damage(path)
            if fault is None:
                return
            moved = f"; it is moved to {checkpoint_files.set_aside(path)}" if self._folder == self._reads_from else ""
            print(f"warning: the best checkpoint {path} is damaged ({fault}){moved}; the next one becomes the best", flush=True)
        # Also if there is none: another worker may have moved it, and all workers must make the same decision.
        self.value = None

    def update(self, logs: dict[str, Any], step: int) -> bool:
        """Saves a checkpoint if the metric is the best so far.

        Raises:
          ValueError: the evaluation has no such metric; the message lists the existing ones.
          SaveError: the checkpoint cannot be saved.
        """
        if not self._metric:
            return False
        value = look_up(logs, self._metric)
        if value is None or (self.value is not None and self._sign * value <= self._sign * self.value):
            return False
        save(self._checkpoint, self._folder, step)
        files.write_json(self._info, {"metric": self._metric, "value": value, "step": step})
        if _remove_all_but([os.path.join(self._folder, f"ckpt-{step}")], self._folder):
            _write_state(self._folder, step)
        self.value = value
        return True


def look_up(logs: dict[str, Any], metric: str, setting: str = "trainer.best_checkpoint_eval_metric") -> float | None:
    """Returns a metric by its name, with `/` between the levels.

    Args:
      logs: the metrics of one evaluation.
      metric: the name.
      setting: the setting that contains the name, for the message.

    Raises:
      ValueError: there is no metric with this name.
    """
    value: Any = logs
    for key in metric.split("/"):
        if not isinstance(value, dict) or key not in value:
            raise ValueError(f"{setting}: the evaluation has no metric `{metric}`, only {_join_names(logs)}")
        value = value[key]
    return None if value is None else float(value)


def _join_names(logs: dict[str, Any], prefix: str = "") -> str:
    names = []
    for key, value in logs.items():
        names.append(_join_names(value, f"{prefix}{key}/") if isinstance(value, dict) else prefix + key)
    return ", ".join(names)


class Results:
    """The files of metrics: `metrics.json` for the evaluation of the last step, `metrics.jsonl` for all evaluations."""

    def __init__(self, model_dir: str, writes_to: str = "") -> None:
        """Reads the evaluations of earlier runs.

        Args:
          model_dir: the model directory.
          writes_to: another directory for writing.
        """
        self._folder = writes_to or model_dir
        self._latest = os.path.join(self._folder, "metrics.json")
        self._all = os.path.join(self._folder, "metrics.jsonl")
        self.rows = _read_rows(os.path.join(model_dir, "metrics.jsonl"))

    def steps(self) -> set[int]:
        """Returns the steps of all evaluations."""
        return {row["step"] for row in self.rows}

    def forget_later(self, step: int) -> None:
        """Removes the evaluations of later steps, which will be made again after resuming from `step`."""
        self.rows = [row for row in self.rows if row["step"] <= step]

    def write(self, logs: dict[str, Any]) -> None:
        """Adds an evaluation, and replaces an earlier one of the same step.

        Args:
          logs: the metrics. `resources`, the time and memory used by the process, is written to `metrics.json` only: the rows of
            `metrics.jsonl` are the same for an interrupted and an uninterrupted run.

        Raises:
          OSError: a file cannot be written.
        """
        others = [row for row in self.rows if row["step"] != logs["step"]]
        row = {key: value for key, value in logs.items() if key != "resources"}
        rows = sorted([*others, row], key=lambda row: row["step"])
        # The order matters: a step in `metrics.jsonl` is not evaluated again after a kill, so `metrics.json` must be written first.
        files.write_json(self._latest, logs if rows[-1] is row else rows[-1])
        files.write_text(self._all, "".join(json.dumps(row) + "\n" for row in rows))
        self.rows = rows

    def write_alone(self, logs: dict[str, Any]) -> str:
        """Writes a separate evaluation without replacing those of training.

        Returns:
          The path of the file, `metrics-ckpt-STEP.json`. If the step was not evaluated before, it is also added to the other files.

        Raises:
          OSError: a file cannot be written.
        """
        path = os.path.join(self._folder, f"metrics-ckpt-{logs['step']}.json")
        files.write_json(path, logs)
        if logs["step"] not in self.steps():
            self.write(logs)
        return path


def _read_rows(path: str) -> list[dict[str, Any]]:
    """Reads the evaluations in a file; other lines, as in a truncated copy, are left out with a warning."""
    if not files.exists(path):
        return []
    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            lines = file.read().split(b"\n")
    except tf.errors.OpError as error:
        raise OSError(f"cannot read {path}: {first_line(error)}") from error
    rows = [(number, _parse_row(line)) for number, line in enumerate(lines, 1) if line.strip()]
    unreadable = [str(number) for number, row in rows if row is None]
    if unreadable:
        print(f"warning: {path}: line {', '.join(unreadable[:5])} is not an evaluation and is left out", flush=True)
    return [row for _, row in rows if row is not None]


def _parse_row(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) and type(row.get("step")) is int else None
