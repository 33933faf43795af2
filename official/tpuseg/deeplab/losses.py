"""The losses of DeepLab, in float32.

Shapes: B images, H x W the size of the labels, h x w the size of the logits, K classes.
"""


import tensorflow as tf

from tpuseg.deeplab.config import LossConfig
from tpuseg.layers.resize import bilinear_resize
from tpuseg.layers.scope import with_name_scope


@with_name_scope
def pixel_losses(labels: tf.Tensor, logits: tf.Tensor, config: LossConfig) -> tuple[tf.Tensor, tf.Tensor]:
    """Computes the softmax cross entropy of all valid pixels.

    Pixels with the ignore label have weight 0, and therefore no loss and a gradient of exactly 0. With `hard_pixel_fraction` below
    1, only this fraction of the replica's valid pixels, those with the largest losses, have a weight.

    Args:
      labels: [B, H, W] integer class ids or the ignore label.
      logits: [B, h, w, K]; resized bilinearly to the size of the labels.
      config: ignore label, class weights, label smoothing, hard pixels.

    Returns:
      The sum of weight * loss and the sum of weights, float32 scalars. The loss of a batch is the first sum divided by the
      all-reduced second sum, or 0 if all weights are 0; see `mean_loss`.
    """
    num_classes = logits.shape[-1]
    resized = bilinear_resize(tf.cast(logits, tf.float32), (labels.shape[1], labels.shape[2]))
    labels = tf.cast(labels, tf.int32)
    valid = labels != config.ignore_label
    classes = tf.where(valid, labels, 0)
    cross_entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(classes, resized)
    if config.label_smoothing:
        # The cross entropy with a uniform distribution over the classes.
        uniform = tf.reduce_logsumexp(resized, axis=-1) - tf.reduce_mean(resized, axis=-1)
        cross_entropy = (1 - config.label_smoothing) * cross_entropy + config.label_smoothing * uniform
    weights = tf.cast(valid, tf.float32)
    if config.class_weights:
        table = tf.constant(list(config.class_weights), tf.float32)
        weights *= tf.einsum("bhwk,k->bhw", tf.one_hot(classes, num_classes), table)
    if config.hard_pixel_fraction < 1:
        weights *= _hard_pixels(cross_entropy, valid, config.hard_pixel_fraction)
    return tf.reduce_sum(weights * cross_entropy), tf.reduce_sum(weights)


def _hard_pixels(losses: tf.Tensor, valid: tf.Tensor, fraction: float) -> tf.Tensor:
    """Returns [B, H, W] float32: 1 for the given fraction of the valid pixels with the largest losses, 0 for other valid pixels.

    Pixels that are not valid can have either.
    """
    flat = tf.reshape(tf.where(valid, tf.stop_gradient(losses), -1.0), [-1])
    count = tf.cast(tf.math.ceil(fraction * tf.reduce_sum(tf.cast(valid, tf.float32))), tf.int32)
    # The number of pixels depends on the data, so a static top-k is not possible: the losses are sorted to find the threshold.
    descending = tf.sort(flat, direction="DESCENDING")
    threshold = tf.gather(descending, tf.maximum(count - 1, 0))
    return tf.cast(losses >= threshold, tf.float32)


def mean_loss(loss_sum: tf.Tensor, global_weight_sum: tf.Tensor) -> tf.Tensor:
    """Returns a replica's share of the mean over the pixels of all replicas; 0 if all pixels are ignored."""
    return tf.math.divide_no_nan(loss_sum, global_weight_sum)
