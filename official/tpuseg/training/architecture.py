"""The interface between an architecture and the rest of the package.

A new architecture derives its task from `SegmentationTask`, and this class defines how the network is exported and the meaning of
its outputs. Training, evaluation, prediction, export, import of weights and the preflight use only this interface.

Shapes: B is the number of images, H and W are the network's input size, C is the number of channels, and K of classes.
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
    """An architecture, registered under the name that experiments use.

    Attributes:
      experiment_class: The configuration of an experiment; a dataclass that derives from `schema.ExperimentConfig`.
      ranges: The range of every number of the architecture's own configuration classes.
      task_class: The training task.
      large_outputs: Names of exported outputs whose size grows with more than the size of the images; a signature without them is
        exported too.
    """

    experiment_class: type[schema.ExperimentConfig]
    ranges: Table = {}
    task_class: type[SegmentationTask]
    large_outputs: tuple[str, ...] = ()

    @abc.abstractmethod
    def problems(self, config: Any) -> Iterator[schema.Problem]:
        """Yields the problems of a configuration whose values have the right types and are in their ranges.

        Args:
          config: An `experiment_class`.

        Yields:
          A key or several keys, and a message; begin with `yield from schema.problems(config)`.
        """

    def with_score_threshold(self, config: Any, score_threshold: float) -> dict[str, Any]:
        """Returns the settings with which prediction drops objects with lower scores.

        Args:
          config: An `experiment_class`.
          score_threshold: The minimum score, 0 to 1.

        Returns:
          Values of the settings by their dotted paths.

        Raises:
          ValueError: The architecture predicts no scores.
        """
        raise ValueError(f"a score threshold is not supported by {config.architecture}, which does not detect objects; remove it")

    def network_score_threshold(self, config: Any) -> float:
        """Returns the score below which the network itself drops objects; 0 for architectures without scores.

        Args:
          config: An `experiment_class`.
        """
        del config
        return 0.0

    @abc.abstractmethod
    def canvas(self, config: Any) -> tuple[int, int]:
        """Returns (H, W), the network's input size in prediction.

        Args:
          config: The task's configuration, as in the methods below.
        """

    @abc.abstractmethod
    def place(self, image: tf.Tensor, config: Any) -> _TensorDict:
        """Places one image on the canvas, in a graph.

        Args:
          image: [height, width, C] uint8, of any size.
          config: The task's configuration.

        Returns:
          `image` [H, W, C] uint8, and the other inputs of the network.
        """

    @abc.abstractmethod
    def padding(self, config: Any) -> tuple[int, ...]:
        """Returns the values of the canvas beside an image, one per channel."""

    @abc.abstractmethod
    def finish(self, outputs: _TensorDict, sizes: tf.Tensor, config: Any) -> _TensorDict:
        """Converts the outputs of `SegmentationTask.validation_step` to those of an exported signature, in a graph.

        Args:
          outputs: The network's outputs for B images.
          sizes: [B, 2] int32 heights and widths of the original images.
          config: The task's configuration.

        Returns:
          The predictions at the sizes of the original images, and `sizes`.
        """

    @abc.abstractmethod
    def prediction(self, outputs: dict[str, np.ndarray]) -> Any:
        """Returns the prediction of an image, in the form of `Predictions.finish`, from the outputs of an exported signature."""

    def check_tflite(self, config: Any, kind: str) -> None:
        """Raises ValueError if no TFLite file of this kind can be written; by default, it always does.

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
          kind: See `check_tflite`; with int8 the input must be float32, because the converter only quantises such an input.
        """
        raise NotImplementedError

    def tflite_signature(self, config: Any) -> tuple[dict[str, Any], dict[str, str]]:
        """Returns the descriptions of the inputs other than `images` for `model.json`, and a sentence about every output."""
        raise NotImplementedError

    def tflite_prediction(
        self, outputs: dict[str, np.ndarray], inputs: _TensorDict, size: tuple[int, int], config: Any
    ) -> Any:
        """Returns the prediction of an image, in the form of `Predictions.finish`, from the outputs of a TFLite file.

        Args:
          outputs: Outputs for one image.
          inputs: The corresponding inputs, as `place` returns them.
          size: (height, width) of the original image.
          config: The task's configuration.
        """
        raise NotImplementedError
