"""The raw cosine a_MM(t, i) of equations 7 and 8, and what is summed up by it: two exact ways, the cheaper one taken.

The cosine has no softmax around it, so both sums are linear in the target's direction t^: the user's behaviours can be
summed up first, into a matrix that holds for all candidates.
"""

from collections.abc import Sequence

import tensorflow as tf

from mim_tf.interest.behaviours import blank_padding, bool_mask, float_tensor


def inverse_norm(vectors: tf.Tensor) -> tf.Tensor:
    """Return `1 / |x|` over the last axis, and 0 for the zero vector, whose gradient is then 0 too.

    The inner `where` keeps the root's infinite derivative at 0 out of the gradient of the outer one.
    """
    squares = tf.reduce_sum(tf.square(vectors), axis=-1)
    known = squares > 0
    return tf.where(known, tf.math.rsqrt(tf.where(known, squares, tf.ones_like(squares))), tf.zeros_like(squares))


def unit_vectors(vectors: tf.Tensor) -> tf.Tensor:
    """Return `x^ = x / |x|` over the last axis; the zero vector stays zero."""
    return vectors * inverse_norm(vectors)[..., tf.newaxis]


def content_attention(targets: tf.Tensor, contents: tf.Tensor) -> tf.Tensor:
    """Return the cosine of each behaviour with each candidate.

    ```
    a_MM(t, i) = cos(h_MM_t, h_MM_i)        no softmax; 0 where either vector is zero
    ```

    An item the table does not know, and a padded behaviour, are zero vectors: their weight is exactly 0.

    Args:
        targets: the candidates' content embeddings, `[batch, candidates, mm_dim]`, float32 or float64.
        contents: the behaviours', `[batch, length, mm_dim]`, of the same dtype.

    Returns:
        `[batch, candidates, length]`, within [-1, 1] up to rounding.

    Reference:
        MIM, equation 7.
    """
    dot = tf.matmul(unit_vectors(targets), contents, transpose_b=True)
    return dot * inverse_norm(contents)[:, tf.newaxis, :]


def user_matrix(values: tf.Tensor, directions: tf.Tensor) -> tf.Tensor:
    """Return `sum_i v_i h^_i^T`, `[batch, dim, mm_dim]`, from `[batch, length, dim]` and `[batch, length, mm_dim]`."""
    return tf.matmul(values, directions, transpose_a=True)


def through_matrix(targets: tf.Tensor, matrix: tf.Tensor) -> tf.Tensor:
    """Return `(sum_i v_i h^_i^T) t^`, `[batch, candidates, dim]`, from `[batch, candidates, mm_dim]` and the matrix."""
    return tf.matmul(unit_vectors(targets), matrix, transpose_b=True)


def matrix_is_cheaper(
    candidates: int | tf.Tensor, length: int | tf.Tensor, mm_dim: int | tf.Tensor, dim: int | tf.Tensor
) -> bool | tf.Tensor:
    """Return whether the way through the user's matrix takes fewer multiplications than the direct one.

    Directly, each pair of candidate and behaviour takes `mm_dim` for its cosine and `dim` for its share of the sum; by
    the matrix, each behaviour takes `mm_dim * dim` to enter it, and each candidate as many to be multiplied by it.
    """
    return candidates * length * (mm_dim + dim) > (candidates + length) * mm_dim * dim


def content_weighted_sums(targets: tf.Tensor, contents: tf.Tensor, values: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """Return `sum_i a_MM(t, i) v_i` for each of the values, which share one attention.

    ```
    h_MM_B  = sum_i a_MM(t, i) h_MM_i = (sum_i h_MM_i h^_i^T) t^        values: the contents      (7)
    h_Fus_B = sum_i a_MM(t, i) h_ID_i = (sum_i h_ID_i h^_i^T) t^        values: ID embeddings     (8)
    ```

    Both sides are the same sum; which one is computed is chosen by `matrix_is_cheaper`, when traced if the shapes are
    known by then, else when run.

    Args:
        targets: candidates' content embeddings, `[batch, mm_dim]` or `[batch, candidates, mm_dim]`, float32 or float64.
        contents: behaviours' content embeddings, `[batch, length, mm_dim]`; padding blanked.
        values: each `[batch, length, any_dim]`, likewise; all of one dtype.

    Returns:
        One tensor per value, `[batch, any_dim]` or `[batch, candidates, any_dim]`.

    Reference:
        MIM, equations 7 and 8.
    """
    if targets.shape.rank == 2:
        return [tf.squeeze(total, 1) for total in content_weighted_sums(targets[:, tf.newaxis, :], contents, values)]

    def directly() -> list[tf.Tensor]:
        attention = content_attention(targets, contents)
        return [tf.matmul(attention, value) for value in values]

    def by_matrix() -> list[tf.Tensor]:
        directions = unit_vectors(contents)
        return [through_matrix(targets, user_matrix(value, directions)) for value in values]

    if targets.shape[1] == 1:  # a matrix for one candidate never pays, however long the history
        return directly()
    cheaper = matrix_is_cheaper(
        _size(targets, 1), _size(contents, 1), _size(contents, 2), sum(_size(v, 2) for v in values)
    )
    if isinstance(cheaper, bool):
        return by_matrix() if cheaper else directly()
    totals: list[tf.Tensor] = tf.cond(cheaper, by_matrix, directly)
    return totals


def _size(tensor: tf.Tensor, axis: int) -> int | tf.Tensor:
    """Return the size of an axis: a number where it is known when traced. In int64, which products need."""
    size: int | None = tensor.shape[axis]
    return tf.shape(tensor, tf.int64)[axis] if size is None else size


def real_behaviours(value: tf.Tensor, name: str, mask: tf.Tensor | None, dtype: str | tf.DType) -> tf.Tensor:
    """Return behaviours `[batch, length, dim]` in `dtype`, with zero vectors where `mask` is False.

    Raises:
        TypeError: if `value` is not floating point, or `mask` not boolean.
        ValueError: if a shape does not fit.
    """
    value = tf.convert_to_tensor(value)
    behaviours = float_tensor(value, name, 3, value.dtype)
    # Blanked before they are widened: half-precision rows are half the bytes.
    return tf.cast(blank_padding(behaviours, bool_mask(mask, behaviours)), dtype)
