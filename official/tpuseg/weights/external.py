"""Weights of another library under this project's names and in its layouts: what every reader makes of a file.

Names are those of a checkpoint of this project without its root: `backbone/stem/0/conv/kernel`. A layer is what stands before the
last slash.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

# Counters and the like, which no model takes.
_NO_WEIGHTS = ("num_batches_tracked",)
_LONGEST_NAME = 500


def printable(text: str, most: int = 80) -> str:
    """Returns what a file calls something, fit for one line of a message."""
    return text[:most] if text[:most].isprintable() else ascii(text[:most])


class Tensors:
    """The tensors of a file, which remembers those that were asked for.

    Args:
      path: path of the file.
      tensors: the tensors by name.
      others: what else the file has, in words, for the list of what is unused.

    Raises:
      ValueError: a tensor's name is not a line of text.
    """

    def __init__(self, path: str, tensors: dict[str, np.ndarray], others: Sequence[str] = ()) -> None:
        self.path = path
        self._others = list(others)
        for name in tensors:
            if not name.isprintable() or len(name) > _LONGEST_NAME:
                raise ValueError(f"{path} has a tensor whose name is not a short line of text: {printable(name)}")
        self._tensors = {name: value for name, value in tensors.items() if not name.endswith(_NO_WEIGHTS)}
        self._taken: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def take(self, name: str) -> np.ndarray:
        """Returns a tensor as float32.

        Raises:
          ValueError: the file has no tensor of that name, or its values are not finite numbers.
        """
        if name not in self._tensors:
            raise ValueError(
                f"{self.path} has no tensor `{name}`, which belongs to the other tensors in it; the file may be truncated:"
                " download or save it again"
            )
        self._taken.add(name)
        stored = np.asarray(self._tensors[name])
        if stored.dtype.kind not in "fiub" and stored.dtype != tf.bfloat16.as_numpy_dtype:
            raise ValueError(f"{self.path}: tensor `{name}` holds {stored.dtype}, not numbers")
        with np.errstate(over="ignore", invalid="ignore"):
            value = stored.astype(np.float32)
        if not np.isfinite(value).all():
            raise ValueError(
                f"{self.path}: tensor `{name}` has values that are not finite in float32; its training diverged, or it is damaged"
            )
        return value

    def names(self, prefix: str = "") -> list[str]:
        """Returns the names that begin with a prefix."""
        return [name for name in self._tensors if name.startswith(prefix)]

    def shape(self, name: str) -> tuple[int, ...]:
        """Returns the shape of a tensor, () if there is none."""
        return self._tensors[name].shape if name in self._tensors else ()

    def unused(self) -> list[str]:
        """Returns the names that nobody asked for."""
        return [name for name in self._tensors if name not in self._taken] + self._others


@dataclasses.dataclass
class BatchNorm:
    """A batch norm's values, [C] each, and the epsilon that its variance was used with.

    Raises:
      ValueError: the numbers of values differ, or a variance is negative.
    """

    gamma: np.ndarray
    beta: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    epsilon: float

    def __post_init__(self) -> None:
        shapes = [value.shape for value in (self.gamma, self.beta, self.mean, self.variance)]
        if len(shapes[0]) != 1 or any(shape != shapes[0] for shape in shapes):
            raise ValueError(f"a batch norm has values of the shapes {', '.join(map(str, shapes))}, which must be equal")
        if self.variance.size and self.variance.min() < 0:
            raise ValueError(f"a batch norm has the variance {self.variance.min():g}")

    def with_epsilon(self, epsilon: float) -> "BatchNorm":
        """Returns the values that do the same with another epsilon.

        The difference goes into the variance; where it is larger than that, the rest into gamma. As moving statistics the result
        is exact; in training, batch statistics take the model's own epsilon, as they would anyway.
        """
        moved = np.maximum(self.variance + np.float32(self.epsilon - epsilon), 0)
        before, after = self.variance.astype(np.float64) + self.epsilon, moved.astype(np.float64) + epsilon
        ratio = np.sqrt(np.divide(after, before, out=np.ones_like(after), where=before > 0))
        return BatchNorm((self.gamma * ratio).astype(np.float32), self.beta, self.mean, moved, epsilon)

    def fold(self, kernel: np.ndarray, bias: np.ndarray | float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        """Returns kernel [..., C] and bias [C] of the convolution that has this norm in it."""
        if kernel.ndim < 2 or kernel.shape[-1] != len(self.gamma):
            raise ValueError(f"a kernel of shape {kernel.shape} has a batch norm of {len(self.gamma)} filters")
        scale = self.gamma / np.sqrt(self.variance.astype(np.float64) + self.epsilon)
        return (kernel * scale).astype(np.float32), ((bias - self.mean) * scale + self.beta).astype(np.float32)


@dataclasses.dataclass
class ExternalWeights:
    """What a file holds.

    Attributes:
      path: the file.
      what: it is, in words.
      required: settings below `task.model` without which the weights compute something else, and their values.
      advised: settings that training gets over, but without which the outputs are not the source's.
      class_names: names of the classifier's rows (including a background that has a row of its own); None for a row that
        was never trained.
      aspect_ratios: height / width of the RPN's anchors, in its order.
      refused: parts of our models that the file has, but not in a form that they can take, with the reason.
      values: the values by the names of this project.
      norms: batch norms, by our names of their layers.
      origins: the name in the file of each of our layers.
      unused: names in the file that no model here takes.
    """

    path: str
    what: str
    required: dict[str, Any] = dataclasses.field(default_factory=dict)
    advised: dict[str, Any] = dataclasses.field(default_factory=dict)
    class_names: list[str | None] | None = None
    aspect_ratios: tuple[float, ...] = ()
    refused: dict[str, str] = dataclasses.field(default_factory=dict)
    values: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    norms: dict[str, BatchNorm] = dataclasses.field(default_factory=dict)
    origins: dict[str, str] = dataclasses.field(default_factory=dict)
    unused: list[str] = dataclasses.field(default_factory=list)

    def put(self, layer: str, origin: str, **values: np.ndarray) -> None:
        """Adds a layer's values under their last names, `kernel=...`."""
        self.origins[layer] = origin
        for name, value in values.items():
            self.values[f"{layer}/{name}"] = value

    def put_norm(self, layer: str, origin: str, norm: BatchNorm) -> None:
        """Adds a batch norm."""
        self.origins[layer] = origin
        self.norms[layer] = norm

    def layer_values(self, epsilon: float) -> dict[str, dict[str, np.ndarray]]:
        """Returns the values of every layer by their last names, batch norms for an epsilon."""
        layers: dict[str, dict[str, np.ndarray]] = {}
        for name, value in self.values.items():
            layer, _, last = name.rpartition("/")
            layers.setdefault(layer, {})[last] = value
        for layer, stored in self.norms.items():
            norm = stored.with_epsilon(epsilon)
            layers[layer] = {
                "gamma": norm.gamma,
                "beta": norm.beta,
                "moving_mean": norm.mean,
                "moving_variance": norm.variance,
            }
        return layers
