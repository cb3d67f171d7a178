"""The raw cosine a_MM(t, i) of equations 7 and 8: how alike a target's and a behaviour's content are."""

import tensorflow as tf


def inverse_norm(vectors: tf.Tensor) -> tf.Tensor:
    """Return `1 / |x|` over the last axis, and 0 for the zero vector, whose gradient is then 0 too.

    The inner `where` keeps the root's infinite derivative at 0 out of the gradient of the outer one.
    """
    squares = tf.reduce_sum(tf.square(vectors), axis=-1)
    known = squares > 0
    return tf.where(known, tf.math.rsqrt(tf.where(known, squares, tf.ones_like(squares))), tf.zeros_like(squares))


def content_attention(target_embedding: tf.Tensor, history_embedding: tf.Tensor) -> tf.Tensor:
    """Return the cosine of each behaviour with the target.

    ```
    a_MM(t, i) = cos(h_MM_t, h_MM_i)        no softmax; 0 where either vector is zero
    ```

    An item the table does not know, and a padded behaviour, are zero vectors: their weight is exactly 0.

    Args:
        target_embedding: `[batch, mm_dim]`, float32 or float64.
        history_embedding: `[batch, length, mm_dim]`, of the same dtype.

    Returns:
        `[batch, length]`, within [-1, 1] up to rounding.

    Reference:
        MIM, equation 7.
    """
    dot = tf.linalg.matvec(history_embedding, target_embedding)
    return dot * inverse_norm(history_embedding) * inverse_norm(target_embedding)[:, tf.newaxis]
