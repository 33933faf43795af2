"""A loss of another package: the soft Dice loss for semantic segmentation (arXiv:1606.04797).

python official/train.py --experiment=deeplab_shapes --import_module=examples.dice_loss \
  --params_override=task.losses.extra.dice.weight=0.5
"""

import dataclasses

import tensorflow as tf

from tpuseg import registry
from tpuseg.configs import ranges, schema
from tpuseg.layers.resize import bilinear_resize
from tpuseg.training.extra_losses import ExtraLoss


@dataclasses.dataclass
class DiceConfig(schema.ExtraLossConfig):
    """Settings of the loss.

    Attributes:
      ignore_label: Pixels with this label do not count.
      smoothing: Added to numerator and denominator, so that classes without a pixel have no loss.
    """

    ignore_label: int = 255
    smoothing: float = 1.0


@registry.losses.register("dice")
class Dice(ExtraLoss):
    """1 - 2 |P and T| / (|P| + |T|) of every class and image, with probabilities P and truth T."""

    config_class = DiceConfig
    config_ranges = {"ignore_label": ranges.between(0, 255), "smoothing": ranges.POSITIVE}
    records_kind = "semantic"

    def __call__(self, labels: tf.Tensor, outputs: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        """Computes the loss.

        Args:
          labels: [B, H, W] uint8 class ids.
          outputs: `logits` [B, h, w, K].

        Returns:
          The sum over B images and K classes, and B * K, float32 scalars.
        """
        logits = bilinear_resize(tf.cast(outputs["logits"], tf.float32), (labels.shape[1], labels.shape[2]))
        valid = tf.cast(labels != self.config.ignore_label, tf.float32)[..., None]
        probabilities = tf.nn.softmax(logits) * valid
        truth = tf.one_hot(tf.cast(labels, tf.int32), logits.shape[-1]) * valid
        both = tf.reduce_sum(probabilities * truth, axis=[1, 2])
        either = tf.reduce_sum(probabilities + truth, axis=[1, 2])
        losses = 1.0 - (2.0 * both + self.config.smoothing) / (either + self.config.smoothing)
        return tf.reduce_sum(losses), tf.cast(tf.size(losses), tf.float32)
