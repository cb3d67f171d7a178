"""What sets a behaviour in relation to the request: its time before it, and whether the category is the target's."""

import tensorflow as tf

from mim_tf.interest.time_gap_embedding import TimeGapEmbedding


def time_gap_features(time_gaps: tf.Tensor | None, embedding: TimeGapEmbedding, history: tf.Tensor) -> tf.Tensor:
    """Return the embedded time gaps, `[batch, length, dim]`, in the history's dtype; zeros where none are given.

    Padding needs no blanking: whatever number stands there, even NaN, falls into one of the buckets.

    Raises:
        ValueError: if the shape of `time_gaps` is not `[batch, length]` of `history`.
    """
    if time_gaps is None:
        return tf.zeros([*tf.unstack(tf.shape(history)[:2]), embedding.dim], history.dtype)
    time_gaps = tf.convert_to_tensor(time_gaps)
    if not time_gaps.shape.is_compatible_with(history.shape[:-1]):
        raise ValueError(
            f"`time_gaps` must have the shape of the history without its last axis, {history.shape[:-1]}. "
            f"Received: shape {time_gaps.shape}."
        )
    return tf.cast(embedding(time_gaps), history.dtype)


def category_flags(same_category: tf.Tensor, target: tf.Tensor, history: tf.Tensor) -> tf.Tensor:
    """Return `same_category` as a tensor, `[batch, candidates, length]`; a single target is a candidate alone.

    Raises:
        TypeError: if it is not boolean (category ids, say, not yet compared with the target's).
        ValueError: if its shape is not `[batch, length]` of `history`, or `[batch, candidates, length]` where `target`
            has candidates.
    """
    same_category = tf.convert_to_tensor(same_category)
    if same_category.dtype != tf.bool:
        raise TypeError(f"`same_category` must be boolean. Received: dtype {same_category.dtype.name}.")
    single = len(target.shape) == 2
    expected = tf.TensorShape([*history.shape[:1], *target.shape[1:-1], *history.shape[1:2]])
    if not same_category.shape.is_compatible_with(expected):
        axes = "[batch, length]" if single else "[batch, candidates, length]"
        raise ValueError(
            f"`same_category` must have the shape {axes}, {expected}. Received: shape {same_category.shape}."
        )
    return same_category[:, tf.newaxis] if single else same_category
