"""Region proposal network (arXiv:1506.01497, section 3; with FPN: arXiv:1612.03144, section 4.1).

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

# The score of padding rows, smaller than every logit.
_NO_SCORE = float("-inf")


class RpnHead(tf_keras.layers.Layer):
    """One or more 3x3 convolutions and two 1x1 convolutions, shared by all levels."""

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
        """Returns the inputs of the last 3x3 convolution for P2 to P6: the FPN's levels if there is only one such convolution."""
        for conv in self._convs[:-1]:
            pyramid = [conv(level) for level in pyramid]
        return pyramid

    @property
    def _convs(self) -> list[Conv2D]:
        return [self.conv, *self.more_convs]

    def call(self, features: list[tf.Tensor]) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        """Scores the anchors of every level.

        Args:
          features: features of P2 to P6, as returned by `features`.

        Returns:
          Two lists with one tensor per level: objectness logits [B, anchors] float32 in the order of `anchors.level_anchors`, and
          encoded boxes [B, cells, 4 * shapes] in the compute dtype, with the four values of each anchor together.
        """
        objectness, deltas = [], []
        for level in features:
            hidden = self._convs[-1](level)
            num_cells = level.shape[1] * level.shape[2]
            flat = tf.reshape(self.objectness(hidden), [-1, num_cells * self.objectness.filters])
            objectness.append(tf.cast(flat, tf.float32))
            deltas.append(tf.reshape(self.deltas(hidden), [-1, num_cells, self.deltas.filters]))
        return objectness, deltas

    def score_anchors(self, cells: Cells, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Computes the outputs of `call` for some anchors only; the loss has a gradient only for these.

        With 256 sampled anchors per image, the backward pass is computed for 256 positions instead of all positions, most of which
        would have a gradient of zero.

        Args:
          cells: the table of `features`.
          rows: [B, R] int32 anchor numbers over all levels, in the order of `anchors.level_anchors`.

        Returns:
          Objectness logits [B, R] and encoded boxes [B, R, 4], float32.
        """
        num_shapes = self.objectness.filters
        windows = _gather_windows(cells, rows // num_shapes)
        hidden = tf.nn.relu(_apply_kernel(windows, self._convs[-1]))
        shape = tf.one_hot(rows % num_shapes, num_shapes)
        # A product with a one-hot tensor, because gathers along a short axis are slow on a TPU.
        objectness = tf.reduce_sum(tf.cast(_apply_kernel(hidden, self.objectness), tf.float32) * shape, axis=-1)
        deltas = tf.reshape(tf.cast(_apply_kernel(hidden, self.deltas), tf.float32), [-1, rows.shape[1], num_shapes, 4])
        return objectness, tf.reduce_sum(deltas * shape[..., None], axis=2)


def _apply_kernel(inputs: tf.Tensor, conv: Conv2D) -> tf.Tensor:
    """Applies the kernel of a convolution to windows, [B, R, kernel height * kernel width * C]."""
    kernel = tf.reshape(tf.cast(conv.kernel, inputs.dtype), [-1, conv.filters])
    return tf.nn.bias_add(tf.einsum("bri,ij->brj", inputs, kernel), tf.cast(conv.bias, inputs.dtype))


def _gather_windows(cells: Cells, places: tf.Tensor) -> tf.Tensor:
    """Returns the 3x3 windows around cells, zero-padded, [B, R, 9 C]; `places` [B, R] are cell numbers over all levels."""
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
    """Proposals in the order of decreasing scores.

    Attributes:
      boxes: [B, N, 4] boxes in pixels of the canvas; padding rows are 0.
      scores: [B, N] objectness logits.
      valid: [B, N] bool, false for padding rows.
    """

    boxes: tf.Tensor
    scores: tf.Tensor
    valid: tf.Tensor


def _pad(rows: tf.Tensor, size: int, value: float = 0.0) -> tf.Tensor:
    paddings = [(0, 0), (0, size - rows.shape[1])] + [(0, 0)] * (rows.shape.rank - 2)
    return tf.pad(rows, paddings, constant_values=value)


def _select_candidates(
    objectness: list[tf.Tensor], deltas: list[tf.Tensor], anchors: list[tf.Tensor], limit: int
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns the best anchors of each level, padded: scores [B, L, k], encoded boxes (float32) and anchors [B, L, k, 4]."""
    counts = [min(limit, scores.shape[1]) for scores in objectness]
    size = max(counts)
    picked = []
    for scores, codes, boxes, count in zip(objectness, deltas, anchors, counts, strict=True):
        top, rows = tf.math.top_k(scores, count)
        picked.append((_pad(top, size, _NO_SCORE), _pad(_gather_codes(codes, rows), size), _pad(tf.gather(boxes, rows), size)))
    scores, codes, boxes = (tf.stack(parts, axis=1) for parts in zip(*picked, strict=True))
    return scores, codes, boxes


def _gather_codes(codes: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
    """Returns the encoded boxes of anchors, [B, k, 4] float32, from those of all anchors, [B, cells, 4 * shapes]."""
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
    """Computes proposals from the outputs of the RPN (arXiv:1612.03144, section 4.1).

    The operations are those of detectron2: the anchors with the highest scores of each level are decoded and clipped to the image
    (not the canvas), empty boxes are dropped, suppression is applied within each level (all levels in one call), and the best of
    all levels are kept. There is no gradient.

    Args:
      objectness: [B, anchors] logits, one tensor per level.
      deltas: [B, cells, 4 * shapes] encoded boxes, one tensor per level.
      anchors: [anchors, 4] boxes in pixels, one tensor per level.
      image_sizes: [B, 2] height and width of the images on the canvas.
      config: counts, IoU threshold and weights of the box encoding.
      training: whether to use the counts for training.

    Returns:
      N proposals, where N is the configured number, or the number of anchors if that is smaller.
    """
    limit = config.num_candidates_train if training else config.num_candidates_test
    num_proposals = config.num_proposals_train if training else config.num_proposals_test
    scores, codes, boxes = _select_candidates(
        [tf.stop_gradient(level) for level in objectness], [tf.stop_gradient(level) for level in deltas], anchors, limit
    )
    _, num_levels, size = scores.shape
    boxes = box_ops.decode(codes, boxes, config.box_weights)
    sizes = tf.broadcast_to(image_sizes[:, None], [tf.shape(scores)[0], num_levels, 2])
    boxes = box_ops.clip(boxes, sizes)
    # If the network diverges, the loop of the suppression must still end, so boxes with NaN are marked invalid.
    valid = (box_ops.areas(boxes) > 0) & tf.math.is_finite(scores)
    keep = suppress(tf.reshape(boxes, [-1, size, 4]), tf.reshape(valid, [-1, size]), config.nms_iou)

    total = num_levels * size
    kept_scores = tf.where(tf.reshape(keep, [-1, total]), tf.reshape(scores, [-1, total]), _NO_SCORE)
    top, rows = tf.math.top_k(kept_scores, min(num_proposals, total))
    valid = top > _NO_SCORE
    boxes = tf.gather(tf.reshape(boxes, [-1, total, 4]), rows, batch_dims=1)
    return Proposals(tf.where(valid[..., None], boxes, 0.0), tf.where(valid, top, 0.0), valid)
