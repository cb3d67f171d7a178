"""The embedding table under parameter servers: rows spread over them, an index on every worker."""

from __future__ import annotations

from typing import Any, NoReturn

import tensorflow as tf

from mim_tf.representation.table import EmbeddingTable


class DistributedTable(EmbeddingTable):
    """An `EmbeddingTable` to be made in the scope of a `ParameterServerStrategy`, for training only: it never changes.

    The rows are a variable, which the strategy's partitioner cuts into shards. The index is a `StaticHashTable`, the
    one kind of which the strategy makes a copy on every worker: what is inserted into a `DenseHashTable` would be the
    coordinator's alone. Its keys travel to each worker in one message, of at most 2 GB: 8 bytes an item.
    """

    def upsert(self, *change: Any, **versions: Any) -> NoReturn:
        """Refused: the workers' copies of the index cannot change.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("A `DistributedTable` cannot change. Build it again from the store's new version.")

    def _write(self, rows: tf.Tensor, embeddings: tf.Tensor) -> list[tf.Operation]:
        for variable, part in self._parts(embeddings):
            variable.scatter_update(tf.IndexedSlices(part, rows))  # each shard gets its own
        return []

    def _make_index(self, keys: tf.Tensor, rows: tf.Tensor) -> tf.lookup.StaticHashTable:
        """Rows by key."""
        return tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, rows), self.capacity)
