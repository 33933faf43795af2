"""Augmentations of other packages, applied after those of an architecture.

Shapes: H W the image, C channels, N objects of an image, S side of a mask.
"""

import abc
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import tensorflow as tf

from tpuseg.configs import ranges, schema

if TYPE_CHECKING:
    from official.modeling.hyperparams import base_config


class Augmentation(abc.ABC):
    """A random change of a training example; registered in `registry.augmentations`.

    An experiment uses it by naming it: `task: {train_data: {augmentations: {NAME: {...}}}}`.

    Attributes:
      config_class: Configuration of the augmentation's own settings.
      config_ranges: Range of every number in `config_class`, by field.
      records_kind: `semantic` or `instances`: the examples that it changes.
    """

    config_class: ClassVar["type[base_config.Config]"]
    config_ranges: ClassVar[Mapping[str, ranges.Range | ranges.Choice]] = {}
    records_kind: ClassVar[str]

    def __init__(self, config: Any) -> None:
        """Creates the augmentation.

        Args:
          config: A `config_class`.
        """
        self.config = config

    @abc.abstractmethod
    def __call__(self, example: dict[str, tf.Tensor], seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """Changes an example, in a graph.

        Args:
          example: `image` [H, W, C] uint8. Semantic examples also have `labels` [H, W] uint8, at the network's input size.
            Instances have `boxes` [N, 4] float32 yxyx pixels, `classes` [N] int32, `is_crowd` [N] bool and `masks` [N, S, S]
            uint8 in the frames of the boxes; their image is not padded to the canvas yet.
          seed: [2] int32; use stateless random operations with it, so that a resumed run sees the same examples.

        Returns:
          The same keys and dtypes; image and labels keep their sizes.
        """


def apply(
    config: schema.AugmentationsConfig, records_kind: str, example: dict[str, tf.Tensor], seed: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Applies the augmentations that an experiment names, in the order in which they were registered.

    Args:
      config: The experiment's augmentations.
      records_kind: `semantic` or `instances`.
      example: As in `Augmentation`.
      seed: [2] int32 seed of the example; every augmentation gets its own, which depends on its name.

    Raises:
      ValueError: An augmentation is for the other kind of examples.
    """
    for name, augmentation_class, settings in config.used(records_kind, "task.train_data.augmentations"):
        own_seed = tf.random.experimental.stateless_fold_in(seed, zlib.crc32(name.encode()) & 0x7FFFFFFF)
        example = augmentation_class(settings)(example, own_seed)
    return example
