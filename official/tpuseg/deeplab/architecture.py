"""The interface of DeepLab v3+ to the rest of the package."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from tpuseg.configs import schema
from tpuseg.deeplab import config as configs
from tpuseg.deeplab import exported, inputs, tflite
from tpuseg.deeplab.task import Task
from tpuseg.training.architecture import Architecture


class DeepLab(Architecture):
    """DeepLab v3+ (arXiv:1802.02611), and every semantic architecture whose network returns `logits` as it does."""

    experiment_class = configs.ExperimentConfig
    ranges = configs.RANGES
    task_class = Task

    def problems(self, config: configs.ExperimentConfig) -> Iterator[schema.Problem]:
        """See `Architecture`."""
        yield from configs.problems(config)

    def canvas(self, config: configs.DeepLabConfig) -> tuple[int, int]:
        """See `Architecture`."""
        return configs.evaluation_canvas(config)

    def place(self, image: tf.Tensor, config: configs.DeepLabConfig) -> dict[str, tf.Tensor]:
        """See `Architecture`."""
        return {"image": inputs.place(image, config)}

    def padding(self, config: configs.DeepLabConfig) -> tuple[int, ...]:
        """See `Architecture`."""
        return inputs.padding(config)

    def finish(
        self, outputs: dict[str, tf.Tensor], sizes: tf.Tensor, config: configs.DeepLabConfig
    ) -> dict[str, tf.Tensor]:
        """See `exported.finish`."""
        return exported.finish(outputs, sizes, config)

    def prediction(self, outputs: dict[str, np.ndarray]) -> np.ndarray:
        """Returns the class ids of one image, [height, width] uint8."""
        return outputs["classes"]

    def check_tflite(self, config: configs.ExperimentConfig, kind: str) -> None:
        """See `Architecture`."""
        del kind
        tflite.check(config)

    def tflite_function(self, model: tf_keras.Model, config: configs.DeepLabConfig, kind: str) -> Any:
        """See `tflite.function`."""
        return tflite.function(model, config, kind)

    def tflite_signature(self, config: configs.DeepLabConfig) -> tuple[dict[str, Any], dict[str, str]]:
        """See `Architecture`."""
        return tflite.signature(config)

    def tflite_prediction(
        self,
        outputs: dict[str, np.ndarray],
        inputs: dict[str, tf.Tensor],
        size: tuple[int, int],
        config: configs.DeepLabConfig,
    ) -> np.ndarray:
        """See `exported.tflite_prediction`."""
        del inputs
        return exported.tflite_prediction(outputs, size, config)


DEEPLAB = DeepLab()
