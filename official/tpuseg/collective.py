"""Sums over the workers of a cluster, for what each of them counted on its host."""

import numpy as np
import tensorflow as tf


def sum_over_workers(counts: np.ndarray) -> np.ndarray:
    """Returns the sum of every worker's int64 counts; the counts themselves where there is one worker.

    Must be called by all workers, in the strategy's scope.
    """
    strategy = tf.distribute.get_strategy()
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return counts
    local = strategy.num_replicas_in_sync // max(_num_workers(strategy), 1)

    def replica_sum() -> tf.Tensor:
        replica = tf.distribute.get_replica_context()
        # Each worker's first replica brings the counts, the others nothing.
        is_first = replica.replica_id_in_sync_group % local == 0
        share = tf.where(is_first, tf.constant(counts), tf.zeros_like(counts))
        return replica.all_reduce(tf.distribute.ReduceOp.SUM, share)

    summed = strategy.run(tf.function(replica_sum))
    return strategy.experimental_local_results(summed)[0].numpy()


def _num_workers(strategy: tf.distribute.Strategy) -> int:
    cluster = strategy.cluster_resolver.cluster_spec()
    return sum(cluster.num_tasks(job) for job in cluster.jobs)
