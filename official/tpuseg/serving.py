"""From a trained model's directory to predictions."""

import os
from typing import Any

import numpy as np
import tensorflow as tf

from tpuseg import checkpoints, config, files, runtime, zoo
from tpuseg.task import SegmentationTask
from tpuseg.trainer import moving_average, swap_weights


class Predictor:
    """A trained model that takes pictures of any size."""

    def __init__(self, model_dir: str, checkpoint: str = "") -> None:
        """Builds the model of a run and restores it.

        Args:
          model_dir: of the run; holds its configuration.
          checkpoint: a checkpoint or folder; the run's best one (else its newest) if empty.

        Raises:
          ValueError: there is no such run or checkpoint.
        """
        path = os.path.join(model_dir, config.CONFIG_FILE)
        if not files.exists(path):
            raise ValueError(
                f"{model_dir} has no {config.CONFIG_FILE}, so it is no model directory; train with --model_dir={model_dir}"
            )
        self.checkpoint_path = checkpoints.find(checkpoint or model_dir)
        self._config = config.load(path).config
        runtime.set_precision(self._config.runtime)
        self.task: SegmentationTask = zoo.task_class(self._config.architecture)(
            self._config.task, logging_dir=model_dir
        )
        self.model = self.task.build_model()
        self._restore()
        self._step = tf.function(lambda inputs: self.task.validation_step(inputs, self.model))

    def _restore(self) -> None:
        trainer_config = self._config.trainer
        if checkpoints.is_best(self.checkpoint_path) or trainer_config.optimizer_config.ema is None:
            checkpoints.restore(tf.train.Checkpoint(model=self.model), self.checkpoint_path)
            return
        # A best checkpoint holds the averaged weights as the model's own; any other has them in the optimizer.
        optimizer = self.task.create_optimizer(trainer_config.optimizer_config, self._config.runtime)
        average = moving_average(optimizer)
        if average is None:
            raise ValueError(f"{self.checkpoint_path}: the optimizer keeps no moving average")
        average.shadow_copy(self.model)
        checkpoints.restore(tf.train.Checkpoint(model=self.model, optimizer=optimizer), self.checkpoint_path)
        swap_weights(average)

    def predict(self, images: list[np.ndarray]) -> list[Any]:
        """Predicts some pictures at once.

        Args:
          images: each [height, width, 3] uint8, of any size.

        Returns:
          What the model says of each, at its own size: for DeepLab the class ids, [height, width] uint8; for
          Mask R-CNN `maskrcnn.prediction.Objects`.
        """
        inputs = self.task.prediction_inputs(images)
        outputs = {name: value.numpy() for name, value in self._step(inputs).items()}
        return self.task.finish_predictions(outputs, images)
