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
    return tf.cast(embedding(_per_behaviour(time_gaps, "time_gaps", history)), history.dtype)


def category_flags(same_category: tf.Tensor, history: tf.Tensor) -> tf.Tensor:
    """Return `same_category` as a tensor, `[batch, length]`.

    Raises:
        TypeError: if it is not boolean (category ids, say, not yet compared with the target's).
        ValueError: if its shape is not `[batch, length]` of `history`.
    """
    same_category = _per_behaviour(same_category, "same_category", history)
    if same_category.dtype != tf.bool:
        raise TypeError(f"`same_category` must be boolean. Received: dtype {same_category.dtype.name}.")
    return same_category


def _per_behaviour(values: tf.Tensor, name: str, history: tf.Tensor) -> tf.Tensor:
    """Return `values` as a tensor with one number per behaviour."""
    values = tf.convert_to_tensor(values)
    if not values.shape.is_compatible_with(history.shape[:-1]):
        raise ValueError(
            f"`{name}` must have the shape of the history without its last axis, {history.shape[:-1]}. "
            f"Received: shape {values.shape}."
        )
    return values
