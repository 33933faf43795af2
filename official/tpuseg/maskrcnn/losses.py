"""The five losses of Mask R-CNN (arXiv:1703.06870, section 3; normalised as in detectron2), in float32.

Each loss is a sum and a count. The loss of a batch is the first over the second, both summed over all replicas: then
one replica and many compute the same step.

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
    """A loss before its normalisation, float32 scalars."""

    total: tf.Tensor
    count: tf.Tensor


def smooth_l1(errors: tf.Tensor, beta: float) -> tf.Tensor:
    """Returns |e| - beta / 2, or e^2 / (2 beta) where |e| is below beta; elementwise. Beta 0 is L1."""
    distance = tf.abs(errors)
    if beta == 0:
        return distance
    return tf.where(distance < beta, 0.5 * distance * distance / beta, distance - 0.5 * beta)


def _where(mask: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    # Not a product: what is left out may be infinite, and 0 * inf is NaN.
    return tf.where(mask, values, tf.zeros_like(values))


def _count(mask: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.cast(mask, tf.float32))


@with_name_scope
def rpn_terms(objectness: tf.Tensor, deltas: tf.Tensor, targets: AnchorTargets, beta: float) -> dict[str, Term]:
    """Objectness and boxes of the sampled anchors.

    Both are divided by B times the number of samples asked for, however many there were, so that a step with few
    foreground anchors does not dominate.

    Args:
      objectness: [B, R] logits of the samples.
      deltas: [B, R, 4] codes of the samples.
      targets: samples and what they should be.
      beta: of the box loss.
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
    """Classes and boxes of the sampled rois; both are divided by the number of rois, foreground or not.

    Args:
      logits: [B, R, K + 1].
      deltas: [B, R, K, 4] codes; only the true class's count.
      targets: rois and what they are.
      weights: of the box code.
      beta: of the box loss.
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
    """Binary cross entropy of every pixel of the true class's mask, the mean over the foreground's pixels.

    Args:
      logits: [B, F, Z, Z] of the true class.
      targets: [B, F, Z, Z] zeros and ones.
      foreground: [B, F] bool.
    """
    cross_entropy = tf.nn.sigmoid_cross_entropy_with_logits(labels=targets, logits=tf.cast(logits, tf.float32))
    means = tf.reduce_mean(cross_entropy, axis=[2, 3])
    return Term(tf.reduce_sum(_where(foreground, means)), _count(foreground))


def terms(outputs: dict[str, Any], model: ModelConfig, config: LossConfig) -> dict[str, Term]:
    """Returns the five losses' sums and counts on this replica.

    Args:
      outputs: what the model returns in training.
      model: for the weights of the box code.
      config: betas.
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
    """Returns this replica's share of every weighted loss and of their sum (`loss`); all replicas' shares add up to the batch's.

    Args:
      local: from `terms`.
      global_counts: the counts of all replicas added up, by name.
      config: the factors.
    """
    factors = {
        "rpn_objectness": config.rpn_objectness_weight,
        "rpn_box": config.rpn_box_weight,
        "class": config.class_weight,
        "box": config.box_weight,
        "mask": config.mask_weight,
    }
    # A batch without any object has no mask to learn from: its loss is 0, not 0 / 0.
    result = {
        name: factors[name] * tf.math.divide_no_nan(term.total, global_counts[name]) for name, term in local.items()
    }
    result["loss"] = tf.add_n(list(result.values()))
    return result
