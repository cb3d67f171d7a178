"""What every interest layer does with targets and a history: check them, blank the padding, sum by weights.

A user's candidates share one history. Layers compute with `[batch, candidates, dim]`, a single target being a candidate
alone, and what depends on the user only is computed once for all.

A padded behaviour becomes a zero vector before anything reads it, so neither large values nor NaN in the padding reach
an output or a gradient. (Multiplying by a 0/1 mask instead would turn NaN in the padding into NaN in the output.)
"""

import tensorflow as tf


def float_tensor(value: tf.Tensor, name: str, rank: int, dtype: str | tf.DType) -> tf.Tensor:
    """Return `value` in `dtype`; only floating point of the given rank is taken.

    Raises:
        TypeError: if `value` is not floating point (an item id, say, in place of its embedding).
        ValueError: if it has another rank.
    """
    tensor = tf.convert_to_tensor(value)
    if not tensor.dtype.is_floating:
        raise TypeError(f"`{name}` must be floating point. Received: dtype {tensor.dtype.name}.")
    if tensor.shape.rank not in (None, rank):
        axes = {2: "[batch, dim]", 3: "[batch, length, dim]"}[rank]
        raise ValueError(f"`{name}` must have the shape {axes}. Received: shape {tensor.shape}.")
    return tf.cast(tensor, dtype)


def float_targets(value: tf.Tensor, name: str, dtype: str | tf.DType) -> tf.Tensor:
    """Return one target or many candidates per user, in `dtype`.

    Raises:
        TypeError: if `value` is not floating point.
        ValueError: if its shape is neither `[batch, dim]` nor `[batch, candidates, dim]`.
    """
    targets = tf.convert_to_tensor(value)
    if targets.shape.rank not in (2, 3):
        raise ValueError(
            f"`{name}` must have the shape [batch, dim] or [batch, candidates, dim]. Received: shape {targets.shape}."
        )
    return float_tensor(targets, name, targets.shape.rank, dtype)


def bool_mask(mask: tf.Tensor | None, history: tf.Tensor) -> tf.Tensor | None:
    """Return the mask as a tensor, or None where every position is a real behaviour.

    Raises:
        TypeError: if `mask` is not boolean (lengths, say, in place of a mask).
        ValueError: if its shape is not `[batch, length]` of `history`.
    """
    if mask is None:
        return None
    mask = tf.convert_to_tensor(mask)
    if mask.dtype != tf.bool:
        raise TypeError(f"`mask` must be boolean. Received: dtype {mask.dtype.name}.")
    if not mask.shape.is_compatible_with(history.shape[:-1]):
        raise ValueError(
            f"`mask` must have the shape of the history without its last axis, {history.shape[:-1]}. "
            f"Received: shape {mask.shape}."
        )
    return mask


def checked(
    target: tf.Tensor, history: tf.Tensor, mask: tf.Tensor | None, dtype: str | tf.DType
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return the targets, `[batch, candidates, dim]`, and history in `dtype`, and the mask, all True if it is None.

    One target, `[batch, dim]`, becomes a candidate alone; `as_given` undoes that.

    Raises:
        TypeError: if `target` or `history` is not floating point, or `mask` not boolean.
        ValueError: if the shapes do not fit each other.
    """
    targets, history = float_targets(target, "target", dtype), float_tensor(history, "history", 3, dtype)
    check_match(targets, history)
    mask = bool_mask(mask, history)
    if targets.shape.rank == 2:
        targets = targets[:, tf.newaxis]
    return targets, history, tf.ones(tf.shape(history)[:2], tf.bool) if mask is None else mask


def shown_mask(shown: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Return the mask of `[batch, candidates, dim]` targets, `[batch, candidates]`; that of one target is `[batch]`.

    Raises:
        TypeError: if `shown` is not boolean.
        ValueError: if its shape is not that of the target without its last axis.
    """
    shown = tf.convert_to_tensor(shown)
    if shown.dtype != tf.bool:
        raise TypeError(f"`shown` must be boolean. Received: dtype {shown.dtype.name}.")
    of_each = shown[:, tf.newaxis] if shown.shape.rank == 1 else shown
    if not of_each.shape.is_compatible_with(targets.shape[:-1]):
        raise ValueError(
            "`shown` must have the shape of the target without its last axis. "
            f"Received: shape {shown.shape}, for targets {targets.shape}."
        )
    return of_each


def as_given(interests: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
    """Return the interests, `[batch, candidates, any_dim]`, in the shape of the target: `[batch, any_dim]` of one."""
    return tf.squeeze(interests, axis=1) if len(target.shape) == 2 else interests


def blank_padding(history: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
    """Return the history with zero vectors where `mask` is False."""
    if mask is None:
        return history
    return tf.where(mask[..., tf.newaxis], history, tf.zeros([], history.dtype))


def check_match(target: tf.Tensor, history: tf.Tensor, names: tuple[str, str] = ("target", "history")) -> None:
    """Check that `[batch, dim]`, or `[batch, candidates, dim]`, agrees with `[batch, length, dim]`, as far as known.

    Raises:
        ValueError: if batch or last dimension differ.
    """
    if not (target.shape[:1] + target.shape[-1:]).is_compatible_with(history.shape[:1] + history.shape[2:]):
        raise ValueError(
            f"`{names[0]}` and `{names[1]}` must have the same batch size and last dimension. "
            f"Received: shapes {target.shape} and {history.shape}."
        )


def weighted_sum(weights: tf.Tensor, behaviours: tf.Tensor) -> tf.Tensor:
    """Return `sum_i w_i h_i`: `[batch, length]` and `[batch, length, dim]` to `[batch, dim]`."""
    # A row times a matrix: on CPUs many times faster than the transposed matrix times a column.
    return tf.squeeze(tf.matmul(weights[:, tf.newaxis], behaviours), axis=1)
