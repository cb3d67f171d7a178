"""What a request must fulfil before the network sees it, as assertions inside the graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import tensorflow as tf

Inputs = Mapping[str, tf.Tensor]


def same_sizes(inputs: Inputs, names: Iterable[str], like: str, axes: Sequence[int]) -> list[tf.Operation]:
    """Assertions that inputs have as many entries along some axes as the one they must be like."""
    wanted = tf.gather(tf.shape(inputs[like]), axes)
    return [
        _holds(
            tf.reduce_all(tf.equal(tf.gather(tf.shape(inputs[name]), axes), wanted)),
            f"`{name}` must have as many entries along the first axes as `{like}`. Received: the shapes",
            tf.shape(inputs[name]),
            tf.shape(inputs[like]),
        )
        for name in names
        if name != like
    ]


def all_finite(inputs: Inputs) -> list[tf.Operation]:
    """Assertions that no floating-point input holds a NaN or an infinity: they would become probabilities."""
    return [
        _holds(tf.reduce_all(tf.math.is_finite(values)), f"`{name}` must be finite. Received: a value that is not.")
        for name, values in inputs.items()
        if values.dtype.is_floating
    ]


def not_too_many(rows: tf.Tensor, candidates: tf.Tensor, behaviours: tf.Tensor, most: int) -> tf.Operation:
    """Assertion on the pairs of candidate and behaviour: a small message could ask for a large product of its sizes."""
    sizes = [tf.cast(size, tf.int64) for size in (rows, candidates, behaviours)]
    return _holds(
        tf.reduce_prod(sizes) <= most,
        f"a request must have at most {most} pairs of candidate and behaviour, padding included: send fewer, "
        "or a history summed up by `user_state`. Received: rows, candidates and behaviours",
        *sizes,
    )


def lengths_fit(lengths: tf.Tensor, behaviours: tf.Tensor) -> tf.Operation:
    """Assertion that `history_length` `[batch]` deals out as many behaviours as there are."""
    return _holds(
        tf.reduce_all(lengths >= 0) & tf.equal(tf.reduce_sum(lengths), tf.cast(behaviours, tf.int64)),
        "`history_length` must be 0 or more, and add up to the number of behaviours. Received: lengths and behaviours",
        lengths,
        behaviours,
    )


def states_of(model: str, names: tf.Tensor, matrices: Sequence[tf.Tensor]) -> tf.Operation:
    """Assertion that states `[users, ...]` are of a model by their names `[users]`, or without a name and zero."""
    begun = [tf.reduce_any(tf.not_equal(matrix, 0), axis=[1, 2]) for matrix in matrices]
    nothing = tf.equal(names, "") & ~tf.reduce_any(tf.stack(begun), axis=0)
    return _holds(
        tf.reduce_all(tf.equal(names, model) | nothing),
        f"`state_model` must be {model}, which this model answers with, or empty beside a state of zeros. Sum the "
        "histories up anew. Received:",
        names,
    )


def _holds(condition: tf.Tensor, message: str, *received: tf.Tensor) -> tf.Operation:
    # The bare op: `tf.debugging.Assert` puts a conditional around it, which costs more than it does.
    return tf.raw_ops.Assert(condition=condition, data=[message, *received])
