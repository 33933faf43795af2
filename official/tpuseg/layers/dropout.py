"""Dropout that a resumed run repeats exactly."""

import tensorflow as tf
import tf_keras

from tpuseg.layers import noise


class StepDropout(tf_keras.layers.Layer):
    """Dropout whose mask is a function of a step counter, which checkpoints keep.

    Keras draws from a generator whose state starts anew with every process, so that a run that was stopped and resumed would
    differ from one that was not.
    """

    def __init__(self, rate: float, seed: int = 0, name: str = "dropout") -> None:
        super().__init__(name=name)
        self._rate = rate
        self._seed = seed

    def build(self, input_shape: tf.TensorShape) -> None:
        """Creates the counter."""
        self.step = self.add_weight(
            "step",
            shape=(),
            dtype=tf.int32,
            initializer="zeros",
            trainable=False,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )
        super().build(input_shape)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns the inputs, in training with a share `rate` of them set to 0 and the rest scaled up."""
        if not training or self._rate == 0:
            return inputs
        replica = tf.distribute.get_replica_context()
        replica_id = tf.cast(replica.replica_id_in_sync_group, tf.int32) if replica else 0
        step = tf.identity(self.step)
        self.step.assign_add(1)
        # Another mask on every replica, or all would drop the same channels.
        key = noise.key_of(step, self._seed * 4096 + replica_id)
        kept = noise.uniform(_places(tf.shape(inputs)), key) >= self._rate
        return tf.where(kept, inputs / (1 - self._rate), tf.zeros([], inputs.dtype))


def _places(shape: tf.Tensor) -> tf.Tensor:
    """Returns the numbers of all elements of a tensor, int32, in its shape."""
    places = tf.zeros([], tf.int32)
    for size in tf.unstack(shape):
        places = places[..., None] * size + tf.range(size)
    return places
