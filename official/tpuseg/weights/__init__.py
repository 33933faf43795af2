"""Initial weights: from a checkpoint of this project or from a file of another library.

Every reader makes the same of its file (`external.ExternalWeights`), and `assign` puts that into a model.
"""

import contextlib
import functools
import os
from collections.abc import Callable, Iterator, Sequence

import tensorflow as tf
import tf_keras

from tpuseg import registry
from tpuseg.configs import schema
from tpuseg.io import checkpoints
from tpuseg.weights import assign, deeplab_tf1, detectron2, keras_applications, model_garden, own, pytorch, torchvision
from tpuseg.weights.external import ExternalWeights
from tpuseg.weights.report import Report
from tpuseg.weights.source import WeightSource

# Where weights can come from besides this project, and what such files are called.
KINDS = {
    "keras": keras_applications.ENDINGS,
    "torchvision": pytorch.ENDINGS,
    "detectron2": (*detectron2.ENDINGS, ".pth"),
    "model_garden": (),
    "deeplab_tf1": (),
}


def kinds() -> dict[str, tuple[str, ...]]:
    """Returns every source of weights besides this project, and the endings of its files; those of other packages too."""
    return {**KINDS, **{name: source.endings for name, source in registry.weight_sources.registered().items()}}


def load_initial(
    model: tf_keras.Model,
    path: str,
    settings: schema.InputConfig,
    kind: str = "",
    class_names: Sequence[str] | None = None,
    classifier: bool = True,
) -> Report:
    """Loads what fits of a file into a model.

    Args:
      model: with its variables created.
      path: a checkpoint of this project (prefix or folder), a file of another library, or `imagenet`; see `docs/weights.md`.
      settings: the model's configuration, `task.model`.
      kind: one of `kinds()`, if the file must be of that kind.
      class_names: names of the model's classes, to keep those rows of the classifier that have equal names.
      classifier: whether layers that have values for each class are loaded at all.

    Returns:
      What was restored and what was not.

    Raises:
      ValueError: there is no such file, it is of an unknown kind, nothing in it matches the model, or the weights were trained
        for other settings, pixels scaled in another way for instance.
    """
    require_known(path, kind)
    with _errors_that_name(path):
        external = _read(path, settings, kind)
    if external is None:
        report = own.load(model, path, settings, classifier)
    else:
        with _errors_that_name(path):
            report = assign.assign(model, external, settings, class_names, classifier)
    report.require_match()
    return report


@contextlib.contextmanager
def _errors_that_name(path: str) -> Iterator[None]:
    """Names the file in errors about tensors that do not have the shapes that their names promise."""
    try:
        yield
    except (ValueError, LookupError) as error:
        if isinstance(error, ValueError) and (path in str(error) or str(error).startswith("init_checkpoint: ")):
            raise
        said = " ".join(str(error).split())[:300] or type(error).__name__
        raise ValueError(f"{path} has tensors whose shapes do not match their names: {said}") from error


def require_known(path: str, kind: str = "") -> None:
    """Raises ValueError if there is no such file, or it is of an unknown kind.

    Only sources of other packages may read the file; see `WeightSource.recognizes`.
    """
    if _is_imagenet(path) and kind in ("", "keras"):
        return
    is_checkpoint = _is_checkpoint(path)
    if not is_checkpoint and not tf.io.gfile.exists(path):
        raise ValueError(f"init_checkpoint: there is no checkpoint or file {path} (from {os.getcwd()})")
    if any(kind in ("", name) and source.recognizes(path) for name, source in _registered_sources()):
        return
    endings = kinds()[kind] if kind else tuple(sorted({ending for some in kinds().values() for ending in some}))
    takes_checkpoints = not kind or not endings
    if (is_checkpoint and takes_checkpoints) or (not is_checkpoint and path.endswith(endings or "/")):
        return
    what = ["a checkpoint (a folder, or its name without .index)"] if takes_checkpoints else []
    what += [f"a file of {kind or 'another library'} ({', '.join(endings)})"] if endings else []
    raise ValueError(f"init_checkpoint: {path} is of an unknown kind; give {' or '.join(what)}")


def _registered_sources() -> list[tuple[str, WeightSource]]:
    """Returns the sources of other packages with their names."""
    return [(name, source()) for name, source in registry.weight_sources.registered().items()]


def _is_checkpoint(path: str) -> bool:
    return bool(tf.io.gfile.isdir(path) or tf.io.gfile.exists(path + ".index"))


def _is_imagenet(path: str) -> bool:
    return path == keras_applications.IMAGENET and not tf.io.gfile.exists(path)


def _read(path: str, settings: schema.InputConfig, kind: str) -> ExternalWeights | None:
    """Returns what a file holds, None for a checkpoint of this project; raises ValueError if it is not of the kind."""
    if _is_imagenet(path):
        return keras_applications.download(settings)
    found, external = _reader_of(path)(path)
    if kind and found != kind:
        raise ValueError(f"{path} is of the kind `{found}`, not `{kind}`")
    return external


def _reader_of(path: str) -> Callable[[str], tuple[str, ExternalWeights | None]]:
    for name, source in _registered_sources():
        if source.recognizes(path):
            return functools.partial(_read_registered, name, source)
    if _is_checkpoint(path):
        return _read_checkpoint
    if path.endswith(keras_applications.ENDINGS):
        return lambda path: ("keras", keras_applications.read(path))
    if path.endswith(detectron2.ENDINGS):
        return lambda path: ("detectron2", detectron2.read(path))
    return _read_state_dict


def _read_registered(name: str, source: WeightSource, path: str) -> tuple[str, ExternalWeights | None]:
    return name, source.read(path)


def _read_checkpoint(path: str) -> tuple[str, ExternalWeights | None]:
    prefix = checkpoints.find(path)
    if deeplab_tf1.is_one(prefix):
        return "deeplab_tf1", deeplab_tf1.read(prefix)
    if model_garden.is_one(prefix):
        return "model_garden", model_garden.read(prefix)
    return "tpuseg", None


def _read_state_dict(path: str) -> tuple[str, ExternalWeights | None]:
    tensors = pytorch.read(path)
    if detectron2.is_one(tensors):
        return "detectron2", detectron2.translate(tensors)
    return "torchvision", torchvision.translate(tensors)
