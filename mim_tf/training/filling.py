"""The store's filling: items are read, decoded, embedded and committed, each while the next ones are on their way."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from mim_tf.finetuning.item_encoder import ItemEncoder
from mim_tf.representation import EmbeddingStore
from mim_tf.training.catalogue_embeddings import padded
from mim_tf.training.changed_items import ChangedItems, plain_ids

_SAMPLED = 1024  # items whose embeddings are kept as they came out of the encoder


class Filled(NamedTuple):
    """What a filling did."""

    embedded: int  # items
    skipped: int  # items that the store held already, as they are or newer
    sample: np.ndarray  # [sample, dim] float32, of the first ones embedded


class Embedded(NamedTuple):
    """Some items with their embeddings."""

    item_ids: np.ndarray  # [items] int64, or object holding str
    contents: np.ndarray  # [items] object holding str, digests of what they were made from
    embeddings: np.ndarray  # [items, dim] float32


def fill(
    store: EmbeddingStore,
    encoder: ItemEncoder,
    items: tf.data.Dataset,
    *,
    total: int,
    known_at: float,
    compare_rows: int,
    batch_size: int,
    commit_rows: int,
) -> Filled:
    """Embed, in the order of the records, the items that the store does not hold as they are, or newer.

    A filling that was interrupted at any moment goes on after its last commit: what that holds is skipped.

    Args:
        store: of this encoder's embeddings, or empty.
        encoder: of the items.
        items: batches of item records, as `read_items` gives them.
        total: how many items those are.
        known_at: when the items were so, seconds since 1970 UTC; what the store has of a later time stays.
        compare_rows: items that the store is asked about at once.
        batch_size: items embedded at once.
        commit_rows: items per commit, or some more.

    Raises:
        StageError: other writers were faster each time.
        OSError: the storage has failed.
    """
    with tqdm(total=total, unit="item", disable=None) as bar:
        tally, time = Tally(bar), instant(known_at)
        changed = ChangedItems(items, store, known_at=time, at_once=compare_rows, skip=tally.skip)
        batches = tally.noted(_embedded(encoder, changed.records(), min(batch_size, total)))
        try:
            commit(store, encoder.fingerprint(), time, batches, commit_rows)
        except tf.errors.OpError as error:
            raise (changed.error or error) from error
    return Filled(tally.embedded, tally.skipped, tally.sample)


def commit(
    store: EmbeddingStore, fingerprint: str, known_at: np.datetime64, batches: Iterator[Embedded], rows: int
) -> None:
    """Commit in a thread of its own, one chunk at a time: the store may be far away.

    Args:
        store: of this encoder's embeddings, or empty.
        fingerprint: of the encoder.
        known_at: when the items were so, UTC.
        batches: in the order in which items get their rows.
        rows: items per commit, or some more.
    """
    with ThreadPoolExecutor(1) as thread:
        last: Future[int] | None = None
        for chunk in _chunks(batches, rows):
            if last is not None:
                last.result()
            given = (chunk.item_ids, chunk.embeddings)
            labels = {"contents": chunk.contents, "event_times": np.full(len(chunk.item_ids), known_at)}
            last = thread.submit(store.upsert, *given, encoder=fingerprint, **labels)
        if last is not None:
            last.result()


def instant(seconds: float) -> np.datetime64:
    """Seconds since 1970 UTC as the store has times."""
    return np.datetime64(round(seconds * 1e6), "us")


def encoder_inputs(encoder: ItemEncoder, records: tf.data.Dataset, batch_size: int) -> tf.data.Dataset:
    """Batches of what an encoder takes: `images` (uint8 pixels), `token_ids`, and the records' other fields.

    Args:
        encoder: decodes and tokenises.
        records: of items, one by one, in any number.
        batch_size: items per batch; the last one may be smaller.
    """

    def decode(item: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        pixels = tf.cast(encoder.vision.decode(item.pop("image")), tf.uint8)  # whole numbers: a quarter of the memory
        return item | {"images": pixels}

    def tokenize(items: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return items | {"token_ids": encoder.text.tokenize(items.pop("title"))}

    return records.map(decode, tf.data.AUTOTUNE).batch(batch_size).map(tokenize, tf.data.AUTOTUNE).prefetch(2)


def embeddings_of(encoder: ItemEncoder, batch: dict[str, tf.Tensor], size: int) -> np.ndarray:
    """`h_MM` of a batch of `encoder_inputs`, `[items, dim]` float32; all of one size share one graph."""
    inputs = [batch[name] for name in ("images", "token_ids")]
    items = len(inputs[0])
    if items < size:  # a graph of its own would take longer
        inputs = [padded(rows, size) for rows in inputs]
    return _embed(encoder, *inputs).numpy()[:items]


@tf.function
def _embed(encoder: ItemEncoder, images: tf.Tensor, token_ids: tf.Tensor) -> tf.Tensor:
    return encoder(tf.cast(images, tf.float32), token_ids, training=False).fused


def _embedded(encoder: ItemEncoder, records: tf.data.Dataset, batch_size: int) -> Iterator[Embedded]:
    for batch in encoder_inputs(encoder, records, batch_size):
        ids, contents = plain_ids(batch["item_id"].numpy()), plain_ids(batch["content"].numpy())
        yield Embedded(ids, contents, embeddings_of(encoder, batch, batch_size))


def _chunks(batches: Iterator[Embedded], rows: int) -> Iterator[Embedded]:
    """Batches put together until they have at least `rows` rows."""
    pending: list[Embedded] = []
    for batch in batches:
        pending.append(batch)
        if sum(len(batch.item_ids) for batch in pending) >= rows:
            yield _joined(pending)
            pending = []
    if pending:
        yield _joined(pending)


def _joined(batches: list[Embedded]) -> Embedded:
    return Embedded(*map(np.concatenate, zip(*batches, strict=True)))


class Tally:
    """Counts items, for the bar and the metrics, and keeps the first embeddings."""

    def __init__(self, bar: tqdm):
        self.embedded = self.skipped = 0
        self._bar, self._lock, self._first = bar, threading.Lock(), list[np.ndarray]()

    def skip(self, items: int) -> None:
        """Count items that were left out; called in another thread."""
        self.skipped += items
        self._show(items)

    def noted(self, batches: Iterator[Embedded]) -> Iterator[Embedded]:
        """The batches, counted."""
        for batch in batches:
            if self.embedded < _SAMPLED:
                self._first.append(batch.embeddings)
            self.embedded += len(batch.item_ids)
            self._show(len(batch.item_ids))
            yield batch

    @property
    def sample(self) -> np.ndarray:
        """The first embeddings, `[sample, dim]`."""
        return np.concatenate(self._first) if self._first else np.zeros([0, 0], np.float32)

    def _show(self, items: int) -> None:
        with self._lock:
            self._bar.update(items)
