"""Collective operations over the workers of a cluster for values in the memory of their hosts."""

import pickle
from typing import Any

import numpy as np
import tensorflow as tf


def sum_over_workers(counts: np.ndarray) -> np.ndarray:
    """Returns the sum of the int64 counts of all workers; the counts themselves if there is only one worker.

    Must be called by all workers, in the strategy's scope.
    """
    strategy = tf.distribute.get_strategy()
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return counts
    local = strategy.num_replicas_in_sync // max(_count_workers(strategy), 1)

    def replica_sum() -> tf.Tensor:
        replica = tf.distribute.get_replica_context()
        # The first replica of each worker contributes the counts, the others contribute zeros.
        is_first = replica.replica_id_in_sync_group % local == 0
        share = tf.where(is_first, tf.constant(counts), tf.zeros_like(counts))
        return replica.all_reduce(tf.distribute.ReduceOp.SUM, share)

    summed = strategy.run(tf.function(replica_sum))
    return strategy.experimental_local_results(summed)[0].numpy()


def gather_over_workers(value: Any) -> list[Any]:
    """Returns the values of all workers, including this one; must be called by all workers, in the strategy's scope."""
    strategy = tf.distribute.get_strategy()
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return [value]
    packed = pickle.dumps(value)
    # Padded to 32-bit words, because collectives do not support bytes; pickle ignores bytes after its end.
    words = np.frombuffer(packed + bytes(-len(packed) % 4), np.int32)
    local = strategy.num_replicas_in_sync // max(_count_workers(strategy), 1)

    def share(context: tf.distribute.experimental.ValueContext) -> tf.Tensor:
        is_first = context.replica_id_in_sync_group % local == 0
        return tf.constant(words if is_first else words[:0])

    shares = strategy.experimental_distribute_values_from_function(share)
    lengths = strategy.experimental_distribute_values_from_function(lambda context: tf.size(share(context))[tf.newaxis])
    everything, sizes = strategy.gather(shares, axis=0).numpy(), strategy.gather(lengths, axis=0).numpy()
    ends = np.cumsum(sizes)
    return [pickle.loads(everything[end - size : end].tobytes()) for size, end in zip(sizes, ends, strict=True) if size]


def _count_workers(strategy: tf.distribute.Strategy) -> int:
    cluster = strategy.cluster_resolver.cluster_spec()
    return sum(cluster.num_tasks(job) for job in cluster.jobs)
