"""The embedding table inside a TensorFlow graph: item id to embedding."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

# Keys the index needs for itself; `item_keys` never makes them, and no item may have them as its id.
_EMPTY, _DELETED = np.iinfo(np.int64).min, np.iinfo(np.int64).min + 1
RESERVED_IDS = (_EMPTY, _DELETED, -1)  # -1 pads histories


def item_keys(item_ids: tf.Tensor) -> tf.Tensor:
    """The int64 keys of item ids: int64 ids are their own keys, strings are hashed (FarmHash) to 0 .. 2^63 - 2."""
    if item_ids.dtype == tf.string:
        return tf.strings.to_hash_bucket_fast(item_ids, np.iinfo(np.int64).max)
    return tf.cast(item_ids, tf.int64)


class EmbeddingTable(tf.Module):
    """A hash index of int64 keys over a matrix of frozen rows.

    The index is a mutable `DenseHashTable` and the rows are a variable, so both are saved with a SavedModel's
    variables: nothing large is ever a constant of the graph. The last row is zero and stands for unknown items.

    Args:
        item_ids: `[items]` int64, or str; item `i`'s embedding is row `i`.
        embeddings: `[items, dim]`.
        dtype: of the rows.

    Raises:
        ValueError: shapes that do not fit, an id that occurs twice, a reserved id, or two string ids with one key.
    """

    def __init__(self, item_ids: np.ndarray, embeddings: np.ndarray, dtype: tf.DType = tf.float16):
        super().__init__(name="embedding_table")
        items, self.dim = embeddings.shape
        if item_ids.shape != (items,):
            raise ValueError(f"`item_ids` must have the shape {(items,)}. Received: {item_ids.shape}.")
        self.id_dtype = tf.int64 if np.issubdtype(item_ids.dtype, np.integer) else tf.string
        keys = item_keys(tf.constant(item_ids, self.id_dtype))
        _check_keys(item_ids, keys.numpy())
        self._index = self._make_index(keys)
        rows = np.zeros((items + 1, self.dim), dtype.as_numpy_dtype)
        rows[:items] = embeddings
        self._rows = tf.Variable(rows, trainable=False, name="rows")

    def lookup(self, item_ids: tf.Tensor) -> tf.Tensor:
        """Embeddings of items; an item that the table does not know gets a zero vector.

        Args:
            item_ids: `[...]` of the table's id type.

        Returns:
            `[..., dim]` in the table's dtype.
        """
        keys = tf.reshape(item_keys(item_ids), [-1])  # the index takes vectors only
        return tf.nn.embedding_lookup(self._rows, tf.reshape(self._index.lookup(keys), tf.shape(item_ids)))

    def _make_index(self, keys: tf.Tensor) -> tf.lookup.experimental.DenseHashTable:
        """Row numbers by key."""
        items = len(keys)
        index = tf.lookup.experimental.DenseHashTable(
            tf.int64, tf.int32, default_value=items, empty_key=_EMPTY, deleted_key=_DELETED
        )
        index.insert(keys, tf.range(items))
        return index


def _check_keys(item_ids: np.ndarray, keys: np.ndarray) -> None:
    reserved = np.flatnonzero(np.isin(keys, RESERVED_IDS))
    if reserved.size:
        raise ValueError(
            f"`item_ids` must not hold the reserved ids {RESERVED_IDS}. Received: {item_ids[reserved[0]]}."
        )
    order = np.argsort(keys, kind="stable")
    repeats = np.flatnonzero(keys[order][1:] == keys[order][:-1])
    if repeats.size:
        one, other = item_ids[order[repeats[0] : repeats[0] + 2]]
        raise ValueError(f"`item_ids` must have keys of their own. Received: {one!r} and {other!r} with the same key.")
