"""The signatures by which a table inside a SavedModel is read and changed."""

from __future__ import annotations

from typing import TypeAlias

import tensorflow as tf

from mim_tf.representation.stored_embeddings import StoredEmbeddings
from mim_tf.representation.table import EmbeddingTable

ConcreteFunction: TypeAlias = tf.types.experimental.ConcreteFunction


def table_signatures(table: EmbeddingTable, stored: StoredEmbeddings) -> dict[str, ConcreteFunction]:
    """What a SavedModel needs so that its table can be asked and kept up to date, beside its other signatures.

    ```
    lookup    item_id [n]                                     -> embedding [n, dim] float16, hit [n] bool, version [n]
    upsert    item_id [n], row [n], embedding [n, dim] float16, since [n], version [n], sequence [n]  -> version [n]
    version   request [n]      -> version, sequence, capacity, shard, shards, slots, dim [n], store [n] string
    ```

    Numbers are int64. All that goes in and out has one row per request or item: a server that batches joins requests
    along this dimension and splits answers along it, and takes no scalars.

    - `lookup`: an unknown item has a vector of zeros. The embeddings are of `version` or later.
    - `upsert`: `EmbeddingTable.upsert`, of `since`, `version` and `sequence` the highest. A padding id (-1 or "") is no
      item, and its row and embedding are ignored: a call of one such row moves the version alone.
    - `version`: `request` may be any numbers. `sequence` is how many changes the table has taken since it was loaded:
      an `upsert` that names another number is refused, so that neither a restart nor a new version of the model nor
      another writer can come between two calls that belong together. `capacity` are the rows that `upsert` may write,
      `shard` of `shards` says which items these are, `slots` how they were dealt, and `store` is the identity of the
      store: version numbers of different stores say nothing of each other.

    Args:
        table: that is saved with them.
        stored: what the table was made of.

    Returns:
        Functions of stock TensorFlow ops, by signature name.
    """
    return {"lookup": _lookup(table), "upsert": _upsert(table), "version": _version(table, stored)}


def _lookup(table: EmbeddingTable) -> ConcreteFunction:
    @tf.function(input_signature=[tf.TensorSpec([None], table.id_dtype, "item_id")])
    def lookup(item_id: tf.Tensor) -> dict[str, tf.Tensor]:
        version = table.version
        with tf.control_dependencies([version]):  # asked first, so that what it names is in the index by now
            embedding, hit = table.lookup_with_hits(item_id)
        return {"embedding": embedding, "hit": hit, "version": tf.fill(tf.shape(item_id), version)}

    return lookup.get_concrete_function()


def _upsert(table: EmbeddingTable) -> ConcreteFunction:
    @tf.function(
        input_signature=[
            tf.TensorSpec([None], table.id_dtype, "item_id"),
            tf.TensorSpec([None], tf.int64, "row"),
            tf.TensorSpec([None, table.dim], tf.float16, "embedding"),
            tf.TensorSpec([None], tf.int64, "since"),
            tf.TensorSpec([None], tf.int64, "version"),
            tf.TensorSpec([None], tf.int64, "sequence"),
        ]
    )
    def upsert(
        item_id: tf.Tensor,
        row: tf.Tensor,
        embedding: tf.Tensor,
        since: tf.Tensor,
        version: tf.Tensor,
        sequence: tf.Tensor,
    ) -> dict[str, tf.Tensor]:
        with tf.control_dependencies([_same_sizes(item_id, row, embedding, since, version, sequence)]):
            items = tf.where(tf.not_equal(item_id, "" if item_id.dtype == tf.string else -1))[:, 0]
        change = (tf.gather(part, items) for part in (item_id, row, embedding))
        held = table.upsert(*change, since=since, version=version, sequence=sequence)
        return {"version": tf.fill(tf.shape(item_id), held)}

    return upsert.get_concrete_function()


def _version(table: EmbeddingTable, stored: StoredEmbeddings) -> ConcreteFunction:
    numbers = {"capacity": table.capacity, "slots": stored.slots, "dim": table.dim}
    numbers |= {"shard": stored.part.number, "shards": stored.part.total}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, "request")])
    def version(request: tf.Tensor) -> dict[str, tf.Tensor]:
        values = {name: tf.constant(number, tf.int64) for name, number in numbers.items()}
        values |= {"version": table.version, "sequence": table.sequence, "store": tf.constant(stored.store)}
        return {name: tf.fill(tf.shape(request), value) for name, value in values.items()}

    return version.get_concrete_function()


def _same_sizes(*inputs: tf.Tensor) -> tf.Operation:
    """Assertion that all inputs have as many rows: those of padding are dropped from each."""
    sizes = [tf.shape(part)[0] for part in inputs]
    message = "`item_id`, `row`, `embedding`, `since`, `version` and `sequence` must have as many rows. Received:"
    return tf.debugging.Assert(tf.reduce_all(tf.equal(sizes, sizes[0])), [message, sizes])
