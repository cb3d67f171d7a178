"""The items nearest to one: `python -m mim_tf.representation neighbours`."""

from __future__ import annotations

import heapq
from typing import NamedTuple

import lance
import numpy as np
import pyarrow as pa

from mim_tf.errors import DataError
from mim_tf.representation.store import EmbeddingStore
from mim_tf.representation.store_commit import retried
from mim_tf.representation.store_records import ID_TYPES, IN_USE, matrix, one_of


class Neighbour(NamedTuple):
    """An item and how near it is."""

    item_id: int | str
    cosine: float


def neighbours_of(store: EmbeddingStore, item_id: int | str, count: int) -> list[Neighbour]:
    """The items with the largest cosine to one, nearest first; of equally near ones the lower row first.

    The store is read a batch of rows at a time, so memory does not grow with it.

    Args:
        store: which; it is only read, in its newest version.
        item_id: whose neighbours are sought; it is none of them.
        count: how many, at least 1; all if there are fewer.

    Raises:
        ValueError: `count` is not positive.
        DataError: the store does not have the item, or its embedding is zero and so has no direction.
    """
    if count < 1:
        raise ValueError(f"`count` must be at least 1. Received: {count}.")
    return retried(lambda dataset: _nearest(dataset, store, item_id, count), lambda: lance.dataset(store.path))


def _nearest(dataset: lance.LanceDataset, store: EmbeddingStore, item_id: int | str, count: int) -> list[Neighbour]:
    own_row, query = _row_of(dataset, store, item_id)
    nearest: list[tuple[float, int, int | str]] = []  # -cosine, row, item
    least = -np.inf  # cosine of what can still be one of the nearest
    for batch in dataset.to_batches(columns=["item_id", "row", "embedding"], filter=IN_USE):
        table = pa.Table.from_batches([batch])
        cosines, rows = _cosines(matrix(table["embedding"]), query), table["row"].to_numpy()
        near = np.flatnonzero((cosines >= least) & (rows != own_row))
        columns = (-cosines[near]).tolist(), rows[near].tolist(), table["item_id"].take(near).to_pylist()
        nearest = heapq.nsmallest(count, [*nearest, *zip(*columns, strict=True)])
        least = -nearest[-1][0] if len(nearest) == count else least
    return [Neighbour(neighbour, -opposite) for opposite, _, neighbour in nearest]


def _row_of(dataset: lance.LanceDataset, store: EmbeddingStore, item_id: int | str) -> tuple[int, np.ndarray]:
    """An item's row and its embedding `[dim]` float32 of length 1."""
    try:
        wanted = pa.array([item_id], ID_TYPES[store.id_type])
    except (pa.ArrowInvalid, OverflowError):  # no int64
        wanted = pa.array([], ID_TYPES[store.id_type])
    found = dataset.to_table(columns=["row", "embedding"], filter=one_of("item_id", wanted, IN_USE))
    if not len(found):
        raise DataError(f"{store.path} has no item {item_id!r} in version {dataset.version}.")
    embedding = matrix(found["embedding"])[0].astype(np.float32)
    if not embedding.any():
        raise DataError(f"Item {item_id!r} has an embedding of zeros, which is near to nothing.")
    return found["row"][0].as_py(), embedding / np.linalg.norm(embedding)


def _cosines(embeddings: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Cosines `[items]` of rows `[items, dim]` to a vector `[dim]` of length 1; those of rows of zeros are 0."""
    embeddings = embeddings.astype(np.float32)
    lengths = np.linalg.norm(embeddings, axis=1)
    return np.divide(embeddings @ query, lengths, out=np.zeros_like(lengths), where=lengths > 0)
