"""What the replicas of a training share: their rows, and means over all of them. On one replica all of it is nothing.

A replica's loss is such that the mean over replicas is the loss of the whole batch.
"""

from __future__ import annotations

import tensorflow as tf


def replica_count() -> int:
    """Replicas that train in step; 1 outside of `strategy.run`."""
    return 1 if tf.distribute.in_cross_replica_context() else tf.distribute.get_strategy().num_replicas_in_sync


def replica_index() -> tf.Tensor | int:
    """Number of the replica that asks, from 0, in the order of `gather`."""
    return tf.distribute.get_replica_context().replica_id_in_sync_group if replica_count() > 1 else 0


def gather(rows: tf.Tensor) -> tf.Tensor:
    """The rows of all replicas, `[replicas * rows, ...]`, in the replicas' order.

    Gradients flow back to the replica that a row came from, summed over all replicas that used it.

    Args:
        rows: `[rows, ...]`, as many on each replica.
    """
    if replica_count() == 1:
        return rows
    # With one device per worker, TensorFlow gathers to the rows' own; a function's arguments are on none.
    gathered = tf.distribute.get_replica_context().all_gather(tf.identity(rows), axis=0)
    return tf.ensure_shape(gathered, [None, *rows.shape[1:]])  # which it forgets


def own_rows(rows: int | tf.Tensor) -> tf.Tensor:
    """Where this replica's rows are in what `gather` returns, `[rows]` int32."""
    return replica_index() * rows + tf.range(rows)


def replica_mean(values: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """A weighted mean over all replicas' values, as this replica's share of it.

    `sum_i w_i v_i / mean over replicas of sum_i w_i`, whose mean over replicas is the mean over the whole batch,
    however the weights are spread. Zero where all weights are.

    Args:
        values: any shape, float32.
        weights: of the same shape, not negative; no gradient flows through them.

    Returns:
        A scalar.
    """
    weights = tf.stop_gradient(tf.cast(weights, values.dtype))
    total = tf.reduce_sum(weights)
    if replica_count() > 1:
        total = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.MEAN, total)
    return tf.math.divide_no_nan(tf.reduce_sum(weights * values), total)
