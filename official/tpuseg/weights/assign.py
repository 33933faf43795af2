"""Puts another library's weights into a model: settings compared, classes matched, the rest shape by shape."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf
import tf_keras

from tpuseg.configs import schema
from tpuseg.layers.class_layers import ClassLayer
from tpuseg.utils.messages import format_count
from tpuseg.weights import input_channels, model_layers, own, requirements
from tpuseg.weights.external import ExternalWeights
from tpuseg.weights.own import CLASSIFIER_UNWANTED
from tpuseg.weights.report import ABSENT, Report


@dataclasses.dataclass
class _Classes:
    """Which row of the file's classifier each class of the model gets.

    Attributes:
      rows: one a class of the model, -1 to leave it as it is; None drops the classifier.
      why: it is dropped.
      names: names of the model's classes, as far as the file has them.
      note: what a user should know about the choice.
    """

    rows: list[int] | None
    why: str = ""
    names: list[str | None] | None = None
    note: str = ""


def assign(
    model: tf_keras.Model,
    external: ExternalWeights,
    settings: schema.InputConfig,
    class_names: Sequence[str] | None = None,
    classifier: bool = True,
) -> Report:
    """Assigns the external weights to the layers of a model that they match.

    Args:
      model: with its variables created.
      external: the weights.
      settings: the model's configuration, `task.model`.
      class_names: names of the model's classes; the classifier keeps the rows of equal names. Without them it is kept
        unchanged if it has as many classes, and skipped otherwise.
      classifier: whether layers with one output per class are restored at all.

    Raises:
      ValueError: the model's settings differ from those that the weights require, or no class has an equal name.
    """
    required = input_channels.require_adaptable(external.path, external.required, settings)
    requirements.check(external.path, external.what, required, settings)
    class_layers = model_layers.class_layers(model)
    report = Report(external.path, what=external.what, class_layers=frozenset(class_layers))
    classes = _Classes(None, CLASSIFIER_UNWANTED)
    if classifier:
        classes = _match_classes(external, _num_rows(external, class_layers), settings.num_classes, class_names)
    report.class_names = classes.names
    values = external.layer_values(settings.norm.epsilon)
    for layer, variables in _layers(model).items():
        prepared = _prepare(layer, values.pop(layer, None), variables, external, classes, model)
        if isinstance(prepared, str):
            report.skipped.append((layer, prepared))
            continue
        for name, variable in variables.items():
            value, full = prepared[name], f"{layer}/{name}"
            if input_channels.differ_alone(full, value.shape, variable.shape.as_list()):
                value = input_channels.adapt_to(settings, value)
                report.notes.append(input_channels.note(full, settings))
            variable.assign(value)
        report.restored.append(layer)
    report.unused = sorted({external.origins[layer] for layer in values} | set(external.unused))
    report.notes += [classes.note] if classes.note else []
    report.notes += _advice(external, settings, {layer.partition("/")[0] for layer in report.restored})
    return report


def _advice(external: ExternalWeights, settings: schema.InputConfig, restored: set[str]) -> list[str]:
    """Returns a line for every setting of restored parts that is not the source's."""
    different = requirements.differences(external.advised, settings)
    if all(size % 32 == 1 for size in settings.input_size):
        different.pop("backbone.resnet.padding", None)  # Equal for inputs of odd size at every stride.
    if restored <= {"backbone"}:
        different = {key: value for key, value in different.items() if key.startswith("backbone.")}
    return _about_scaling(external, settings) + [
        f"task.model.{key} is {schema.look_up(settings, key)}, but {value} where the weights are from: outputs will differ"
        for key, value in different.items()
    ]


def _about_scaling(external: ExternalWeights, settings: schema.InputConfig) -> list[str]:
    """Returns a line if RGB pixels are scaled by numbers of the user's own."""
    if settings.num_channels != 3 or not settings.pixel_mean:
        return []
    scaling = external.required.get("pixel_scaling", settings.pixel_scaling)
    return [f"task.model.pixel_mean and pixel_stddev are set, but the weights were trained with pixel_scaling {scaling}"]


def _layers(model: tf_keras.Model) -> dict[str, dict[str, tf.Variable]]:
    """Returns the variables that are weights by layer and last name."""
    layers: dict[str, dict[str, tf.Variable]] = {}
    for name, variable in own.variables_by_name(model).items():
        if variable.dtype.is_floating:  # Integer variables count steps.
            layer, _, last = name.rpartition("/")
            layers.setdefault(layer, {})[last] = variable
    return layers


def _prepare(
    layer: str,
    values: dict[str, np.ndarray] | None,
    variables: dict[str, tf.Variable],
    external: ExternalWeights,
    classes: _Classes,
    model: tf_keras.Model,
) -> dict[str, np.ndarray] | str:
    """Returns a layer's values as the model has them, or why there are none."""
    refused = [why for part, why in external.refused.items() if f"{layer}/".startswith(f"{part}/")]
    if refused:
        return refused[0]
    if values is None:
        return ABSENT
    class_layers, anchor_layers = model_layers.class_layers(model), model_layers.anchor_layers(model)
    if layer in class_layers:
        if classes.rows is None:
            return classes.why
        kind = class_layers[layer]
        values = {name: _class_rows(kind, value, classes.rows, variables[name]) for name, value in values.items()}
    if layer in anchor_layers:
        ratios = model_layers.aspect_ratios(model)
        if sorted(ratios) != sorted(external.aspect_ratios):
            return f"its anchors have the aspect ratios {list(external.aspect_ratios)}, the model's {list(ratios)}"
        order = [external.aspect_ratios.index(ratio) for ratio in ratios]
        values = {name: _take(value, order, anchor_layers[layer]) for name, value in values.items()}
    for name, variable in variables.items():
        if name not in values:
            return f"the file has no `{name}`"
        stored, wanted = values[name].shape, tuple(variable.shape)
        if stored != wanted and not input_channels.differ_alone(f"{layer}/{name}", stored, wanted):
            return f"{name} is {stored} in the file, {wanted} in the model"
    return values


def _take(value: np.ndarray, order: list[int], group: int) -> np.ndarray:
    """Reorders groups of values on the last axis."""
    grouped = value.reshape(*value.shape[:-1], -1, group)
    return grouped[..., order, :].reshape(*value.shape[:-1], -1)


def _class_rows(layer: ClassLayer, value: np.ndarray, rows: list[int], variable: tf.Variable) -> np.ndarray:
    """Returns the classes' values in the model's order; those of classes that the file has not are the model's own."""
    group, own_values = layer.values_per_class, variable.numpy()
    if layer.has_background:
        rows = [*rows, value.shape[-1] // group - 1]
    picked = _take(value, [max(row, 0) for row in rows], group)
    if picked.shape != own_values.shape:
        return picked  # Other inputs too: `_prepare` says so.
    return np.where(np.repeat(np.array(rows) >= 0, group), picked, own_values)


def _num_rows(external: ExternalWeights, class_layers: Mapping[str, ClassLayer]) -> int:
    """Returns how many classes the file's classifier has, 0 if it has none."""
    for name, layer in class_layers.items():
        bias = external.values.get(f"{name}/bias")
        if bias is not None:
            return bias.shape[0] // layer.values_per_class - layer.has_background
    return 0


def _match_classes(external: ExternalWeights, num_rows: int, num_classes: int, wanted: Sequence[str] | None) -> _Classes:
    if not num_rows:
        return _Classes(None, ABSENT)
    names = external.class_names or [None] * num_rows
    if wanted is not None:
        rows = [names.index(name) if name in names else -1 for name in wanted]
        if max(rows) < 0:
            theirs = ", ".join(str(name) for name in names[:8]) + ", ..." if external.class_names else "no names that are known"
            raise ValueError(
                f"--map_classes: none of the classes {', '.join(wanted[:8])} matches one of {external.path}, which has {theirs}"
            )
        kept = [name for name, row in zip(wanted, rows, strict=True) if row >= 0]
        return _Classes(rows, names=list(wanted), note=f"{len(kept)} of {len(rows)} classes kept their rows: {', '.join(kept)}")
    trained = [row for row, name in enumerate(names) if name is not None]
    if num_rows == num_classes:
        return _Classes(list(range(num_rows)), names=external.class_names)
    if len(trained) == num_classes:
        note = f"{len(trained)} of the {num_rows} rows of its classifier belong to a class and are used"
        return _Classes(trained, names=[names[row] for row in trained], note=note)
    return _Classes(
        None,
        f"the file has {format_count(num_rows, 'class', 'classes')}, the model {num_classes}: it is initialised randomly"
        " (--map_classes keeps those of equal names)",
    )
