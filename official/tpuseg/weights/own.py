"""Checkpoints that this project wrote: the part of one that fits a model."""

from typing import Any

import tensorflow as tf
import tf_keras

from tpuseg import checkpoints
from tpuseg.weights.report import Report

_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"


def load(model: tf_keras.Model, path: str, settings: Any) -> Report:
    """Restores every variable whose place in the model and shape are those in the checkpoint.

    Args:
      model: with its variables created.
      path: a checkpoint's prefix, or a folder, whose best checkpoint is meant if it has one, else its newest.
      settings: the model's configuration, `task.model`.

    Raises:
      ValueError: there is no checkpoint.
    """
    prefix = checkpoints.find(path)
    report = Report(prefix)
    reader = tf.train.load_checkpoint(prefix)
    shapes = reader.get_variable_to_shape_map()
    stored = {key for key in shapes if key.startswith("model/") and "/.OPTIMIZER_SLOT/" not in key}
    for name, variable in variables_by_name(model).items():
        key = f"model/{name}{_VALUE}"
        if key not in stored:
            report.skipped.append((variable.name, "not in the checkpoint"))
            continue
        stored.discard(key)
        if shapes[key] != variable.shape.as_list():
            report.skipped.append((variable.name, f"{shapes[key]} in the checkpoint, {variable.shape.as_list()} in the model"))
            continue
        variable.assign(reader.get_tensor(key))
        report.restored.append(variable.name)
    report.unused = sorted(key.removesuffix(_VALUE) for key in stored)
    return report


def variables_by_name(model: tf_keras.Model) -> dict[str, tf.Variable]:
    """Returns the model's variables under the names that `tf.train.Checkpoint(model=model)` gives them, without that root."""
    # The object graph is walked as a checkpoint walks it, so that the names are those of the file.
    found: dict[str, tf.Variable] = {}
    seen: set[int] = set()
    queue: list[tuple[str, tf.__internal__.tracking.Trackable]] = [("", model)]
    while queue:
        path, node = queue.pop(0)
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, tf.Variable):
            found[path[1:]] = node
        for name, child in node._trackable_children().items():
            queue.append((f"{path}/{name.replace('/', '.S')}", child))
    return found
