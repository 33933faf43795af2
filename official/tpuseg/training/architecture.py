"""What an architecture offers to the rest of the package: the contract of a new one.

A new architecture derives its task from `SegmentationTask`, and this class says how the network is exported and what its outputs
mean. Training, evaluation, prediction, export, import of weights and the preflight use nothing else of an architecture.

Shapes: B images, H W the network's input size, C channels, K classes.
"""

import abc
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from tpuseg.configs import schema
from tpuseg.configs.ranges import Table
from tpuseg.training.task import SegmentationTask

_TensorDict = dict[str, tf.Tensor]


class Architecture(abc.ABC):
    """An architecture, registered under the name that experiments have for it.

    Attributes:
      experiment_class: The configuration of an experiment; a dataclass that derives from `schema.ExperimentConfig`.
      ranges: The range of every number of the architecture's own configuration classes.
      task_class: The training task.
      large_outputs: Names of exported outputs whose size grows with more than the images; a signature without them is exported too.
    """

    experiment_class: type[schema.ExperimentConfig]
    ranges: Table = {}
    task_class: type[SegmentationTask]
    large_outputs: tuple[str, ...] = ()

    @abc.abstractmethod
    def problems(self, config: Any) -> Iterator[schema.Problem]:
        """Yields what is wrong with a configuration whose values have the right types and are in their ranges.

        Args:
          config: An `experiment_class`.

        Yields:
          A key or several keys, and a message; begin with `yield from schema.problems(config)`.
        """

    def with_score_threshold(self, config: Any, score_threshold: float) -> dict[str, Any]:
        """Returns the settings that make predictions drop objects of lower scores.

        Args:
          config: An `experiment_class`.
          score_threshold: The lowest score, 0 to 1.

        Returns:
          Values by their dotted paths.

        Raises:
          ValueError: The architecture predicts no scores.
        """
        raise ValueError(f"a score threshold is not supported by {config.architecture}, which does not detect objects; remove it")

    def network_score_threshold(self, config: Any) -> float:
        """Returns the score below which the network itself drops objects; 0 for architectures without scores."""
        del config
        return 0.0

    @abc.abstractmethod
    def canvas(self, config: Any) -> tuple[int, int]:
        """Returns (H, W), the network's input size in prediction.

        Args:
          config: The task's configuration, here and below.
        """

    @abc.abstractmethod
    def place(self, image: tf.Tensor, config: Any) -> _TensorDict:
        """Places one image on the canvas, in a graph.

        Args:
          image: [height, width, C] uint8, of any size.
          config: The task's configuration.

        Returns:
          `image` [H, W, C] uint8, and whatever else the network takes.
        """

    @abc.abstractmethod
    def padding(self, config: Any) -> tuple[int, ...]:
        """Returns the values of the canvas beside an image, one per channel."""

    @abc.abstractmethod
    def finish(self, outputs: _TensorDict, sizes: tf.Tensor, config: Any) -> _TensorDict:
        """Turns the outputs of `SegmentationTask.validation_step` into those of an exported signature, in a graph.

        Args:
          outputs: The network's outputs for B images.
          sizes: [B, 2] int32 heights and widths of the original images.
          config: The task's configuration.

        Returns:
          The predictions at the images' own sizes; `sizes` among them.
        """

    @abc.abstractmethod
    def prediction(self, outputs: dict[str, np.ndarray]) -> Any:
        """Returns what `Predictions.finish` returns for an image, from the outputs of an exported signature for one image."""

    def check_tflite(self, config: Any, kind: str) -> None:
        """Raises ValueError if no TFLite file of the kind can be written; the default is that none can.

        Args:
          config: An `experiment_class`.
          kind: `float32`, `float16` or `int8`.
        """
        raise ValueError(f"there is no TFLite export of {config.architecture}; use --format=saved_model")

    def tflite_function(self, model: tf_keras.Model, config: Any, kind: str) -> Any:
        """Returns the concrete function that a TFLite file computes.

        Args:
          model: The trained network.
          config: The task's configuration.
          kind: As in `check_tflite`; with int8 the input must be float32, or the converter does not quantise it.
        """
        raise NotImplementedError

    def tflite_signature(self, config: Any) -> tuple[dict[str, Any], dict[str, str]]:
        """Returns further inputs than `images`, each a description as `model.json` has it, and a sentence for every output."""
        raise NotImplementedError

    def tflite_prediction(
        self, outputs: dict[str, np.ndarray], inputs: _TensorDict, size: tuple[int, int], config: Any
    ) -> Any:
        """Returns what `Predictions.finish` returns for an image, from the outputs of a TFLite file.

        Args:
          outputs: Outputs for one image.
          inputs: The inputs that gave them, as `place` returns them.
          size: (height, width) of the original image.
          config: The task's configuration.
        """
        raise NotImplementedError
