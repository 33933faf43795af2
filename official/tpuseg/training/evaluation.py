"""The interface of an evaluation: an architecture accumulates predictions, and computes metrics from them."""

import abc
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np


class Evaluation(abc.ABC):
    """The state of one pass over the evaluation data, on the host."""

    @abc.abstractmethod
    def add_batch(self, outputs: dict[str, np.ndarray]) -> None:
        """Adds one replica's outputs of one step.

        Args:
          outputs: Outputs of `SegmentationTask.validation_step`; `index` [B] is -1 in rows that only pad the batch.
        """

    @abc.abstractmethod
    def add(self, index: int, prediction: Any) -> None:
        """Adds the prediction of one image.

        Args:
          index: Position of the image in the evaluation data.
          prediction: Prediction at the size of the original image, as `Predictions.finish` returns it.
        """

    @abc.abstractmethod
    def scores(self) -> dict[str, float | None]:
        """Returns the main metrics by their names, without printing or writing anything."""

    @abc.abstractmethod
    def finish(self, step: int) -> dict[str, Any]:
        """Prints the results, writes files and images, and returns all metrics.

        Args:
          step: Training step of the evaluated weights.
        """

    def read_predictions(self, path: str) -> None:
        """Adds stored predictions of all images, so that a report can be written without the network.

        Args:
          path: File of the predictions, or the model directory that has it.

        Raises:
          ValueError: The architecture stores no predictions (this is the default), or the file is damaged.
        """
        raise ValueError(f"{path}: evaluations of this architecture store no predictions; official/evaluate.py writes its report")

    def start_report(self, folder: str) -> None:  # noqa: B027  # An architecture need not have a report.
        """Collects what a report of this evaluation needs; called before the first image.

        Args:
          folder: Folder of the report.
        """

    def write_report(self, evaluations: Sequence[Mapping[str, Any]]) -> str | None:
        """Writes the report after `finish`; returns the path of its page, or None for architectures without a report.

        Args:
          evaluations: Metrics of the run's evaluations, the earliest first.

        Raises:
          ValueError: A record or image is damaged.
          OSError: A file cannot be read or written.
        """
        del evaluations
        return None

    def write_comparison(self, names: Sequence[str], others: Sequence["Evaluation"], settings: Sequence[Mapping[str, Any]]) -> str:
        """Writes a page that compares this evaluation with those of other runs, in the folder of `start_report`; returns its path.

        Args:
          names: Names of the runs, this one first.
          others: The other evaluations, of the same architecture.
          settings: Configuration of each run.

        Raises:
          ValueError: The architecture has no comparison (this is the default), or the evaluations have other images or classes.
          OSError: A file cannot be read or written.
        """
        raise ValueError(f"evaluations of {names[0]} cannot be compared: its architecture stores no predictions")

    def add_step(self, step_outputs: dict[str, Any]) -> None:
        """Adds the outputs of all local replicas of one step.

        Args:
          step_outputs: For each name, a tuple with one tensor per local replica.
        """
        for outputs in _split_by_replica(step_outputs):
            self.add_batch(outputs)


def _split_by_replica(step_outputs: dict[str, Any]) -> Iterator[dict[str, np.ndarray]]:
    names = list(step_outputs)
    for values in zip(*(step_outputs[name] for name in names), strict=True):
        yield {name: value.numpy() for name, value in zip(names, values, strict=True)}
