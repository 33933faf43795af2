"""The architecture as tpuseg sees it: a semantic model, so that inputs, losses, evaluation and exports are DeepLab's."""

from collections.abc import Iterator

import tf_keras

from tpuseg.configs import schema
from tpuseg.deeplab.architecture import DeepLab
from tpuseg.deeplab.task import Task

from . import config as configs
from . import model


class SemanticFpnTask(Task):
    """Semantic segmentation with the semantic FPN."""

    task_config: configs.TaskConfig

    def build_model(self) -> tf_keras.Model:
        """Returns the model with its variables created."""
        return model.build(self.task_config.model)


class SemanticFpn(DeepLab):
    """The semantic FPN."""

    experiment_class = configs.ExperimentConfig
    ranges = configs.RANGES
    task_class = SemanticFpnTask

    def problems(self, config: configs.ExperimentConfig) -> Iterator[schema.Problem]:
        """See `Architecture`."""
        yield from super().problems(config)
        canvas = config.task.evaluation.input_size or config.task.model.input_size
        for name, size in (("model", config.task.model.input_size), ("evaluation", canvas)):
            if any(side % 32 for side in size):
                yield f"task.{name}.input_size", f"is {size}, but must be multiples of 32, the stride of the last level"
