"""Mask R-CNN as the rest of the package sees it."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from tpuseg.configs import schema
from tpuseg.maskrcnn import config as configs
from tpuseg.maskrcnn import exported, inputs, tflite
from tpuseg.maskrcnn.prediction import Objects
from tpuseg.maskrcnn.task import Task
from tpuseg.ops import images
from tpuseg.training.architecture import Architecture


class MaskRcnnArchitecture(Architecture):
    """Mask R-CNN (arXiv:1703.06870)."""

    experiment_class = configs.ExperimentConfig
    ranges = configs.RANGES
    task_class = Task
    large_outputs = exported.LARGE_OUTPUTS

    def problems(self, config: configs.ExperimentConfig) -> Iterator[schema.Problem]:
        """See `Architecture`."""
        yield from configs.problems(config)

    def with_score_threshold(self, config: configs.ExperimentConfig, score_threshold: float) -> dict[str, Any]:
        """See `Architecture`."""
        settings = {"task.evaluation.drawn_score": score_threshold}
        if score_threshold < self.network_score_threshold(config):
            settings["task.model.detection.score_threshold"] = score_threshold
        return settings

    def network_score_threshold(self, config: configs.ExperimentConfig) -> float:
        """See `Architecture`."""
        return config.task.model.detection.score_threshold

    def canvas(self, config: configs.MaskRcnnConfig) -> tuple[int, int]:
        """See `Architecture`."""
        height, width = config.model.input_size
        return height, width

    def place(self, image: tf.Tensor, config: configs.MaskRcnnConfig) -> dict[str, tf.Tensor]:
        """See `Architecture`."""
        return inputs.place_on_canvas(image, config.model)

    def padding(self, config: configs.MaskRcnnConfig) -> tuple[int, ...]:
        """Returns the values of the canvas beside an image, one per channel; the network does not look at them."""
        return images.padding(config.model.num_channels, ())

    def finish(
        self, outputs: dict[str, tf.Tensor], sizes: tf.Tensor, config: configs.MaskRcnnConfig
    ) -> dict[str, tf.Tensor]:
        """See `exported.finish`."""
        del config
        return exported.finish(outputs, sizes)

    def prediction(self, outputs: dict[str, np.ndarray]) -> Objects:
        """See `exported.prediction`."""
        return exported.prediction(outputs)

    def check_tflite(self, config: configs.ExperimentConfig, kind: str) -> None:
        """See `Architecture`."""
        del config
        tflite.check(kind)

    def tflite_function(self, model: tf_keras.Model, config: configs.MaskRcnnConfig, kind: str) -> Any:
        """See `tflite.function`."""
        del kind
        return tflite.function(model, config)

    def tflite_signature(self, config: configs.MaskRcnnConfig) -> tuple[dict[str, Any], dict[str, str]]:
        """See `Architecture`."""
        del config
        return tflite.signature()

    def tflite_prediction(
        self,
        outputs: dict[str, np.ndarray],
        inputs: dict[str, tf.Tensor],
        size: tuple[int, int],
        config: configs.MaskRcnnConfig,
    ) -> Objects:
        """See `exported.tflite_prediction`."""
        del config
        return exported.tflite_prediction(outputs, inputs, size)


MASK_RCNN = MaskRcnnArchitecture()
