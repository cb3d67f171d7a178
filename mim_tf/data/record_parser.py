"""From serialized items and pairs to dictionaries of tensors."""

from __future__ import annotations

import tensorflow as tf

from mim_tf.data.record_schema import RecordSchema


class RecordParser:
    """Parses serialized examples that have one value per field, many at once.

    Args:
        schema: of the folder.
        name: `<kind>/<split>` of the records.
    """

    def __init__(self, schema: RecordSchema, name: str) -> None:
        fields = schema.fields(name.split("/")[0])
        self._features = {name: tf.io.FixedLenFeature([], dtype) for name, dtype in fields.items()}

    def __call__(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """The fields of `[batch]` examples, each `[batch]`."""
        parsed: dict[str, tf.Tensor] = tf.io.parse_example(examples, self._features)
        return parsed

    def one(self, example: tf.Tensor) -> dict[str, tf.Tensor]:
        """The fields of a single example."""
        return {name: value[0] for name, value in self(example[tf.newaxis]).items()}
