"""Candidates folded into the batch, as users of their own, for what knows of one target per user only."""

import tensorflow as tf


def fold(values: tf.Tensor) -> tf.Tensor:
    """Return `[batch, candidates, ...]` as `[batch * candidates, ...]`."""
    values = tf.convert_to_tensor(values)
    shape = tf.shape(values)
    return tf.reshape(values, tf.concat([[shape[0] * shape[1]], shape[2:]], axis=0))


def repeat(values: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Return each user's row of `[batch, ...]` per candidate of `[batch, candidates, ...]`, in the order of `fold`."""
    if targets.shape[1] == 1:
        return values
    return tf.repeat(values, tf.shape(targets)[1], axis=0)


def unfold(values: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Return `[batch * candidates, any_dim]` as `[batch, candidates, any_dim]`, by the targets' shape."""
    return tf.reshape(values, tf.concat([tf.shape(targets)[:2], tf.shape(values)[1:]], axis=0))
