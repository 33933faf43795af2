"""Batch normalisation, as an experiment asks for it."""

import tf_keras

from tpuseg import schema


def batch_norm(config: schema.NormConfig, name: str) -> tf_keras.layers.BatchNormalization:
    """Returns a batch norm layer (arXiv:1502.03167).

    Args:
      config: `trainable` computes statistics in each replica, `synchronized` over all replicas; `frozen` always uses the
        moving statistics, and its scale and offset are not trained.
      name: of the layer.
    """
    layer = tf_keras.layers.BatchNormalization(
        momentum=config.momentum,
        epsilon=config.epsilon,
        synchronized=config.mode == "synchronized",
        name=name,
    )
    # Keras runs a batch norm that is not trainable in inference mode, whatever `training` says.
    layer.trainable = config.mode != "frozen"
    return layer
