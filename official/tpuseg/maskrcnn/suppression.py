"""Batched non-maximum suppression with static shapes.

Shapes: B images (or images times levels), N boxes.
"""

import tensorflow as tf

from tpuseg.layers.scope import with_name_scope
from tpuseg.ops import boxes as box_ops

# Boxes per block: the number of lanes of a TPU's vector unit. The loop inside a block has at most this many iterations, and the
# time of each is proportional to the square of this number.
_BLOCK = 128


def _overlaps(boxes: tf.Tensor, others: tf.Tensor, iou_threshold: float) -> tf.Tensor:
    """Returns whether IoU > threshold, [B, N, M] bool, without a division; always False for two empty boxes."""
    shared = box_ops.intersections(boxes, others)
    total = box_ops.areas(boxes)[:, :, None] + box_ops.areas(others)[:, None, :]
    return shared > iou_threshold * (total - shared)


def _find_suppressed(keep: tf.Tensor, overlaps: tf.Tensor) -> tf.Tensor:
    """Returns whether any kept box overlaps, [B, M] bool; `keep` is [B, N] bool, `overlaps` [B, N, M] float32 zeros and ones."""
    return tf.einsum("bn,bnm->bm", tf.cast(keep, tf.float32), overlaps) > 0


def _decide_block(candidates: tf.Tensor, overlaps: tf.Tensor) -> tf.Tensor:
    """Applies greedy suppression within a block.

    A box is kept if no kept box with a higher score overlaps it. The loop starts with all boxes kept, and applies this rule until
    nothing changes. After the first iteration the first box is final, and after each further iteration all boxes that depend only
    on final boxes. The number of iterations is the length of the longest chain of overlaps, and at most the number of boxes. For
    four boxes in which each overlaps the next one (A-B-C-D):

        start           A B C D
        iteration 1     A - - -      B, C and D are overlapped by A, B and C
        iteration 2     A - C D      B is suppressed by A; C and D have no kept box before them that overlaps
        iteration 3     A - C -      D is suppressed by C; iteration 4 changes nothing

    Args:
      candidates: [B, N] bool, in the order of decreasing scores.
      overlaps: [B, N, N] float32 zeros and ones.

    Returns:
      [B, N] bool.
    """
    size = candidates.shape[1]
    earlier = overlaps * tf.linalg.band_part(tf.ones([size, size]), 0, -1) * (1 - tf.eye(size))

    def body(keep: tf.Tensor, _: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        updated = candidates & ~_find_suppressed(keep, earlier)
        return updated, tf.reduce_any(updated != keep)

    keep, _ = tf.while_loop(
        lambda _, changed: changed, body, (candidates, tf.constant(True)), maximum_iterations=size + 1
    )
    return keep


@with_name_scope
def suppress(boxes: tf.Tensor, valid: tf.Tensor, iou_threshold: float, groups: tf.Tensor | None = None) -> tf.Tensor:
    """Applies greedy non-maximum suppression.

    In the order of decreasing scores, a box is kept if its IoU with every box kept so far is at most the threshold.

    Args:
      boxes: [B, N, 4], sorted by decreasing score; N is static.
      valid: [B, N] bool; other boxes are not kept and do not suppress any box.
      iou_threshold: largest IoU of two kept boxes, between 0 and 1.
      groups: [B, N] int32 groups, for example classes: boxes of different groups do not suppress each other.

    Returns:
      [B, N] bool, whether a box is kept.
    """
    boxes = tf.stop_gradient(boxes)
    size = boxes.shape[1]
    keep = valid[:, :0]
    for start in range(0, size, _BLOCK):
        # The block is compared with all boxes up to its end, because later boxes cannot suppress it.
        end = min(start + _BLOCK, size)
        overlaps = _overlaps(boxes[:, :end], boxes[:, start:end], iou_threshold)
        if groups is not None:
            overlaps &= groups[:, :end, None] == groups[:, None, start:end]
        overlaps = tf.cast(overlaps, tf.float32)
        candidates = valid[:, start:end]
        if start:
            candidates &= ~_find_suppressed(keep, overlaps[:, :start])
        keep = tf.concat([keep, _decide_block(candidates, overlaps[:, start:])], axis=1)
    return keep
