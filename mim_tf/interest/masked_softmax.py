"""Softmax over the real behaviours only."""

import tensorflow as tf


def masked_softmax(scores: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
    """Return the softmax over the last axis of the positions whose mask is True; zeros where there is none.

    Args:
        scores: `[..., length]`, floating point; may hold anything where the mask is False, even NaN.
        mask: bool, of a shape that broadcasts to that of `scores`; None if all positions count.

    Returns:
        Like `scores`. A row sums to 1, or to 0 if it has no real position.
    """
    if mask is None:
        return tf.nn.softmax(scores)
    # The lowest finite number in place of -inf: a row of nothing but -inf would give NaN, also in its gradient.
    blanked = tf.where(mask, scores, scores.dtype.min)
    return tf.where(mask, tf.nn.softmax(blanked), tf.zeros([], scores.dtype))
