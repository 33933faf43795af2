"""Configuration of the semantic FPN; everything but the network is DeepLab's."""

import dataclasses

from tpuseg.configs import ranges, schema
from tpuseg.deeplab import config as deeplab


@dataclasses.dataclass
class ModelConfig(schema.NetworkConfig):
    """The network.

    Attributes:
      num_classes: Number of classes, with the background if the data set has one.
      input_size: [height, width] of the training crop, multiples of 32.
      pyramid_filters: Filters of every pyramid level.
      head_filters: Filters of the merged features.
    """

    num_classes: int = 21
    input_size: list[int] = dataclasses.field(default_factory=lambda: [512, 512])
    pyramid_filters: int = 256
    head_filters: int = 128


@dataclasses.dataclass
class TaskConfig(deeplab.DeepLabConfig):
    """The task."""

    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)


@dataclasses.dataclass
class ExperimentConfig(schema.ExperimentConfig):
    """One experiment."""

    task: TaskConfig = dataclasses.field(default_factory=TaskConfig)


RANGES: ranges.Table = {
    **deeplab.RANGES,
    ModelConfig: {
        "num_classes": ranges.between(2, 255),
        "input_size": ranges.between(32, 16384),
        "pyramid_filters": ranges.COUNT,
        "head_filters": ranges.COUNT,
    },
}
