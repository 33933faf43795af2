"""Non-maximum suppression with static shapes, for a batch at once.

Shapes: B images (or images times levels), N boxes.
"""

import tensorflow as tf

from tpuseg.layers.scope import with_name_scope
from tpuseg.ops import boxes as box_ops

# Boxes that are decided together: as many as a TPU's vector has lanes. The rounds of the loop inside a block are at most as many,
# and each costs the square.
_BLOCK = 128


def _overlaps(boxes: tf.Tensor, others: tf.Tensor, iou_threshold: float) -> tf.Tensor:
    """Returns where IoU > threshold, [B, N, M] bool; without a division, and never for two empty boxes."""
    shared = box_ops.intersections(boxes, others)
    total = box_ops.areas(boxes)[:, :, None] + box_ops.areas(others)[:, None, :]
    return shared > iou_threshold * (total - shared)


def _suppressed(keep: tf.Tensor, overlaps: tf.Tensor) -> tf.Tensor:
    """Returns [B, M] bool: whether any kept box overlaps; keep is [B, N], overlaps [B, N, M] float32 zeros and ones."""
    return tf.einsum("bn,bnm->bm", tf.cast(keep, tf.float32), overlaps) > 0


def _decide_block(candidates: tf.Tensor, overlaps: tf.Tensor) -> tf.Tensor:
    """Greedy suppression within a block.

    A box stays if no better box that stays overlaps it. Starting from "all stay" and applying that rule until nothing
    changes decides the first box in the first round, and everything that depends on decided boxes alone in the next:
    the rounds are as many as the longest chain of overlaps, and never more than boxes.

    Args:
      candidates: [B, N] bool, best first.
      overlaps: [B, N, N] float32 zeros and ones.

    Returns:
      [B, N] bool.
    """
    size = candidates.shape[1]
    earlier = overlaps * tf.linalg.band_part(tf.ones([size, size]), 0, -1) * (1 - tf.eye(size))

    def body(keep: tf.Tensor, _: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        updated = candidates & ~_suppressed(keep, earlier)
        return updated, tf.reduce_any(updated != keep)

    keep, _ = tf.while_loop(
        lambda _, changed: changed, body, (candidates, tf.constant(True)), maximum_iterations=size + 1
    )
    return keep


@with_name_scope
def suppress(boxes: tf.Tensor, valid: tf.Tensor, iou_threshold: float, groups: tf.Tensor | None = None) -> tf.Tensor:
    """Greedy non-maximum suppression.

    Going from the best box to the worst, a box is kept if its IoU with every box kept so far is at most the threshold.

    Args:
      boxes: [B, N, 4], sorted by falling score; N is static.
      valid: [B, N] bool; other boxes are neither kept nor do they suppress any.
      iou_threshold: between 0 and 1.
      groups: [B, N] int32, for instance classes: boxes of different groups do not suppress each other.

    Returns:
      [B, N] bool, whether a box is kept.
    """
    boxes = tf.stop_gradient(boxes)
    size = boxes.shape[1]
    keep = valid[:, :0]
    for start in range(0, size, _BLOCK):
        # Everything up to this block against the block: what comes later cannot suppress it.
        end = min(start + _BLOCK, size)
        overlaps = _overlaps(boxes[:, :end], boxes[:, start:end], iou_threshold)
        if groups is not None:
            overlaps &= groups[:, :end, None] == groups[:, None, start:end]
        overlaps = tf.cast(overlaps, tf.float32)
        candidates = valid[:, start:end]
        if start:
            candidates &= ~_suppressed(keep, overlaps[:, :start])
        keep = tf.concat([keep, _decide_block(candidates, overlaps[:, start:])], axis=1)
    return keep
