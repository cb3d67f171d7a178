"""The embedding table inside a TensorFlow graph: item id to embedding."""

from __future__ import annotations

from typing import Self

import numpy as np
import tensorflow as tf

from mim_tf.representation.item_keys import check_item_ids, item_keys, spread
from mim_tf.representation.reserved_ids import DELETED_KEY, EMPTY_KEY
from mim_tf.representation.row_precision import ROW_DTYPES, dequantise, quantise
from mim_tf.representation.stored_embeddings import StoredEmbeddings
from mim_tf.representation.upsert_checks import follows, next_of, upsert_checks

_ITEMS_AT_ONCE = 2**16  # while a table is built; what it takes beside its rows


class EmbeddingTable(tf.Module):
    """A hash index of int64 keys over a matrix of rows, both of which can grow by new items.

    The index is a mutable `DenseHashTable` and the rows are a variable, so both are saved with a SavedModel's
    variables: nothing large is ever a constant of the graph. A last row of zeros, after the spare ones, stands for
    unknown items.

    Args:
        item_ids: `[items]` int64, or str.
        embeddings: `[items, dim]`, finite in float16.
        rows: `[items]`, the row of each item as the store assigned it, with gaps or not; 0, 1, .. by default.
        version: of the store whose embeddings these are.
        spare: rows beyond the last item's, for `upsert`.
        dtype: `float16`, or `int8` with a float32 scale for each row: about half the memory.

    Raises:
        ValueError: shapes that do not fit, an id or a row that occurs twice, a reserved id, two string ids with one
            key, a value that is not finite, or an unknown `dtype`.
    """

    def __init__(
        self,
        item_ids: np.ndarray,
        embeddings: np.ndarray,
        *,
        rows: np.ndarray | None = None,
        version: int = 0,
        spare: int = 0,
        dtype: str = "float16",
    ):
        super().__init__(name="embedding_table")
        items, self.dim = embeddings.shape
        rows = np.arange(items) if rows is None else rows
        _check_arguments(item_ids, rows, items, spare, dtype)
        self.id_dtype = tf.int64 if np.issubdtype(item_ids.dtype, np.integer) else tf.string
        keys = item_keys(tf.constant(item_ids, self.id_dtype))
        check_item_ids(item_ids, keys.numpy())
        self.capacity = int(rows.max(initial=-1)) + 1 + spare  # also the number of the row of zeros
        shape = [self.capacity + 1, self.dim]
        self._rows = tf.Variable(lambda: tf.zeros(shape, dtype), trainable=False, name="rows")
        self._scales = None
        if dtype == "int8":
            self._scales = tf.Variable(lambda: tf.zeros(shape[:1]), trainable=False, name="scales")
        self._version = tf.Variable([version], trainable=False, dtype=tf.int64, name="version")
        self._sequence = tf.Variable([0], trainable=False, dtype=tf.int64, name="sequence")
        for begin in range(0, items, _ITEMS_AT_ONCE):
            chunk = slice(begin, begin + _ITEMS_AT_ONCE)
            _check_finite(embeddings[chunk], item_ids[chunk])
            self._write(tf.constant(rows[chunk], tf.int64), tf.constant(embeddings[chunk]))
        self._index = self._make_index(spread(keys), tf.constant(rows, tf.int32))

    @classmethod
    def of(cls, stored: StoredEmbeddings, *, spare: int = 0, dtype: str = "float16") -> Self:
        """The table of a store's embeddings, or of a part of them.

        Raises:
            ValueError: as the constructor.
        """
        given = (stored.item_ids, stored.embeddings)
        return cls(*given, rows=stored.rows, version=stored.version, spare=spare, dtype=dtype)

    @property
    def version(self) -> tf.Tensor:
        """The latest version of the store of which the table was told, int64 `[]`."""
        return self._version[0]

    @property
    def sequence(self) -> tf.Tensor:
        """How many changes the table has taken since it was built or loaded, int64 `[]`; not those of nothing."""
        return self._sequence[0]

    def lookup(self, item_ids: tf.Tensor) -> tf.Tensor:
        """Embeddings of items; an item that the table does not know gets a zero vector.

        Args:
            item_ids: `[...]` of the table's id type.

        Returns:
            `[..., dim]` float16, whatever the rows are kept in.
        """
        return self._gather(self._find(item_ids))

    def lookup_with_hits(self, item_ids: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """`lookup`, and which items the table knows.

        Both come from one look into the index: asked apart, an `upsert` between the two could let them disagree.

        Args:
            item_ids: `[...]` of the table's id type.

        Returns:
            `[..., dim]` float16, and `[...]` bool.
        """
        rows = self._find(item_ids)
        return self._gather(rows), rows < self.capacity

    def upsert(
        self,
        item_ids: tf.Tensor,
        rows: tf.Tensor,
        embeddings: tf.Tensor,
        *,
        since: tf.Tensor,
        version: tf.Tensor,
        sequence: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Bring the table from one version of the store to another.

        It must have `since` already, so that no change is left out. What it has beyond `version` stays: a change that
        comes late or twice does nothing. Checks come first: what is refused changes nothing.

        Vectors are written before the index learns of them, so a `lookup` meanwhile sees an item as it was or as it
        is, never without its vector. Calls may run in parallel with look-ups and with each other, and be repeated. What
        they rely on is the store's doing, and cannot be checked here:

        - A row belongs to one item, and is given to another only when no table still reads it for the first.
        - Of two calls at once that change one item, either may be the last: who changes a table waits for its answer.
        - An item is known by its key alone. Two string ids with one key are refused within one call; the id of a new
          item that has an old one's key (a chance of items / 2^63) takes its place until the next build refuses both.

        To apply a version in several calls, give all but the last `version=since`: only then does the table hold all of
        it. Where the table may be another one by the next call, as a server's after a restart, or somebody else may
        change it, give the `sequence` that is expected: the calls that follow another one are refused otherwise.

        Args:
            item_ids: `[items]` of the table's id type; one that comes twice has the same row twice.
            rows: `[items]` int64, as the store assigned them.
            embeddings: `[items, dim]` of a float type.
            since: `[]` or `[n]` int64, the version from which the change begins; of several the highest counts.
            version: `[]` or `[n]` int64, the version that the table has then; of several the highest counts.
            sequence: `[]` or `[n]` int64, how many changes the table must have taken; None for any number.

        Returns:
            The table's version afterwards, int64 `[]`.

        Raises:
            ValueError: shapes that do not fit, where they are known before the graph runs.
            tf.errors.InvalidArgumentError: a table that does not have `since` or has taken other changes than
                `sequence` says, shapes that do not fit, reserved ids, two items with one row or one key, values that
                are not finite in float16, or rows past its end.
        """
        item_ids = tf.convert_to_tensor(item_ids, self.id_dtype)
        rows = tf.convert_to_tensor(rows, tf.int64)
        embeddings = tf.convert_to_tensor(embeddings)
        since, version = _highest(since), _highest(version)
        held = self.version
        checks = [follows(held, since), *upsert_checks(item_ids, rows, embeddings, (self.capacity, self.dim))]
        if sequence is not None:
            checks.append(next_of(self.sequence, _highest(sequence)))
        with tf.control_dependencies(checks):
            changes = (version > held) | ((version >= held) & (tf.size(item_ids) > 0))
            taken = tf.cast([changes], tf.int64)
            counted = tf.raw_ops.ResourceScatterNdAdd(ref=self._sequence.handle, indices=[[0]], updates=taken)
        with tf.control_dependencies([counted]):
            items = tf.where(version >= held, tf.size(item_ids), 0)  # none of a change that it has
        item_ids, rows, embeddings = item_ids[:items], rows[:items], embeddings[:items]
        with tf.control_dependencies(self._write(rows, embeddings)):
            inserted = self._index.insert(spread(item_keys(item_ids)), tf.cast(rows, tf.int32))
        with tf.control_dependencies([inserted]):
            # The one stock op that raises a number and locks it meanwhile, against parallel callers.
            newest = version[tf.newaxis]
            raised = tf.raw_ops.ResourceScatterNdMax(ref=self._version.handle, indices=[[0]], updates=newest)
        with tf.control_dependencies([raised]):
            return self.version

    def _find(self, item_ids: tf.Tensor) -> tf.Tensor:
        """Rows `[...]` int32 of items."""
        keys = tf.reshape(spread(item_keys(item_ids)), [-1])  # the index takes vectors only
        return tf.reshape(self._index.lookup(keys), tf.shape(item_ids))

    def _gather(self, rows: tf.Tensor) -> tf.Tensor:
        """`[..., dim]` float16 of rows `[...]`."""
        vectors = tf.nn.embedding_lookup(self._rows, rows)
        return vectors if self._scales is None else dequantise(vectors, tf.nn.embedding_lookup(self._scales, rows))

    def _write(self, rows: tf.Tensor, embeddings: tf.Tensor) -> list[tf.Operation]:
        """Put `[items, dim]` embeddings into rows `[items]`."""
        # This op locks the variable (`use_locking`, its default); the plain scatter lets a row be read half written.
        return [
            tf.raw_ops.ResourceScatterNdUpdate(ref=variable.handle, indices=rows[:, tf.newaxis], updates=part)
            for variable, part in self._parts(embeddings)
        ]

    def _parts(self, embeddings: tf.Tensor) -> list[tuple[tf.Variable, tf.Tensor]]:
        """Each variable, and what it holds of embeddings."""
        if self._scales is None:
            return [(self._rows, tf.cast(embeddings, tf.float16))]
        return list(zip([self._rows, self._scales], quantise(embeddings), strict=True))

    def _make_index(self, keys: tf.Tensor, rows: tf.Tensor) -> tf.lookup.experimental.DenseHashTable:
        """Rows by key, with room for all that the table can hold: growing locks out readers for long.

        The index grows for as many keys as it is given, old or new, so keys that repeat make the room. Asked for in
        the constructor, room would be saved, too, and a loaded index would hold it twice.
        """
        index = tf.lookup.experimental.DenseHashTable(
            tf.int64,
            tf.int32,
            default_value=self.capacity,
            empty_key=int(spread(tf.constant(EMPTY_KEY))),
            deleted_key=int(spread(tf.constant(DELETED_KEY))),
        )
        room = self.capacity - len(keys)
        index.insert(*(tf.concat([part, tf.repeat(part[:1], room)], axis=0) for part in (keys, rows)))
        return index


def _highest(versions: tf.Tensor) -> tf.Tensor:
    return tf.reduce_max(tf.cast(versions, tf.int64))


def _check_arguments(item_ids: np.ndarray, rows: np.ndarray, items: int, spare: int, dtype: str) -> None:
    for name, array in (("item_ids", item_ids), ("rows", rows)):
        if array.shape != (items,):
            raise ValueError(f"`{name}` must have the shape {(items,)}. Received: {array.shape}.")
    if rows.min(initial=0) < 0 or len(np.unique(rows)) < items:
        raise ValueError("`rows` must be 0 or more and each item's own. Received: a negative row, or one that repeats.")
    if spare < 0:
        raise ValueError(f"`spare` must be 0 or more. Received: {spare}.")
    if dtype not in ROW_DTYPES:
        raise ValueError(f"`dtype` must be one of {', '.join(ROW_DTYPES)}. Received: {dtype!r}.")


def _check_finite(embeddings: np.ndarray, item_ids: np.ndarray) -> None:
    bad = np.flatnonzero(~tf.reduce_all(tf.math.is_finite(tf.cast(embeddings, tf.float16)), axis=1).numpy())
    if bad.size:
        received = item_ids[bad[:1]].tolist()[0]
        raise ValueError(f"`embeddings` must be finite in float16. Received: item {received!r} with another value.")
