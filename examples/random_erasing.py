"""An augmentation of another package: a random rectangle of the image becomes grey, and its pixels are ignored (arXiv:1708.04896).

python official/train.py --experiment=deeplab_shapes --import_module=examples.random_erasing \
  --params_override=task.train_data.augmentations.random_erasing.probability=0.3
"""

import dataclasses

import tensorflow as tf
from official.modeling.hyperparams import base_config

from tpuseg import registry
from tpuseg.configs import ranges
from tpuseg.data.augmentation import Augmentation

_GREY = 128


@dataclasses.dataclass
class RandomErasingConfig(base_config.Config):
    """Settings of the augmentation.

    Attributes:
      probability: Share of the images in which a rectangle is erased.
      largest_side: Largest height and width of the rectangle, as a share of the image's.
      ignore_label: Label of the erased pixels.
    """

    probability: float = 0.5
    largest_side: float = 0.4
    ignore_label: int = 255


@registry.augmentations.register("random_erasing")
class RandomErasing(Augmentation):
    """Erases a rectangle of random size and place."""

    config_class = RandomErasingConfig
    config_ranges = {
        "probability": ranges.FRACTION,
        "largest_side": ranges.EPSILON,
        "ignore_label": ranges.between(0, 255),
    }
    records_kind = "semantic"

    def __call__(self, example: dict[str, tf.Tensor], seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """Changes `image` [H, W, C] and `labels` [H, W]; see `Augmentation`."""
        height, width = example["labels"].shape
        drawn = tf.random.stateless_uniform([5], seed)
        size = drawn[:2] * self.config.largest_side
        start = drawn[2:4] * (1.0 - size)
        rows = (tf.range(height, dtype=tf.float32) + 0.5) / height
        columns = (tf.range(width, dtype=tf.float32) + 0.5) / width
        in_rows = (rows >= start[0]) & (rows < start[0] + size[0])
        in_columns = (columns >= start[1]) & (columns < start[1] + size[1])
        erased = in_rows[:, None] & in_columns[None] & (drawn[4] < self.config.probability)
        return {
            "image": tf.where(erased[..., None], tf.constant(_GREY, tf.uint8), example["image"]),
            "labels": tf.where(erased, tf.constant(self.config.ignore_label, tf.uint8), example["labels"]),
        }
