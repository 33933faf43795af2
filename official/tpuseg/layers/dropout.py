"""Dropout that is reproducible when a run is resumed."""

import tensorflow as tf
import tf_keras

from tpuseg.layers import noise


class StepDropout(tf_keras.layers.Layer):
    """Dropout whose mask is a function of a step counter that is stored in checkpoints.

    Keras uses a random generator whose state is reset in every process, so a resumed run would differ from an uninterrupted one.
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
        """Returns the inputs; in training, a fraction `rate` of them is set to 0, and the rest is multiplied by 1 / (1 - rate)."""
        if not training or self._rate == 0:
            return inputs
        replica = tf.distribute.get_replica_context()
        replica_id = tf.cast(replica.replica_id_in_sync_group, tf.int32) if replica else 0
        step = tf.identity(self.step)
        self.step.assign_add(1)
        # Each replica needs its own mask; otherwise all replicas would drop the same elements.
        key = noise.key_of(step, self._seed * 4096 + replica_id)
        kept = noise.uniform(_element_numbers(tf.shape(inputs)), key) >= self._rate
        return tf.where(kept, inputs / (1 - self._rate), tf.zeros([], inputs.dtype))


def _element_numbers(shape: tf.Tensor) -> tf.Tensor:
    """Returns a tensor of a given shape that contains 0, 1, 2, ..., int32."""
    numbers = tf.zeros([], tf.int32)
    for size in tf.unstack(shape):
        numbers = numbers[..., None] * size + tf.range(size)
    return numbers
