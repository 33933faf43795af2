"""Class scores of a batch of images, at one or several scales, for evaluation, prediction and export."""

import tensorflow as tf
import tf_keras

from tpuseg.deeplab.config import EvaluationConfig
from tpuseg.layers.resize import bilinear_resize


def are_logits(config: EvaluationConfig) -> bool:
    """Returns whether `class_scores` returns logits; otherwise they are probabilities."""
    return list(config.scales) == [1.0] and not config.flip


def class_scores(model: tf_keras.Model, images: tf.Tensor, config: EvaluationConfig) -> tf.Tensor:
    """Predicts class scores; the predicted class is the one with the largest score.

    Args:
      model: a DeepLab v3+ model.
      images: [B, H, W, C] uint8.
      config: scales and flip. With a single scale and no flip the scores are the logits; otherwise they are class probabilities,
        averaged over all passes at the resolution of the largest one (arXiv:1706.05587, section 4.1.3).

    Returns:
      [B, h, w, K] float32, where h x w is H / 4 x W / 4 times the largest scale.
    """
    if are_logits(config):
        return model(images, training=False)["logits"]
    probabilities: list[tf.Tensor] = []
    for scale in sorted(config.scales, reverse=True):
        for flip in (False, True) if config.flip else (False,):
            logits = model(_rescale(images, scale, flip), training=False)["logits"]
            logits = tf.reverse(logits, axis=[2]) if flip else logits
            largest = probabilities[0].shape if probabilities else logits.shape
            probabilities.append(tf.nn.softmax(bilinear_resize(logits, (largest[1], largest[2]))))
    return tf.add_n(probabilities) / len(probabilities)


def _rescale(images: tf.Tensor, scale: float, flip: bool) -> tf.Tensor:
    size = tuple(round((side - 1) * scale) + 1 for side in images.shape[1:3])
    resized = bilinear_resize(tf.cast(images, tf.float32), size) if scale != 1 else images
    return tf.reverse(resized, axis=[2]) if flip else resized
