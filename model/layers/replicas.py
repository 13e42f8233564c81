"""What the layers of several replicas know of each other under a tf.distribute strategy.

Each replica computes with its part of a batch. Call these functions in replica context, that is
inside `strategy.run`; without a strategy, there is one replica, and nothing is exchanged.
"""

from collections.abc import Sequence

import tensorflow as tf


def sum_over_replicas(tensors: Sequence[tf.Tensor]) -> Sequence[tf.Tensor]:
    """Sums each tensor over all replicas. Gradients are summed likewise."""
    context = tf.distribute.get_replica_context()
    if context.num_replicas_in_sync == 1:
        return tensors
    return context.all_reduce(tf.distribute.ReduceOp.SUM, tensors)


def rows_of_batch(rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Where the part of a batch that this replica has begins.

    Args:
        rows: () int32, the number of rows of the part.

    Returns:
        (number of rows of the whole batch, number of rows before those of this replica), () int32.
    """
    context = tf.distribute.get_replica_context()
    if context.num_replicas_in_sync == 1:
        return rows, tf.zeros((), tf.int32)
    place, replicas = context.replica_id_in_sync_group, context.num_replicas_in_sync
    # float32, which every collective operation of every device sums, is exact for these counts.
    own = tf.one_hot(place, replicas) * tf.cast(rows, tf.float32)
    [counts] = sum_over_replicas([own])
    counts = tf.cast(counts, tf.int32)
    return tf.reduce_sum(counts), tf.reduce_sum(counts[:place])
