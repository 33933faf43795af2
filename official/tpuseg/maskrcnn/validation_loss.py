"""The validation losses: the training losses on the first evaluation images, without augmentation.

Detection and training compute different parts of the network, so these losses need a separate pass. It is limited to a few images.
Norms use their moving statistics, and nothing is updated.
"""

from typing import Any

import tensorflow as tf

from tpuseg.data import pipeline
from tpuseg.maskrcnn import caps, inputs, losses
from tpuseg.maskrcnn.config import LossConfig, MaskRcnnConfig

_PLAIN = {
    "scale_min": 1.0,
    "scale_max": 1.0,
    "flip": False,
    "flip_vertical": False,
    "rotate_right_angles": False,
    "rotate_degrees": 0.0,
    "color_jitter": 0.0,
    "copy_paste": 0.0,
    "empty_share": 0.0,
    "min_visible": 0.0,
    "max_instances": 0,
    "max_ignored": 0,
}


def num_steps(config: MaskRcnnConfig, data_dir: str, num_replicas: int) -> int:
    """Returns the number of steps, with one image per replica, from which the losses are computed."""
    total = min(config.evaluation.num_loss_images, pipeline.count_examples(config.validation_data, data_dir))
    return total // num_replicas


def dataset(
    config: MaskRcnnConfig, data_dir: str, context: tf.distribute.InputContext | None, num_replicas: int
) -> tf.data.Dataset:
    """Returns batches of one image per replica, with the features and labels of `inputs.training_dataset` in one dictionary."""
    # The caps are derived from the validation records.
    # If images are evaluated by windows, the losses are those of one window of every image.
    train_data = {**_PLAIN, "window": config.evaluation.tile, "input_path": config.validation_data.input_path}
    plain = config.replace(train_data=train_data, validation_data={"global_batch_size": num_replicas})
    plain = caps.fit(plain, data_dir).config

    def example(raw: pipeline.Raw) -> dict[str, tf.Tensor]:
        features, labels = inputs.augment(inputs.parse_record(raw), tf.zeros([2], tf.int32), plain)
        return {**features, **labels}

    return pipeline.evaluation_stream(plain.validation_data, data_dir, example, context)


def sums(outputs: Any, config: MaskRcnnConfig) -> dict[str, tf.Tensor]:
    """Returns the sum and count of each loss of a step over all replicas, [2]."""
    replica = tf.distribute.get_replica_context()
    local = losses.terms(outputs, config.model, config.losses)
    return replica.all_reduce(
        tf.distribute.ReduceOp.SUM, {name: tf.stack([term.total, term.count]) for name, term in local.items()}
    )


def means(totals: dict[str, tf.Tensor], config: LossConfig) -> dict[str, float]:
    """Returns the losses over all steps, weighted as in training; `loss` is their sum."""
    terms = {name: losses.Term(total[0], total[1]) for name, total in totals.items()}
    shares = losses.shares(terms, {name: term.count for name, term in terms.items()}, config)
    return {name: float(value) for name, value in shares.items()}
