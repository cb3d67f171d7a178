"""From serialized records to dictionaries of tensors."""

from __future__ import annotations

import tensorflow as tf

from mim_tf.data.record_schema import HISTORY_PREFIX, QUERY_EMBEDDING, RecordSchema

_HISTORY_ITEM_ID = HISTORY_PREFIX + "item_id"


class RecordParser:
    """Parses serialized examples, many at once.

    Args:
        schema: of the folder.
        name: `<kind>/<split>` of the records.
        history_length: keeps only so many of the latest behaviours; None keeps what was prepared.
    """

    def __init__(self, schema: RecordSchema, name: str, history_length: int | None = None) -> None:
        self._length = history_length or schema.history_length or 0
        self._features = {
            name: tf.io.RaggedFeature(dtype)
            if name.startswith(HISTORY_PREFIX)
            else tf.io.FixedLenFeature([schema.query_dim] if name == QUERY_EMBEDDING else [], dtype)
            for name, dtype in schema.fields(name.split("/")[0]).items()
        }

    def __call__(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """The fields of `[batch]` examples, each `[batch]`, of behaviours `[batch, history_length]`."""
        parsed = tf.io.parse_example(examples, self._features)
        return {name: self._dense(name, value) for name, value in parsed.items()}

    def one(self, example: tf.Tensor) -> dict[str, tf.Tensor]:
        """The fields of a single example."""
        return {name: value[0] for name, value in self(example[tf.newaxis]).items()}

    def _dense(self, name: str, value: tf.Tensor | tf.RaggedTensor) -> tf.Tensor:
        if not name.startswith(HISTORY_PREFIX):
            return value
        padding = "" if value.dtype == tf.string else -1 if name == _HISTORY_ITEM_ID else 0
        latest = value[:, -self._length :]
        return latest.to_tensor(padding, shape=[None, self._length])
