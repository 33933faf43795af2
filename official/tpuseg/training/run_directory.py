"""What a model directory holds beside checkpoints: the run's configuration, and how a directory is given to another run."""

import os
import re
import time
from typing import Any

import tensorflow as tf

from tpuseg.configs import experiments, schema
from tpuseg.io import checkpoint_files, checkpoints, files, yaml_files
from tpuseg.utils.error_text import first_line

# Of the images of predictions beside the truth.
PICTURES_FOLDER = "pictures"
# What a run writes, and what `start_over` therefore moves aside; everything else in the directory stays.
_OF_A_RUN = re.compile(
    r"(ckpt-\d+(\.index|\.data-.*|_temp)|checkpoint|best_checkpoint|damaged_checkpoints|metrics.*\.jsonl?|config.*\.yaml"
    rf"|classes\.json|categories\.json|detections.*\.json|{PICTURES_FOLDER}|train|validation)/?$"
)
_MAX_SHOWN = 12
_NEW_KEYS = "settings that the file does not have are the experiment's"


def write_config(experiment: schema.ExperimentConfig, model_dir: str) -> None:
    """Writes the resolved configuration into the model directory."""
    files.write_text(os.path.join(model_dir, experiments.CONFIG_FILE), experiments.to_yaml(experiment))


def update_config(experiment: schema.ExperimentConfig, model_dir: str, step: int | None) -> None:
    """Writes the configuration of a run that continues; says what is different, and keeps the one that it had until now.

    Args:
      experiment: the configuration from now on.
      model_dir: model directory of the run.
      step: that the run continues from; None for a new run. The earlier configuration is kept as `config-until-step-STEP.yaml`.
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

    Keys that the file does not have, because an earlier version of the program wrote it, are one line together.

    Args:
      path: path of the written configuration.
      experiment: the configuration now.

    Returns:
      The lines; None if the file is not a configuration.
    """
    try:
        before = yaml_files.read(path).values
    except ValueError:
        return None
    if "architecture" not in before:
        return None
    old, new = _flat(before), _flat(experiment.as_dict())
    lines = [f"{key}: {old[key]} -> {value}" for key, value in new.items() if key in old and old[key] != value]
    return lines + [_NEW_KEYS] * (not new.keys() <= old.keys())


def _flat(values: dict[Any, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = list(value) if isinstance(value, tuple) else value
    return found


def start_over(model_dir: str) -> None:
    """Moves what an earlier run left in a model directory into a folder inside, so that a new run starts at step 0.

    Raises:
      OSError: it cannot be moved.
    """
    names = [name for name in checkpoint_files.names(model_dir) if _OF_A_RUN.match(name)]
    if not names:
        return
    target = os.path.join(model_dir, time.strftime("earlier-run-%Y%m%d-%H%M%S"))
    try:
        tf.io.gfile.makedirs(target)
        # The indexes first: a kill between two files then never leaves a checkpoint that looks intact.
        for name in sorted(names, key=lambda name: (not name.endswith(".index"), name)):
            tf.io.gfile.rename(os.path.join(model_dir, name.rstrip("/")), os.path.join(target, name.rstrip("/")))
    except tf.errors.OpError as error:
        raise OSError(f"cannot move {model_dir}'s earlier run to {target}: {first_line(error)}") from error
    print(f"starting over: the earlier run is in {target}", flush=True)


def require_same_architecture(model_dir: str, architecture: str) -> None:
    """Raises ValueError if a directory has checkpoints of another architecture, before minutes go into building a model."""
    path = os.path.join(model_dir, experiments.CONFIG_FILE)
    if not checkpoints.list_checkpoints(model_dir) or not files.exists(path):
        return
    try:
        before = yaml_files.read(path).values.get("architecture")
    except ValueError:
        return  # Training writes it again.
    if before and before != architecture:
        raise ValueError(
            f"{model_dir} is the model directory of a {before} run, but this experiment is for {architecture}; nothing was changed:"
            " use another --model_dir, or the experiment that wrote it (config.yaml there)"
        )
