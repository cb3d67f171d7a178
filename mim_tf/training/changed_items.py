"""Which items of the records need an embedding: those that the store does not hold as they are, or newer."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from mim_tf.data.content_digest import content_digest
from mim_tf.data.record_schema import HELD_OUT_ITEMS, TRAIN_ITEMS, RecordSchema
from mim_tf.representation import EmbeddingStore, Labels

_MOST_ITEMS, _MOST_BYTES = 4096, 128 * 2**20  # that are held while the store is asked about them


class ChangedItems:
    """Leaves out the items whose title and image are those that the store's embedding was made from, or were older.

    The store is asked when an item's turn comes, so what others commit meanwhile counts.

    Args:
        items: batches of item records, as `read_items` gives them.
        store: that is asked.
        known_at: when the items were so, UTC; what the store has of a later time stays.
        at_once: items that it is asked about at once: it takes long to answer, and their images are held meanwhile.
        skip: called with how many items were left out, in a thread of the input pipeline.

    Attributes:
        error: what asking the store has failed with, if it has; the pipeline then fails with an error of TensorFlow's.
    """

    def __init__(
        self,
        items: tf.data.Dataset,
        store: EmbeddingStore,
        *,
        known_at: np.datetime64,
        at_once: int,
        skip: Callable[[int], None],
    ):
        self.error: Exception | None = None
        self._windows, self._store, self._known_at, self._skip = items.rebatch(at_once), store, known_at, skip

    def records(self) -> tf.data.Dataset:
        """The others one by one, in their order, each with the digest of its title and image as `content`."""
        selected = self._windows.map(self._select)
        return selected.prefetch(1).unbatch()  # so that the next window is compared while this one is embedded

    def _select(self, items: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        given = [items[name] for name in ("item_id", "title", "image")]
        contents, changed = tf.numpy_function(self._compare, given, [tf.string, tf.bool])
        columns = items | {"content": tf.ensure_shape(contents, [None])}
        return {name: tf.boolean_mask(column, tf.ensure_shape(changed, [None])) for name, column in columns.items()}

    def _compare(self, item_ids: np.ndarray, titles: np.ndarray, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Digests `[items]`, and of which items the store lacks them, `[items]` bool."""
        digests = [content_digest(title.decode(), image) for title, image in zip(titles, images, strict=True)]
        contents = np.array(digests, object)
        try:
            known = self._store.labels_of(plain_ids(item_ids))
        except Exception as error:
            self.error = error
            raise
        changed = lacks(known, contents, self._known_at)
        self._skip(len(changed) - int(changed.sum()))
        return contents, changed


def lacks(known: Labels, contents: np.ndarray, known_at: np.datetime64) -> np.ndarray:
    """Which items a store holds neither as they are nor newer, `[items]` bool.

    Args:
        known: what the store knows of them.
        contents: `[items]` digests of what they are.
        known_at: when they were so, UTC.
    """
    changed: np.ndarray = (known.contents != contents) & ~(known.event_times > known_at)
    return changed


def compared_at_once(schema: RecordSchema) -> int:
    """How many items the store is asked about at once, by the size of their records: few, where images are large."""
    shards = [shard for name in (TRAIN_ITEMS, HELD_OUT_ITEMS) for shard in schema.shards.get(name, [])]
    records, size = sum(shard.records for shard in shards), sum(shard.bytes for shard in shards)
    return max(1, min(_MOST_ITEMS, _MOST_BYTES * records // size))


def plain_ids(item_ids: np.ndarray) -> np.ndarray:
    """TensorFlow's bytes as str; int64 as it is."""
    if item_ids.dtype != object:
        return item_ids
    return np.array([item_id.decode() for item_id in item_ids], dtype=object)
