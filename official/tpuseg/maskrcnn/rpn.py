"""Region proposal network (arXiv:1506.01497, section 3; on a pyramid: arXiv:1612.03144, section 4.1).

Shapes: B pictures, L levels, A anchors of all levels, N proposals.
"""

from typing import NamedTuple

import tensorflow as tf
import tf_keras

from tpuseg import boxes as box_ops
from tpuseg.layers.conv import Conv2D
from tpuseg.maskrcnn.config import RpnConfig
from tpuseg.maskrcnn.suppression import suppress

# Of a padding row: below every logit.
_NO_SCORE = float("-inf")


class RpnHead(tf_keras.layers.Layer):
    """A 3x3 convolution, or several, and two 1x1, shared by all levels."""

    def __init__(self, config: RpnConfig, num_filters: int) -> None:
        super().__init__(name="rpn")
        num_shapes = len(config.anchors.aspect_ratios)

        def conv(filters: int, kernel: int, name: str, activation: str | None = None) -> Conv2D:
            return Conv2D(
                filters,
                kernel,
                use_bias=True,
                name=name,
                activation=activation,
                kernel_initializer=tf_keras.initializers.RandomNormal(stddev=0.01),
            )

        self.conv = conv(num_filters, 3, "conv", "relu")
        self.more_convs = [conv(num_filters, 3, f"conv{number}", "relu") for number in range(2, config.num_convs + 1)]
        self.objectness = conv(num_shapes, 1, "objectness")
        self.deltas = conv(4 * num_shapes, 1, "deltas")

    def call(self, pyramid: list[tf.Tensor]) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        """Scores the anchors of every level.

        Args:
          pyramid: P2 to P6.

        Returns:
          Two lists, a tensor a level, in the order of `anchors.level_anchors`: objectness logits [B, anchors] and box
          codes [B, anchors, 4], float32.
        """
        objectness, deltas = [], []
        for features in pyramid:
            hidden = self.conv(features)
            for conv in self.more_convs:
                hidden = conv(hidden)
            num_anchors = features.shape[1] * features.shape[2] * self.objectness.filters
            objectness.append(tf.reshape(tf.cast(self.objectness(hidden), tf.float32), [-1, num_anchors]))
            deltas.append(tf.reshape(tf.cast(self.deltas(hidden), tf.float32), [-1, num_anchors, 4]))
        return objectness, deltas


class Proposals(NamedTuple):
    """The boxes that the heads look at.

    Attributes:
      boxes: [B, N, 4] pixels, best first; padding rows are 0.
      scores: [B, N] objectness logits.
      valid: [B, N] bool, false for padding rows.
    """

    boxes: tf.Tensor
    scores: tf.Tensor
    valid: tf.Tensor


def _pad(rows: tf.Tensor, size: int, value: float = 0.0) -> tf.Tensor:
    paddings = [(0, 0), (0, size - rows.shape[1])] + [(0, 0)] * (rows.shape.rank - 2)
    return tf.pad(rows, paddings, constant_values=value)


def _candidates(
    objectness: list[tf.Tensor], deltas: list[tf.Tensor], anchors: list[tf.Tensor], limit: int
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns each level's best anchors, padded: scores [B, L, k], codes and boxes [B, L, k, 4]."""
    counts = [min(limit, scores.shape[1]) for scores in objectness]
    size = max(counts)
    picked = []
    for scores, codes, boxes, count in zip(objectness, deltas, anchors, counts, strict=True):
        top, rows = tf.math.top_k(scores, count)
        codes, boxes = tf.gather(codes, rows, batch_dims=1), tf.gather(boxes, rows)
        picked.append((_pad(top, size, _NO_SCORE), _pad(codes, size), _pad(boxes, size)))
    scores, codes, boxes = (tf.stack(parts, axis=1) for parts in zip(*picked, strict=True))
    return scores, codes, boxes


def propose(
    objectness: list[tf.Tensor],
    deltas: list[tf.Tensor],
    anchors: list[tf.Tensor],
    image_sizes: tf.Tensor,
    config: RpnConfig,
    training: bool,
) -> Proposals:
    """Turns the RPN's outputs into proposals (arXiv:1612.03144, section 4.1).

    In detectron2's order: the best anchors of each level; decoded; clipped to the picture (not the canvas); empty boxes
    dropped; suppression among the boxes of a level, all levels in one call; then the best of all levels together. No
    gradient flows through.

    Args:
      objectness: [B, anchors] logits, one tensor a level.
      deltas: [B, anchors, 4] codes, one a level.
      anchors: [anchors, 4], one a level.
      image_sizes: [B, 2] height and width of the pictures in the canvas.
      config: counts, threshold and code weights.
      training: which counts.

    Returns:
      N is the configured number, or less where there are not so many anchors.
    """
    limit = config.num_candidates_train if training else config.num_candidates_test
    num_proposals = config.num_proposals_train if training else config.num_proposals_test
    scores, codes, boxes = _candidates(
        [tf.stop_gradient(level) for level in objectness], [tf.stop_gradient(level) for level in deltas], anchors, limit
    )
    _, num_levels, size = scores.shape
    boxes = box_ops.decode(codes, boxes, config.box_weights)
    sizes = tf.broadcast_to(image_sizes[:, None], [tf.shape(scores)[0], num_levels, 2])
    boxes = box_ops.clip(boxes, sizes)
    # A network that diverges must not take the suppression's loop with it: NaN is neither kept nor compared.
    valid = (box_ops.areas(boxes) > 0) & tf.math.is_finite(scores)
    keep = suppress(tf.reshape(boxes, [-1, size, 4]), tf.reshape(valid, [-1, size]), config.nms_iou)

    total = num_levels * size
    kept_scores = tf.where(tf.reshape(keep, [-1, total]), tf.reshape(scores, [-1, total]), _NO_SCORE)
    top, rows = tf.math.top_k(kept_scores, min(num_proposals, total))
    valid = top > _NO_SCORE
    boxes = tf.gather(tf.reshape(boxes, [-1, total, 4]), rows, batch_dims=1)
    return Proposals(tf.where(valid[..., None], boxes, 0.0), tf.where(valid, top, 0.0), valid)
