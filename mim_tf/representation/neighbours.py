"""The items nearest to one: `python -m mim_tf.representation neighbours`."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

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
    _check_count(count)

    def nearest(dataset: lance.LanceDataset) -> list[Neighbour]:
        query = _direction_of(dataset, store, item_id)
        return _nearest(dataset, query[np.newaxis], count, [item_id])[0]

    return retried(nearest, lambda: lance.dataset(store.path))


def nearest_to(
    store: EmbeddingStore, queries: np.ndarray, count: int, excluded: Sequence[int | str | None]
) -> list[list[Neighbour]]:
    """The items with the largest cosine to each of some vectors, in the order of `neighbours_of`.

    The store is read once for all of them, a batch of rows at a time.

    Args:
        store: which; it is only read, in its newest version.
        queries: `[queries, dim]`, of any length.
        count: how many items, at least 1; all if there are fewer.
        excluded: of each query an item that is none of its neighbours, or None.

    Raises:
        ValueError: `count` is not positive.
    """
    _check_count(count)
    directions = _directions(queries)
    return retried(lambda dataset: _nearest(dataset, directions, count, excluded), lambda: lance.dataset(store.path))


def ranks_among_all(
    store: EmbeddingStore, queries: np.ndarray, item_ids: np.ndarray, excluded: Sequence[int | str | None]
) -> list[int | None]:
    """Where an item comes among all items of the store by their cosine to a vector, 1 being the nearest.

    Args:
        store: which; it is only read, in its newest version.
        queries: `[queries, dim]`, of any length.
        item_ids: `[queries]`, of each query the item whose rank is sought.
        excluded: as in `nearest_to`.

    Returns:
        1 + the number of other items that are nearer; None where the store does not have the item.
    """
    distinct, places = np.unique(item_ids, return_inverse=True)
    sought = store.embeddings_of(distinct)[places]
    directions = _directions(queries)
    least = np.einsum("qd,qd->q", _directions(sought), directions)

    def nearer(dataset: lance.LanceDataset) -> np.ndarray:
        counts = np.zeros(len(queries), np.int64)
        for table, cosines in _compared(dataset, directions):
            for number, of_query in enumerate(cosines):
                others = _others(table, item_ids[number]) & _others(table, excluded[number])
                counts[number] += np.count_nonzero(of_query[others] > least[number])
        return counts

    ranks = 1 + retried(nearer, lambda: lance.dataset(store.path))
    is_there = np.linalg.norm(sought.astype(np.float32), axis=1) > 0
    return [int(rank) if there else None for rank, there in zip(ranks, is_there, strict=True)]


def _check_count(count: int) -> None:
    if count < 1:
        raise ValueError(f"`count` must be at least 1. Received: {count}.")


def _nearest(
    dataset: lance.LanceDataset, queries: np.ndarray, count: int, excluded: Sequence[int | str | None]
) -> list[list[Neighbour]]:
    nearest: list[list[tuple[float, int, int | str]]] = [[] for _ in queries]  # -cosine, row, item
    for table, cosines in _compared(dataset, queries):
        rows = table["row"].to_numpy()
        for number, of_query in enumerate(cosines):
            best = nearest[number]
            least = -best[-1][0] if len(best) == count else -np.inf  # cosine of what can still be one of the nearest
            near = np.flatnonzero((of_query >= least) & _others(table, excluded[number]))
            columns = (-of_query[near]).tolist(), rows[near].tolist(), table["item_id"].take(near).to_pylist()
            nearest[number] = heapq.nsmallest(count, [*best, *zip(*columns, strict=True)])
    return [[Neighbour(neighbour, -opposite) for opposite, _, neighbour in best] for best in nearest]


def _compared(dataset: lance.LanceDataset, queries: np.ndarray) -> Iterator[tuple[pa.Table, np.ndarray]]:
    """All items, some at a time, with their cosines `[queries, items]` to vectors of length 1."""
    for batch in dataset.to_batches(columns=["item_id", "row", "embedding"], filter=IN_USE):
        table = pa.Table.from_batches([batch])
        yield table, queries @ _directions(matrix(table["embedding"])).T


def _others(table: pa.Table, item_id: int | str | None) -> np.ndarray:
    """Which items are not the one, `[items]` bool."""
    if item_id is None:
        return np.full(len(table), True)
    return pc.not_equal(table["item_id"], pa.scalar(item_id, table["item_id"].type)).to_numpy()


def _direction_of(dataset: lance.LanceDataset, store: EmbeddingStore, item_id: int | str) -> np.ndarray:
    """An item's embedding `[dim]` float32 at length 1."""
    try:
        wanted = pa.array([item_id], ID_TYPES[store.id_type])
    except (pa.ArrowInvalid, OverflowError):  # no int64
        wanted = pa.array([], ID_TYPES[store.id_type])
    found = dataset.to_table(columns=["embedding"], filter=one_of("item_id", wanted, IN_USE))
    if not len(found):
        raise DataError(f"{store.path} has no item {item_id!r} in version {dataset.version}.")
    embedding = matrix(found["embedding"])
    if not embedding.any():
        raise DataError(f"Item {item_id!r} has an embedding of zeros, which is near to nothing.")
    return _directions(embedding)[0]


def _directions(embeddings: np.ndarray) -> np.ndarray:
    """Rows `[rows, dim]` at length 1, float32; zeros stay zeros."""
    rows = embeddings.astype(np.float32)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
