"""From serialized records of impressions to tensors of all their impressions and behaviours."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from mim_tf.data.record_schema import HISTORY_END, HISTORY_PREFIX, QUERY_EMBEDDING, SESSION, RecordSchema

_ITEM_IDS = ("item_id", HISTORY_PREFIX + "item_id")


class Impressions(NamedTuple):
    """The impressions of some records, in their order.

    Attributes:
        shown: fields of impressions by name, `[impressions + 1]`, of query embeddings with one more dimension; the last
            is padding.
        behaviours: fields of behaviours by name, `[behaviours + 1]`; the last is padding.
        users: `[impressions]`.
        sessions: `[impressions]` int64, ascending; those of one session have the same.
        first: `[impressions]` int64, where the behaviours of its record begin.
        end: `[impressions]` int64, where those that lie before the impression end.
    """

    shown: dict[str, tf.Tensor]
    behaviours: dict[str, tf.Tensor]
    users: tf.Tensor
    sessions: tf.Tensor
    first: tf.Tensor
    end: tf.Tensor


class ImpressionParser:
    """Parses serialized records of impressions, many at once.

    Args:
        schema: of the folder.

    Call arguments:
        examples: `[records]`.
    """

    def __init__(self, schema: RecordSchema) -> None:
        self._query_dim = schema.query_dim
        fields = schema.fields("impressions") | {SESSION: tf.int64, HISTORY_END: tf.int64}
        self._features = {
            name: tf.io.FixedLenFeature([], dtype)
            if name == "user_id"
            else tf.io.RaggedFeature(dtype, row_splits_dtype=tf.int64)
            for name, dtype in fields.items()
        }

    def __call__(self, examples: tf.Tensor) -> Impressions:
        """The impressions of `[records]` examples."""
        parsed = tf.io.parse_example(examples, self._features)
        users, session, end = (parsed.pop(name) for name in ("user_id", SESSION, HISTORY_END))
        record = session.value_rowids()
        # A session's number in its record, and the record's: no record has 2^32 impressions.
        sessions = tf.bitwise.left_shift(record, tf.constant(32, tf.int64)) + session.flat_values
        first = tf.gather(parsed[HISTORY_PREFIX + "item_id"].row_starts(), record)
        values = {name: _padded(name, self._flat(name, field)) for name, field in parsed.items()}
        behaviours = {name: value for name, value in values.items() if name.startswith(HISTORY_PREFIX)}
        shown = {name: value for name, value in values.items() if name not in behaviours}
        return Impressions(shown, behaviours, tf.gather(users, record), sessions, first, first + end.flat_values)

    def _flat(self, name: str, field: tf.RaggedTensor) -> tf.Tensor:
        return tf.reshape(field.flat_values, [-1, self._query_dim]) if name == QUERY_EMBEDDING else field.flat_values


def _padded(name: str, values: tf.Tensor) -> tf.Tensor:
    return tf.concat([values, tf.fill([1, *values.shape[1:]], padding_of(name, values.dtype))], axis=0)


def padding_of(name: str, dtype: tf.DType) -> tf.Tensor:
    """What stands in a field where there is nothing: -1 for an item, "" for text, else 0."""
    return tf.constant("") if dtype == tf.string else tf.cast(-1 if name in _ITEM_IDS else 0, dtype)
