"""Checkpoints that this project wrote: the part of one that fits a model, and the record of what its weights need.

A run's checkpoints have the run's configuration beside them; one that was imported carries the record inside.
"""

import json
import os
from typing import Any

import tensorflow as tf
import tf_keras

from tpuseg.configs import experiments, schema
from tpuseg.io import checkpoints, yaml_files
from tpuseg.weights import input_channels, model_layers, requirements
from tpuseg.weights.report import ABSENT, Report

_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
CLASSIFIER_UNWANTED = "task.init_classifier is false: it is initialised randomly"
_RECORD = f"weights_record{_VALUE}"


def record(report: Report, settings: schema.InputConfig) -> tf.Variable:
    """Returns what goes into an imported checkpoint under `weights_record`: where it is from, and what its weights need."""
    content = {"source": report.source, "what": report.what, "task.model": requirements.of_settings(settings)}
    return tf.Variable(json.dumps(content), trainable=False, dtype=tf.string)


def read_record(prefix: str) -> tuple[str, dict[str, Any]]:
    """Returns what a checkpoint is, in words, and the settings below `task.model` that its weights need, as far as it is known."""
    reader = checkpoints.open_reader(prefix)
    if reader.has_tensor(_RECORD):
        content = json.loads(reader.get_tensor(_RECORD))
        return content["what"], requirements.with_current_names(content["task.model"])
    path = checkpoints.find_beside(prefix, experiments.CONFIG_FILE)
    if path is None:
        return "", {}
    return f"a checkpoint of the run in {os.path.dirname(path)}", requirements.of_values(_model_values(path))


def _model_values(path: str) -> dict[str, Any]:
    try:
        return dict(yaml_files.read(path).values["task"]["model"])
    except (TypeError, KeyError, ValueError) as error:
        raise ValueError(f"{path} is not the configuration of a run: {error}") from error


def load(model: tf_keras.Model, path: str, settings: schema.InputConfig, classifier: bool = True) -> Report:
    """Restores every variable whose place in the model and shape are those in the checkpoint.

    Args:
      model: with its variables created.
      path: a checkpoint's prefix, or a folder, whose best checkpoint is meant if it has one, else its newest.
      settings: the model's configuration, `task.model`.
      classifier: whether layers that have values for each class are restored.

    Raises:
      ValueError: there is no checkpoint, or its weights require other settings.
    """
    prefix = checkpoints.find(path)
    what, required = read_record(prefix)
    requirements.check(prefix, what, input_channels.require_adaptable(prefix, required, settings), settings)
    report = Report(prefix, what=what, class_layers=frozenset(model_layers.class_layers(model)))
    reader = checkpoints.open_reader(prefix)
    shapes = reader.get_variable_to_shape_map()
    stored = {key for key in shapes if key.startswith("model/") and "/.OPTIMIZER_SLOT/" not in key}
    for name, variable in variables_by_name(model).items():
        key = f"model/{name}{_VALUE}"
        if key not in stored:
            report.skipped.append((name, ABSENT))
            continue
        stored.discard(key)
        if not classifier and name.rpartition("/")[0] in report.class_layers:
            report.skipped.append((name, CLASSIFIER_UNWANTED))
            continue
        if input_channels.differ_alone(name, shapes[key], variable.shape.as_list()):
            variable.assign(input_channels.adapt_to(settings, reader.get_tensor(key)))
            report.notes.append(input_channels.note(name, settings))
            report.restored.append(name)
            continue
        if shapes[key] != variable.shape.as_list():
            report.skipped.append((name, f"{shapes[key]} in the checkpoint, {variable.shape.as_list()} in the model"))
            continue
        variable.assign(reader.get_tensor(key))
        report.restored.append(name)
    report.unused = sorted(key.removesuffix(_VALUE) for key in stored)
    return report


def variables_by_name(model: tf_keras.Model) -> dict[str, tf.Variable]:
    """Returns the model's variables under the names that `tf.train.Checkpoint(model=model)` gives them, without that root."""
    # The object graph is walked as a checkpoint walks it, so that the names are those of the file.
    found: dict[str, tf.Variable] = {}
    seen: set[int] = set()
    view = tf.train.TrackableView(model)
    queue: list[tuple[str, Any]] = [("", model)]
    while queue:
        path, node = queue.pop(0)
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, tf.Variable):
            found[path[1:]] = node
        for name, child in view.children(node).items():
            queue.append((f"{path}/{name.replace('/', '.S')}", child))
    return found
