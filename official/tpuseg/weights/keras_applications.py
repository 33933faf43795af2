"""Keras Applications' HDF5 files (MobileNetV2, ResNet-50, ResNet-101), into a backbone with the same layer names."""

from collections.abc import Iterator

import h5py
import numpy as np
import tf_keras

from tpuseg.weights.report import Report


def load(backbone: tf_keras.Model, path: str) -> Report:
    """Loads weights layer by layer.

    Keras Applications' ResNets have a bias in front of every batch norm, which only shifts the norm's mean; the backbones here
    have none, so the bias is taken off the moving mean instead.

    Args:
      backbone: with its variables created; layers are matched by name.
      path: a weights file with or without the classifier, or a whole saved model in HDF5.

    Raises:
      ValueError: the file is not a Keras HDF5 file.
    """
    report = Report(path)
    stored = _read(path)
    biases = {name: weights["bias"] for name, weights in stored.items() if "bias" in weights and name.endswith("_conv")}
    unused = set(stored)
    for layer in _layers_with_weights(backbone):
        weights = stored.get(layer.name)
        if weights is None:
            report.skipped.append((layer.name, "not in the file"))
            continue
        unused.discard(layer.name)
        values = {_last_part(variable.name): variable for variable in layer.variables}
        problem = _mismatch(values, weights)
        if problem:
            report.skipped.append((layer.name, problem))
            continue
        for name, variable in values.items():
            value = weights[name]
            if name == "moving_mean":
                value = value - biases.get(layer.name.removesuffix("_bn") + "_conv", 0.0)
            variable.assign(value)
        report.restored.append(layer.name)
    report.unused = sorted(unused)
    return report


def _mismatch(values: dict, weights: dict[str, np.ndarray]) -> str | None:
    for name, variable in values.items():
        if name not in weights:
            return f"the file has no `{name}`"
        if tuple(variable.shape) != weights[name].shape:
            return f"{name} is {weights[name].shape} in the file, {tuple(variable.shape)} in the model"
    return None


def _last_part(name: str) -> str:
    return name.rpartition("/")[2].partition(":")[0]


def _layers_with_weights(model: tf_keras.Model) -> Iterator[tf_keras.layers.Layer]:
    for layer in model._flatten_layers(include_self=False):
        if layer._trainable_weights or layer._non_trainable_weights:
            yield layer


def _read(path: str) -> dict[str, dict[str, np.ndarray]]:
    """Returns each layer's weights by their last name (`kernel`, `gamma`, ...)."""
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise ValueError(f"{path} is not a readable HDF5 file: {error}") from error
    with file:
        root = file["model_weights"] if "model_weights" in file else file
        if "layer_names" not in root.attrs:
            raise ValueError(f"{path} is not a Keras weights file: it has no `layer_names`")
        layers = {}
        for raw in root.attrs["layer_names"]:
            name = raw.decode() if isinstance(raw, bytes) else raw
            group = root[name]
            weights = {}
            for raw_weight in group.attrs["weight_names"]:
                weight = raw_weight.decode() if isinstance(raw_weight, bytes) else raw_weight
                weights[_last_part(weight)] = np.asarray(group[weight])
            if weights:
                layers[name] = weights
        return layers
