"""Region proposal network (arXiv:1506.01497, section 3; on a pyramid: arXiv:1612.03144, section 4.1).

Shapes: B images, L levels, A anchors of all levels, R sampled anchors, N proposals, C filters.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras

from tpuseg.layers.conv import Conv2D
from tpuseg.layers.scope import with_name_scope
from tpuseg.maskrcnn.cells import Cells
from tpuseg.maskrcnn.config import RpnConfig
from tpuseg.maskrcnn.suppression import suppress
from tpuseg.ops import boxes as box_ops

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

    def features(self, pyramid: list[tf.Tensor]) -> list[tf.Tensor]:
        """Returns what the last 3x3 convolution sees of P2 to P6: the pyramid itself where it is the only one."""
        for conv in self._convs[:-1]:
            pyramid = [conv(level) for level in pyramid]
        return pyramid

    @property
    def _convs(self) -> list[Conv2D]:
        return [self.conv, *self.more_convs]

    def call(self, features: list[tf.Tensor]) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        """Scores the anchors of every level.

        Args:
          features: of P2 to P6, from `features`.

        Returns:
          Two lists, a tensor a level: objectness logits [B, anchors] float32 in the order of `anchors.level_anchors`, and
          box codes [B, cells, 4 * shapes] in the compute type, those of a cell's shapes behind each other.
        """
        objectness, deltas = [], []
        for level in features:
            hidden = self._convs[-1](level)
            num_cells = level.shape[1] * level.shape[2]
            flat = tf.reshape(self.objectness(hidden), [-1, num_cells * self.objectness.filters])
            objectness.append(tf.cast(flat, tf.float32))
            deltas.append(tf.reshape(self.deltas(hidden), [-1, num_cells, self.deltas.filters]))
        return objectness, deltas

    def at(self, cells: Cells, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Scores some anchors: the numbers that `call` has for them, and all that the loss has a gradient for.

        To learn from 256 anchors an image takes 256 places' part of the backward pass, not that of all places with zeros
        in it.

        Args:
          cells: of `features`.
          rows: [B, R] int32 anchors of all levels, as `anchors.level_anchors` counts them, one level after the other.

        Returns:
          Objectness logits [B, R] and box codes [B, R, 4], float32.
        """
        num_shapes = self.objectness.filters
        windows = _neighbourhoods(cells, rows // num_shapes)
        hidden = tf.nn.relu(_product(windows, self._convs[-1]))
        shape = tf.one_hot(rows % num_shapes, num_shapes)
        # A product with zeros and ones, as a TPU's gather from a short axis is slow.
        objectness = tf.reduce_sum(tf.cast(_product(hidden, self.objectness), tf.float32) * shape, axis=-1)
        deltas = tf.reshape(tf.cast(_product(hidden, self.deltas), tf.float32), [-1, rows.shape[1], num_shapes, 4])
        return objectness, tf.reduce_sum(deltas * shape[..., None], axis=2)


def _product(inputs: tf.Tensor, conv: Conv2D) -> tf.Tensor:
    """Applies a convolution's kernel to what it sees at each place, [B, R, height * width * C]."""
    kernel = tf.reshape(tf.cast(conv.kernel, inputs.dtype), [-1, conv.filters])
    return tf.nn.bias_add(tf.einsum("bri,ij->brj", inputs, kernel), tf.cast(conv.bias, inputs.dtype))


def _neighbourhoods(cells: Cells, places: tf.Tensor) -> tf.Tensor:
    """Returns the 3x3 cells around some, zeros beyond the border, [B, R, 9 C]; places are [B, R], counted over all levels."""
    level = cells.level_at(places)
    place = (places - cells.starts(level))[..., None]
    height, width = (extent[..., None] for extent in cells.extents(level))
    steps_y, steps_x = (np.array(steps, np.int32) for steps in zip(*np.ndindex(3, 3), strict=True))
    y, x = place // width + steps_y - 1, place % width + steps_x - 1
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    rows = cells.first_rows(level)[..., None] + y * width + x
    windows = cells.read(tf.where(inside, rows, 0))
    windows = tf.where(inside[..., None], windows, tf.zeros([], windows.dtype))
    return tf.reshape(windows, [-1, places.shape[1], 9 * windows.shape[-1]])


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
    """Returns each level's best anchors, padded: scores [B, L, k], codes (float32) and boxes [B, L, k, 4]."""
    counts = [min(limit, scores.shape[1]) for scores in objectness]
    size = max(counts)
    picked = []
    for scores, codes, boxes, count in zip(objectness, deltas, anchors, counts, strict=True):
        top, rows = tf.math.top_k(scores, count)
        picked.append((_pad(top, size, _NO_SCORE), _pad(_codes_at(codes, rows), size), _pad(tf.gather(boxes, rows), size)))
    scores, codes, boxes = (tf.stack(parts, axis=1) for parts in zip(*picked, strict=True))
    return scores, codes, boxes


def _codes_at(codes: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
    """Returns the codes of anchors, [B, k, 4] float32: the cell's row of `codes` [B, cells, 4 * shapes], of which the shape's."""
    num_shapes = codes.shape[-1] // 4
    of_cell = tf.cast(tf.gather(codes, rows // num_shapes, batch_dims=1), tf.float32)
    of_shapes = tf.reshape(of_cell, [-1, rows.shape[1], num_shapes, 4])
    return tf.reduce_sum(of_shapes * tf.one_hot(rows % num_shapes, num_shapes)[..., None], axis=2)


@with_name_scope
def propose(
    objectness: list[tf.Tensor],
    deltas: list[tf.Tensor],
    anchors: list[tf.Tensor],
    image_sizes: tf.Tensor,
    config: RpnConfig,
    training: bool,
) -> Proposals:
    """Turns the RPN's outputs into proposals (arXiv:1612.03144, section 4.1).

    In detectron2's order: the best anchors of each level; decoded; clipped to the image (not the canvas); empty boxes
    dropped; suppression among the boxes of a level, all levels in one call; then the best of all levels together. No
    gradient flows through.

    Args:
      objectness: [B, anchors] logits, one tensor a level.
      deltas: [B, cells, 4 * shapes] codes, one a level.
      anchors: [anchors, 4], one a level.
      image_sizes: [B, 2] height and width of the images in the canvas.
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
