"""Checkpoints that are always whole: saving, restoring with a fallback, and keeping the best."""

import json
import os
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tpuseg.io import checkpoint_files, files
from tpuseg.io.checkpoint_files import listed, open_reader, step_of
from tpuseg.utils.error_text import first_line

__all__ = ["BestCheckpoint", "Checkpoints", "Results", "SaveError", "find", "listed", "open_reader", "restore", "save", "step_of"]

BEST_FOLDER = "best_checkpoint"
_STATE_FILE = "checkpoint"


class SaveError(OSError):
    """A checkpoint could not be saved; the earlier ones are as they were."""


class Checkpoints:
    """The checkpoints of one run."""

    def __init__(self, checkpoint: tf.train.Checkpoint, folder: str, max_to_keep: int, writes_to: str = "") -> None:
        """Reads nothing yet.

        Args:
          checkpoint: what is saved and restored.
          folder: where.
          max_to_keep: older ones are deleted.
          writes_to: where they are saved, if not there; then nothing is moved or deleted in `folder`.
        """
        self._checkpoint = checkpoint
        self._folder = folder
        self._writes_to = writes_to or folder
        self._max_to_keep = max_to_keep
        # The step that was restored or saved last: a newer checkpoint that is damaged is to be saved again.
        self._newest_step: int | None = None

    def restore_newest(self) -> str | None:
        """Restores the newest checkpoint that is intact.

        A damaged one (a full disk, an incomplete copy, a flipped bit) is passed over for the one before it, with a line that says
        so, and moved aside once the other one is restored.

        Returns:
          The checkpoint's path; None if there is none yet.

        Raises:
          ValueError: there are checkpoints but none of them is intact, or they are of another model. Nothing was changed.
        """
        damaged: dict[str, str] = {}
        for path in reversed(listed(self._folder)):
            fault = checkpoint_files.damage(path)
            if fault is None:
                restore(self._checkpoint, path)
                self._newest_step = step_of(path)
                self._set_aside(damaged)
                return path
            damaged[path] = fault
        unfinished = _require_none_there(self._folder, damaged)
        self._set_aside(dict.fromkeys(unfinished, "it has data but no index, as a save that was killed leaves"))
        return None

    def _set_aside(self, damaged: dict[str, str]) -> None:
        for path, fault in damaged.items():
            moved = ""
            if self._writes_to == self._folder:
                moved = f"; it is moved to {checkpoint_files.set_aside(path)}"
            print(f"warning: checkpoint {path} is damaged ({fault}){moved}", flush=True)

    def save_if_new(self, step: int) -> None:
        """Saves a checkpoint of this step unless it was restored from one, or saved.

        Raises:
          SaveError: it cannot be saved.
        """
        if self._newest_step != step:
            save(self._checkpoint, self._writes_to, step)
            self._newest_step = step
            if _remove_all_but(listed(self._writes_to)[-self._max_to_keep :], self._writes_to):
                _write_state(self._writes_to, step)


def _require_none_there(folder: str, damaged: dict[str, str]) -> list[str]:
    """Raises ValueError if a folder has checkpoints that cannot be resumed, which training would write over.

    Returns:
      What is no such checkpoint, but the part of one that a run was killed at before it had any.
    """
    without_index = checkpoint_files.without_index(folder)
    had_one = any(files.exists(os.path.join(folder, name)) for name in (_STATE_FILE, BEST_FOLDER, "metrics.jsonl"))
    if len(without_index) == 1 and not damaged and not had_one:
        return [os.path.join(folder, without_index[0])]
    found = [f"{os.path.basename(path)} is damaged ({fault})" for path, fault in damaged.items()]
    found += [f"{name} has data but no index" for name in without_index]
    best = listed(os.path.join(folder, BEST_FOLDER))
    if not found and best:
        found = [f"there is only the best checkpoint {os.path.join(BEST_FOLDER, os.path.basename(best[-1]))}"]
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
    """Saves a checkpoint, and names it in TensorFlow's state file for other programs.

    Args:
      checkpoint: what is saved.
      folder: made if it is not there.
      step: for the name, `ckpt-STEP`.

    Raises:
      SaveError: it cannot be saved; no part of it is left.
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
            "  earlier checkpoints are as they were; when the cause is removed (free space on the disk, for instance), the same"
            " command continues from the newest one"
        ) from error


def _write(checkpoint: tf.train.Checkpoint, path: str) -> None:
    """Writes a checkpoint; once more if somebody removed the folder in the same moment."""
    tf.io.gfile.makedirs(os.path.dirname(path))
    try:
        checkpoint.write(path)
    except tf.errors.NotFoundError:
        # Workers save together: one of them alone would wait for the others for ever.
        if isinstance(tf.distribute.get_strategy(), tf.distribute.MultiWorkerMirroredStrategy):
            raise
        tf.io.gfile.makedirs(os.path.dirname(path))
        checkpoint.write(path)


def _write_state(folder: str, step: int) -> None:
    names = [os.path.basename(path) for path in listed(folder)]
    lines = [f'model_checkpoint_path: "ckpt-{step}"', *(f'all_model_checkpoint_paths: "{name}"' for name in names)]
    files.write_text(os.path.join(folder, _STATE_FILE), "\n".join(lines) + "\n")


def _discard(path: str) -> None:
    """Removes what a failed save left, as far as possible: on a full disk it takes the space that is needed to continue."""
    try:
        checkpoint_files.remove_unfinished(os.path.dirname(path))
        if not files.exists(f"{path}.index"):
            checkpoint_files.remove(path)
    except (tf.errors.OpError, OSError):
        pass  # The next save tries again.


def _remove_all_but(kept: Sequence[str], folder: str) -> bool:
    """Removes other checkpoints, and the data of older ones that a kill left without an index; returns whether there were any."""
    oldest = min(map(step_of, kept), default=0)
    left = [os.path.join(folder, name) for name in checkpoint_files.without_index(folder)]
    others = [path for path in listed(folder) if path not in kept] + [path for path in left if step_of(path) < oldest]
    for path in others:
        checkpoint_files.remove(path)
    return bool(others)


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


def restore(checkpoint: tf.train.Checkpoint, path: str) -> None:
    """Restores every existing object from a checkpoint.

    Raises:
      ValueError: the checkpoint is of another model, or damaged; says what to do.
      FileNotFoundError: the checkpoint was removed meanwhile.
    """
    try:
        status = checkpoint.restore(checkpoint_files.readable(path))
        status.expect_partial().assert_existing_objects_matched()
    except (AssertionError, ValueError) as error:
        raise ValueError(
            f"checkpoint {path} is of another model or optimizer than this experiment: {first_line(error)}\n"
            "  use another --model_dir, or the experiment that wrote it (config.yaml beside it)"
        ) from error
    except (tf.errors.OpError, RuntimeError, IndexError) as error:
        if not files.exists(f"{path}.index"):
            raise FileNotFoundError(f"checkpoint {path} was removed while it was read") from error
        raise ValueError(f"checkpoint {path} cannot be read: {first_line(error)}") from error


def find(path: str) -> str:
    """Returns the prefix of a checkpoint, all of whose values can be read.

    Args:
      path: a prefix (`.../ckpt-1200`), or a folder, whose best checkpoint is meant if it has one, else its newest. A damaged one is
        passed over for the next, with a line that says so.

    Raises:
      ValueError: there is none, or the one that is named is damaged; says what is there.
    """
    if files.exists(path + ".index"):
        fault = checkpoint_files.damage(path)
        if fault is None:
            return path
        others = [each for each in checkpoint_files.all_listed(os.path.dirname(path)) if each != path]
        intact = ", ".join(each for each in others if checkpoint_files.damage(each) is None) or "none"
        raise ValueError(f"checkpoint {path} is damaged ({fault}); copy it again or name another one (intact ones there: {intact})")
    if tf.io.gfile.isdir(path):
        return _newest_intact(path)
    known = ", ".join(checkpoint_files.all_listed(os.path.dirname(path) or ".")) or "none"
    raise ValueError(f"there is no checkpoint {path} (checkpoints there: {known})")


def _newest_intact(folder: str) -> str:
    damaged = []
    for each in (os.path.join(folder, BEST_FOLDER), folder):
        for path in reversed(checkpoint_files.all_listed(each)):
            fault = checkpoint_files.damage(path)
            if fault is None:
                return path
            damaged.append(f"{path} ({fault})")
            print(f"warning: checkpoint {path} is damaged ({fault}) and is passed over", flush=True)
    if damaged:
        raise ValueError(f"every checkpoint of {folder} is damaged: {', '.join(damaged[:3])}; copy them again")
    raise ValueError(f"{folder} holds no checkpoint; train first, or name one (.../ckpt-1200)")


class BestCheckpoint:
    """Keeps the checkpoint with the best evaluation metric, over restarts too."""

    def __init__(
        self,
        model_dir: str,
        metric: str,
        comparison: str,
        checkpoint: tf.train.Checkpoint,
        writes_to: str = "",
        evaluations: Sequence[dict[str, Any]] = (),
    ) -> None:
        """Reads what an earlier run found best.

        Args:
          model_dir: the best checkpoint lies in its folder `best_checkpoint`.
          metric: name of a metric, `bbox/AP` for a nested one; empty keeps none.
          comparison: `higher` or `lower` is better.
          checkpoint: what is saved.
          writes_to: the directory that is written to, if it is another one.
          evaluations: earlier ones, from which the best value is taken if the file with it cannot be read.
        """
        self._metric = metric
        self._sign = 1 if comparison == "higher" else -1
        self._checkpoint = checkpoint
        self._reads_from = os.path.join(model_dir, BEST_FOLDER)
        self._folder = os.path.join(writes_to or model_dir, BEST_FOLDER)
        self._info = os.path.join(self._folder, "info.json")
        self.value = self._earlier_value(evaluations) if metric else None

    def _earlier_value(self, evaluations: Sequence[dict[str, Any]]) -> float | None:
        path = os.path.join(self._reads_from, "info.json")
        if not files.exists(path):
            return None
        try:
            info = files.read_json(path)
            # Written after its checkpoint, so that a kill between the two only means that a better one is kept later.
            return float(info["value"]) if info["metric"] == self._metric else None
        except (ValueError, TypeError, KeyError, OSError) as error:
            value = self._evaluated(evaluations)
            known = "unknown, so the next evaluation counts as best" if value is None else f"{value:.4f}, as metrics.jsonl says"
            reason = first_line(error)
            print(f"warning: {path} cannot be read ({reason}); the best value so far is {known}", flush=True)
            return value

    def _evaluated(self, evaluations: Sequence[dict[str, Any]]) -> float | None:
        """Returns the metric of the evaluation that the best checkpoint was kept after, if it is among the earlier ones."""
        steps = [step_of(path) for path in listed(self._reads_from)[-1:]]
        try:
            values = [look_up(row, self._metric) for row in evaluations if row["step"] in steps]
        except (ValueError, TypeError):
            return None
        return values[-1] if values else None

    def forget_if_damaged(self) -> None:
        """Moves a damaged best checkpoint aside, so that the next evaluation is kept as the best."""
        for path in reversed(listed(self._reads_from)):
            fault = checkpoint_files.damage(path)
            if fault is None:
                return
            moved = f"; it is moved to {checkpoint_files.set_aside(path)}" if self._folder == self._reads_from else ""
            print(f"warning: the best checkpoint {path} is damaged ({fault}){moved}; the next one is kept as best", flush=True)
        # Also without any: another worker may have moved it, and all of them must decide alike.
        self.value = None

    def update(self, logs: dict[str, Any], step: int) -> bool:
        """Saves a checkpoint if the metric is better than ever before.

        Raises:
          ValueError: the evaluation has no such metric; lists those that it has.
          SaveError: it cannot be saved.
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
      setting: what has named the metric, for the message.

    Raises:
      ValueError: there is none of that name.
    """
    value: Any = logs
    for key in metric.split("/"):
        if not isinstance(value, dict) or key not in value:
            raise ValueError(f"{setting}: the evaluation has no metric `{metric}`, only {_names(logs)}")
        value = value[key]
    return None if value is None else float(value)


def _names(logs: dict[str, Any], prefix: str = "") -> str:
    names = []
    for key, value in logs.items():
        names.append(_names(value, f"{prefix}{key}/") if isinstance(value, dict) else prefix + key)
    return ", ".join(names)


class Results:
    """The metrics of every evaluation, as files: `metrics.json` that of the last step, `metrics.jsonl` all of them."""

    def __init__(self, model_dir: str, writes_to: str = "") -> None:
        """Reads what earlier runs found.

        Args:
          model_dir: where the files are.
          writes_to: the directory that is written to, if it is another one.
        """
        self._folder = writes_to or model_dir
        self._latest = os.path.join(self._folder, "metrics.json")
        self._all = os.path.join(self._folder, "metrics.jsonl")
        self.rows = _read_rows(os.path.join(model_dir, "metrics.jsonl"))

    def steps(self) -> set[int]:
        """Returns the steps that have been evaluated."""
        return {row["step"] for row in self.rows}

    def forget_later(self, step: int) -> None:
        """Forgets evaluations of later steps, which training that goes on from `step` will make again."""
        self.rows = [row for row in self.rows if row["step"] <= step]

    def write(self, logs: dict[str, Any]) -> None:
        """Adds an evaluation; an earlier one of the same step is replaced.

        Raises:
          OSError: a file cannot be written.
        """
        others = [row for row in self.rows if row["step"] != logs["step"]]
        rows = sorted([*others, logs], key=lambda row: row["step"])
        # In this order: a step among all evaluations is not evaluated again after a kill, so the latest must be there by then.
        files.write_json(self._latest, rows[-1])
        files.write_text(self._all, "".join(json.dumps(row) + "\n" for row in rows))
        self.rows = rows

    def write_alone(self, logs: dict[str, Any]) -> str:
        """Writes an evaluation that was asked for by itself, and replaces none that training made.

        Returns:
          The file: `metrics-ckpt-STEP.json`. A step that was never evaluated is also added to the others.

        Raises:
          OSError: a file cannot be written.
        """
        path = os.path.join(self._folder, f"metrics-ckpt-{logs['step']}.json")
        files.write_json(path, logs)
        if logs["step"] not in self.steps():
            self.write(logs)
        return path


def _read_rows(path: str) -> list[dict[str, Any]]:
    """Returns the evaluations in a file; lines that are none, as a copy that was cut off has, are left out with a warning."""
    if not files.exists(path):
        return []
    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            lines = file.read().split(b"\n")
    except tf.errors.OpError as error:
        raise OSError(f"cannot read {path}: {first_line(error)}") from error
    rows = [(number, _row(line)) for number, line in enumerate(lines, 1) if line.strip()]
    unreadable = [str(number) for number, row in rows if row is None]
    if unreadable:
        print(f"warning: {path}: line {', '.join(unreadable[:5])} is no evaluation and is left out", flush=True)
    return [row for _, row in rows if row is not None]


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) and type(row.get("step")) is int else None
