"""The five losses of Mask R-CNN (arXiv:1703.06870, section 3; normalized as in detectron2), in float32.

Each loss is a sum and a count. The loss of a batch is the sum divided by the count, after an all-reduce of both, so that one
replica and many replicas compute the same step.

Shapes: B images, R sampled anchors or rois, F rois of the mask head, K classes.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from tpuseg.layers.scope import with_name_scope
from tpuseg.maskrcnn.config import LossConfig, ModelConfig
from tpuseg.maskrcnn.targets import AnchorTargets, RoiTargets
from tpuseg.ops import boxes as box_ops


class Term(NamedTuple):
    """The sum and the count of a loss, float32 scalars."""

    total: tf.Tensor
    count: tf.Tensor


def smooth_l1(errors: tf.Tensor, beta: float) -> tf.Tensor:
    """Returns |e| - beta / 2, or e^2 / (2 beta) where |e| is below beta; elementwise. Beta 0 is L1."""
    distance = tf.abs(errors)
    if beta == 0:
        return distance
    return tf.where(distance < beta, 0.5 * distance * distance / beta, distance - 0.5 * beta)


def _where(mask: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    # Not a product: excluded values may be infinite, and 0 * inf is NaN.
    return tf.where(mask, values, tf.zeros_like(values))


def _count(mask: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.cast(mask, tf.float32))


@with_name_scope
def rpn_terms(objectness: tf.Tensor, deltas: tf.Tensor, targets: AnchorTargets, beta: float) -> dict[str, Term]:
    """Returns the objectness and box losses of the sampled anchors.

    Both are divided by B times the configured number of samples, even if fewer were found, so that the few foreground anchors of a
    step do not get a large weight.

    Args:
      objectness: [B, R] logits of the samples.
      deltas: [B, R, 4] predicted encoded boxes of the samples.
      targets: the samples and their targets.
      beta: beta of the smooth L1 loss.
    """
    samples = targets.samples
    logits, predicted = tf.cast(objectness, tf.float32), tf.cast(deltas, tf.float32)
    labels = tf.cast(samples.foreground, tf.float32)
    cross_entropy = tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits)
    distance = tf.reduce_sum(smooth_l1(predicted - targets.deltas, beta), axis=-1)
    count = tf.cast(tf.size(samples.rows), tf.float32)
    return {
        "rpn_objectness": Term(tf.reduce_sum(_where(samples.valid, cross_entropy)), count),
        "rpn_box": Term(tf.reduce_sum(_where(samples.foreground, distance)), count),
    }


@with_name_scope
def box_terms(
    logits: tf.Tensor, deltas: tf.Tensor, targets: RoiTargets, weights: Sequence[float], beta: float
) -> dict[str, Term]:
    """Returns the class and box losses of the sampled rois; both are divided by the number of rois, foreground and background.

    Args:
      logits: [B, R, K + 1] class logits.
      deltas: [B, R, K, 4] predicted encoded boxes, of which those of the true class are used.
      targets: the rois and their targets.
      weights: weights of the box encoding.
      beta: beta of the smooth L1 loss.
    """
    logits = tf.cast(logits, tf.float32)
    cross_entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=targets.classes, logits=logits)
    classes = tf.minimum(targets.classes, deltas.shape[2] - 1)
    predicted = tf.gather(tf.cast(deltas, tf.float32), classes, batch_dims=2)
    expected = box_ops.encode(targets.boxes, targets.rois, list(weights))
    distance = tf.reduce_sum(smooth_l1(predicted - expected, beta), axis=-1)
    count = _count(targets.valid)
    return {
        "class": Term(tf.reduce_sum(_where(targets.valid, cross_entropy)), count),
        "box": Term(tf.reduce_sum(_where(targets.foreground, distance)), count),
    }


@with_name_scope
def mask_term(logits: tf.Tensor, targets: tf.Tensor, foreground: tf.Tensor) -> Term:
    """Returns the mask loss: the mean binary cross entropy over all pixels of the masks of foreground rois.

    Args:
      logits: [B, F, Z, Z] mask logits of the true class.
      targets: [B, F, Z, Z] zeros and ones.
      foreground: [B, F] bool.
    """
    cross_entropy = tf.nn.sigmoid_cross_entropy_with_logits(labels=targets, logits=tf.cast(logits, tf.float32))
    means = tf.reduce_mean(cross_entropy, axis=[2, 3])
    return Term(tf.reduce_sum(_where(foreground, means)), _count(foreground))


def terms(outputs: dict[str, Any], model: ModelConfig, config: LossConfig) -> dict[str, Term]:
    """Returns the sums and counts of the five losses on this replica.

    Args:
      outputs: the outputs of the model in training.
      model: contains the weights of the box encoding.
      config: contains the betas.
    """
    rois = outputs["roi_targets"]
    num_masks = outputs["mask_logits"].shape[1]
    return {
        **rpn_terms(
            outputs["objectness_logits"], outputs["anchor_deltas"], outputs["anchor_targets"], config.rpn_smooth_l1_beta
        ),
        **box_terms(
            outputs["class_logits"],
            outputs["box_deltas"],
            rois,
            model.box_head.box_weights,
            config.box_smooth_l1_beta,
        ),
        "mask": mask_term(outputs["mask_logits"], outputs["mask_targets"], rois.foreground[:, :num_masks]),
    }


def shares(local: dict[str, Term], global_counts: dict[str, tf.Tensor], config: LossConfig) -> dict[str, tf.Tensor]:
    """Returns this replica's share of each weighted loss and of their total (`loss`); the shares add up to the batch's losses.

    Args:
      local: the result of `terms` on this replica.
      global_counts: the counts after an all-reduce, by name.
      config: contains the weights.
    """
    factors = {
        "rpn_objectness": config.rpn_objectness_weight,
        "rpn_box": config.rpn_box_weight,
        "class": config.class_weight,
        "box": config.box_weight,
        "mask": config.mask_weight,
    }
    # Without objects in a batch, the count of the mask loss is 0, and the loss must be 0 instead of NaN.
    result = {
        name: factors[name] * tf.math.divide_no_nan(term.total, global_counts[name]) for name, term in local.items()
    }
    result["loss"] = tf.add_n(list(result.values()))
    return result
