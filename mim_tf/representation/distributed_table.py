"""The embedding table under parameter servers: rows spread over them, an index on every worker."""

from __future__ import annotations

import tensorflow as tf

from mim_tf.representation.table import EmbeddingTable


class DistributedTable(EmbeddingTable):
    """An `EmbeddingTable` to be made in the scope of a `ParameterServerStrategy`, for training only.

    The rows are a variable, which the strategy's partitioner cuts into shards. The index is a `StaticHashTable`, the
    one kind of which the strategy makes a copy on every worker: what is inserted into a `DenseHashTable` would be the
    coordinator's alone. Its keys travel to each worker in one message, of at most 2 GB: 8 bytes an item.
    """

    def _make_index(self, keys: tf.Tensor) -> tf.lookup.StaticHashTable:
        """Row numbers by key."""
        items = len(keys)
        return tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, tf.range(items)), items)
