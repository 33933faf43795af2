"""The model directory: writing the run's configuration, and preparing the directory for another run."""

import os
import re
import time
from typing import Any

import tensorflow as tf

from tpuseg.configs import experiments, schema
from tpuseg.io import checkpoint_files, checkpoints, files, yaml_files
from tpuseg.utils.error_text import first_line

# Folders of images with predictions and ground truth, and of the report about the last evaluation.
PICTURES_FOLDER, REPORT_FOLDER = "pictures", "report"
# Longest side in pixels of the images in this folder; larger ones are reduced.
PICTURE_SIDE = 2048
# Files and folders that a run writes, which `start_over` moves aside; it does not change others.
_OF_A_RUN = re.compile(
    r"(ckpt-\d+(\.index|\.data-.*|_temp)|checkpoint|best_checkpoint|damaged_checkpoints|metrics.*\.jsonl?|config.*\.yaml"
    rf"|classes\.json|categories\.json|detections.*\.json|{PICTURES_FOLDER}|{REPORT_FOLDER}|train|validation)/?$"
)
_MAX_SHOWN = 12
_NEW_KEYS = "settings that the file does not have are the experiment's"


def write_config(experiment: schema.ExperimentConfig, model_dir: str) -> None:
    """Writes the resolved configuration into the model directory."""
    files.write_text(os.path.join(model_dir, experiments.CONFIG_FILE), experiments.to_yaml(experiment))


def config_path(model_dir: str) -> str:
    """Returns the path of a run's configuration; raises ValueError if the folder is not a model directory."""
    path = os.path.join(model_dir, experiments.CONFIG_FILE)
    if not files.exists(path):
        raise ValueError(
            f"{model_dir} has no {experiments.CONFIG_FILE}, so it is not a model directory; train with --model_dir={model_dir}"
        )
    return path


def update_config(experiment: schema.ExperimentConfig, model_dir: str, step: int | None) -> None:
    """Writes the configuration of a run that continues, prints the changes, and keeps the earlier configuration.

    Args:
      experiment: the new configuration.
      model_dir: model directory of the run.
      step: step from which the run continues; None for a new run. The earlier configuration is kept as
        `config-until-step-STEP.yaml`.
    """
    path = os.path.join(model_dir, experiments.CONFIG_FILE)
    if files.exists(path):
        changes = changed_settings(path, experiment)
        if changes == []:
            return
        if step is not None and changes != [_NEW_KEYS]:
            kept = os.path.join(model_dir, f"config-until-step-{step}.yaml")
            if not files.exists(kept):
                files.write_bytes(kept, files.read_bytes(path))
            _print_changes(path, changes, kept)
    write_config(experiment, model_dir)


def _print_changes(path: str, changes: list[str] | None, kept: str) -> None:
    if changes is None:
        print(f"warning: {path} is not the configuration of a run; it is kept as {kept}", flush=True)
        return
    print(f"changed settings (the earlier ones are kept in {kept}):", flush=True)
    for line in changes[:_MAX_SHOWN]:
        print(f"  {line}", flush=True)
    if len(changes) > _MAX_SHOWN:
        print(f"  and {len(changes) - _MAX_SHOWN} more", flush=True)


def changed_settings(path: str, experiment: schema.ExperimentConfig) -> list[str] | None:
    """Returns a line `key: before -> now` for each setting that differs from a written configuration.

    One more line stands for all keys that the file does not have because an earlier version of the program wrote it.

    Args:
      path: path of the written configuration.
      experiment: the new configuration.

    Returns:
      The lines; None if the file is not a configuration.
    """
    try:
        before = yaml_files.read(path).values
    except ValueError:
        return None
    if "architecture" not in before:
        return None
    old, new = _flatten(before), _flatten(experiment.as_dict())
    lines = [f"{key}: {old[key]} -> {value}" for key, value in new.items() if key in old and old[key] != value]
    return lines + [_NEW_KEYS] * (not new.keys() <= old.keys())


def _flatten(values: dict[Any, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            found |= _flatten(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = list(value) if isinstance(value, tuple) else value
    return found


def start_over(model_dir: str) -> None:
    """Moves the files of an earlier run in a model directory into a subfolder, so that a new run starts at step 0.

    Raises:
      OSError: the files cannot be moved.
    """
    names = [name for name in checkpoint_files.names(model_dir) if _OF_A_RUN.match(name)]
    if not names:
        return
    target = os.path.join(model_dir, time.strftime("earlier-run-%Y%m%d-%H%M%S"))
    try:
        tf.io.gfile.makedirs(target)
        # The indexes are moved first, so that a kill between two files never leaves an incomplete checkpoint with an index.
        for name in sorted(names, key=lambda name: (not name.endswith(".index"), name)):
            tf.io.gfile.rename(os.path.join(model_dir, name.rstrip("/")), os.path.join(target, name.rstrip("/")))
    except tf.errors.OpError as error:
        raise OSError(f"cannot move {model_dir}'s earlier run to {target}: {first_line(error)}") from error
    print(f"starting over: the earlier run is in {target}", flush=True)


def require_same_architecture(model_dir: str, architecture: str) -> None:
    """Raises ValueError if a directory has checkpoints of another architecture, before a model is built, which takes minutes."""
    path = os.path.join(model_dir, experiments.CONFIG_FILE)
    if not checkpoints.list_checkpoints(model_dir) or not files.exists(path):
        return
    try:
        before = yaml_files.read(path).values.get("architecture")
    except ValueError:
        return  # Training overwrites the file.
    if before and before != architecture:
        raise ValueError(
            f"{model_dir} is the model directory of a {before} run, but this experiment is for {architecture}; nothing was changed:"
            " use another --model_dir, or the experiment that wrote it (config.yaml there)"
        )
