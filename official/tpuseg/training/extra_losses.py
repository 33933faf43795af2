"""Losses that other packages add to those of an architecture."""

import abc
from collections.abc import Mapping
from typing import Any, ClassVar

import tensorflow as tf

from tpuseg.configs import ranges, schema


class ExtraLoss(abc.ABC):
    """A loss that is added to an architecture's own; registered in `registry.losses`.

    An experiment uses it by naming it: `task: {losses: {extra: {NAME: {weight: 0.5}}}}`.

    Attributes:
      config_class: Configuration of the loss; has at least `weight`.
      config_ranges: Range of every other number in `config_class`, by field.
      records_kind: Kind of records of the tasks that can use it, `semantic` or `instances`.
    """

    config_class: ClassVar[type[schema.ExtraLossConfig]] = schema.ExtraLossConfig
    config_ranges: ClassVar[Mapping[str, ranges.Range | ranges.Choice]] = {}
    records_kind: ClassVar[str]

    def __init__(self, config: Any) -> None:
        """Creates the loss.

        Args:
          config: A `config_class`.
        """
        self.config = config

    @abc.abstractmethod
    def __call__(self, labels: Any, outputs: Any) -> tuple[tf.Tensor, tf.Tensor]:
        """Computes the loss of one replica's batch.

        Args:
          labels: The labels of the architecture's `training_dataset`.
          outputs: The network's outputs in training, as `SegmentationTask.forward` returns them.

        Returns:
          A sum and a count, float32 scalars. The loss of a step is the sum over all replicas, divided by the count over all
          replicas, so that it does not depend on the number of replicas.
        """


def build(config: schema.ExtraLossesConfig, records_kind: str) -> dict[str, ExtraLoss]:
    """Creates the extra losses of an experiment.

    Args:
      config: The experiment's extra losses.
      records_kind: Kind of records of the task, `semantic` or `instances`.

    Raises:
      ValueError: A loss is for the other kind of records.
    """
    return {name: loss_class(settings) for name, loss_class, settings in config.used(records_kind, "task.losses.extra")}


def shares(losses: Mapping[str, ExtraLoss], labels: Any, outputs: Any) -> dict[str, tf.Tensor]:
    """Returns this replica's share of every loss by name; must be called in a replica's context."""
    if not losses:
        return {}
    terms = {name: loss(labels, outputs) for name, loss in losses.items()}
    replica = tf.distribute.get_replica_context()
    counts = replica.all_reduce(tf.distribute.ReduceOp.SUM, {name: count for name, (_, count) in terms.items()})
    return {
        name: losses[name].config.weight * tf.math.divide_no_nan(total, counts[name]) for name, (total, _) in terms.items()
    }
