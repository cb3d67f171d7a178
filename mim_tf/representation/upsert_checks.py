"""What a change of a table must fulfil, as assertions inside the graph."""

from __future__ import annotations

import tensorflow as tf

from mim_tf.representation.item_keys import is_reserved, item_keys


def upsert_checks(
    item_ids: tf.Tensor, rows: tf.Tensor, embeddings: tf.Tensor, shape: tuple[int, int]
) -> list[tf.Operation]:
    """Assertions that a change fits a table; to run before anything is written.

    Args:
        item_ids: `[items]`.
        rows: `[items]` int64.
        embeddings: `[items, dim]`.
        shape: of the table: the rows that may be written, and the dimension.

    Raises:
        ValueError: shapes that do not fit, as far as they are known already.
    """
    capacity, dim = shape
    _check_static_shapes(item_ids, rows, embeddings, dim)
    items = tf.size(item_ids)
    sizes_fit = tf.reduce_all(tf.equal([tf.size(rows), tf.shape(embeddings)[0]], items))
    checks = [
        _holds(sizes_fit, "`rows` and `embeddings` must have one row for each of `item_ids`.", tf.shape(embeddings))
    ]
    with tf.control_dependencies(checks):  # the others would fail in TensorFlow's own words
        return [
            *checks,
            _holds(~tf.reduce_any(is_reserved(item_ids)), "`item_ids` must not hold reserved ids.", item_ids),
            _holds(tf.reduce_all(rows >= 0), "`rows` must be 0 or more.", rows),
            _holds(
                tf.reduce_all(rows < capacity),
                f"`rows` must be below {capacity}, the table's end. Build or export it again, with more spare rows.",
                rows,
            ),
            _holds(
                _one_to_one(item_keys(item_ids), rows),
                "`item_ids` must have a key and a row of their own.",
                item_ids,
                rows,
            ),
            _holds(
                tf.reduce_all(tf.math.is_finite(tf.cast(embeddings, tf.float16))),
                "`embeddings` must be finite in float16.",
            ),
        ]


def follows(held: tf.Tensor, since: tf.Tensor) -> tf.Operation:
    """Assertion that a table of the version `held` lacks nothing that was before a change from `since` on."""
    return _holds(since <= held, "`since` must be a version that the table has. Give it the changes since", held)


def next_of(taken: tf.Tensor, sequence: tf.Tensor) -> tf.Operation:
    """Assertion that a table has `taken` as many changes as who changes it believes; a call of no rows is let pass."""
    message = "`sequence` must be the number of changes that the table has taken: begin anew. It has taken"
    return _holds(tf.equal(taken, sequence) | (sequence < 0), message, taken)


def _check_static_shapes(item_ids: tf.Tensor, rows: tf.Tensor, embeddings: tf.Tensor, dim: int) -> None:
    expected = {"item_ids": (item_ids, [None]), "rows": (rows, [None]), "embeddings": (embeddings, [None, dim])}
    for name, (tensor, shape) in expected.items():
        if tensor.shape.rank is None or not tensor.shape.is_compatible_with(shape):
            wanted = str(shape).replace("None", "items")
            raise ValueError(f"`{name}` must have the shape {wanted}. Received: {tensor.shape}.")


def _one_to_one(keys: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
    """Whether equal keys have equal rows and the other way round: as many pairs as keys and as rows."""
    distinct_keys, key_numbers = tf.unique(keys, tf.int64)
    distinct_rows, row_numbers = tf.unique(rows, tf.int64)
    pairs, _ = tf.unique(key_numbers * tf.size(rows, tf.int64) + row_numbers)
    return tf.reduce_all(tf.equal([tf.size(distinct_keys), tf.size(distinct_rows)], tf.size(pairs)))


def _holds(condition: tf.Tensor, message: str, *received: tf.Tensor) -> tf.Operation:
    return tf.debugging.Assert(condition, [message, *(["Received:", *received] if received else [])])
