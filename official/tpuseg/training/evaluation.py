"""One pass over the evaluation data: what an architecture adds up, and the metrics that it makes of it."""

import abc
from collections.abc import Iterator
from typing import Any

import numpy as np


class Evaluation(abc.ABC):
    """The state of one evaluation, on the host."""

    @abc.abstractmethod
    def add_batch(self, outputs: dict[str, np.ndarray]) -> None:
        """Adds one replica's outputs of one step.

        Args:
          outputs: Outputs of `SegmentationTask.validation_step`; `index` [B] is -1 in rows that only fill up a batch.
        """

    @abc.abstractmethod
    def add(self, index: int, prediction: Any) -> None:
        """Adds the prediction of one image.

        Args:
          index: Position of the image in the evaluation data.
          prediction: Prediction at the image's own size, as `Predictions.finish` returns it.
        """

    @abc.abstractmethod
    def scores(self) -> dict[str, float | None]:
        """Returns the main metrics by their names; prints and writes nothing."""

    @abc.abstractmethod
    def finish(self, step: int) -> dict[str, Any]:
        """Prints the results, writes files and images, and returns all metrics.

        Args:
          step: Training step of the evaluated weights.
        """

    def add_step(self, step_outputs: dict[str, Any]) -> None:
        """Adds the outputs of all local replicas of one step.

        Args:
          step_outputs: By name, a tuple with one tensor per local replica.
        """
        for outputs in _by_replica(step_outputs):
            self.add_batch(outputs)


def _by_replica(step_outputs: dict[str, Any]) -> Iterator[dict[str, np.ndarray]]:
    names = list(step_outputs)
    for values in zip(*(step_outputs[name] for name in names), strict=True):
        yield {name: value.numpy() for name, value in zip(names, values, strict=True)}
