"""Requests to a table, and what the table in this process answers: an export is checked and warmed up with them."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from mim_tf.export.gate import Case
from mim_tf.representation import EmbeddingTable, StoredEmbeddings

_NOBODYS: dict[tf.DType, list[int | str]] = {
    tf.int64: [2**62, 2**62 + 1, -1],
    tf.string: ["no item of the shop", "nor this", ""],
}


def table_cases(table: EmbeddingTable, stored: StoredEmbeddings, count: int = 64) -> list[Case]:
    """Cases of all signatures of `table_signatures`. The `upsert` is of padding alone, which leaves the table as it is.

    Args:
        table: that is exported.
        stored: what it was made of.
        count: items of the large look-up, if there are so many.
    """
    every = max(1, len(stored.item_ids) // count)
    item_id = _ids(table, [*stored.item_ids[::every][:count].tolist(), *_NOBODYS[table.id_dtype]])
    numbers = {"version": stored.version, "sequence": 0, "capacity": table.capacity, "dim": table.dim}
    numbers |= {"slots": stored.slots, "shard": stored.part.number, "shards": stored.part.total}
    told = {name: np.array([number]) for name, number in numbers.items()}
    told["store"] = np.array([stored.store.encode()], object)
    nothing = _change(item_id[-1:], [0], np.zeros([1, table.dim]), 0, 0, -1)
    return [
        _lookup(table, item_id[:1]),
        Case("upsert", nothing, {"version": np.array([stored.version])}),
        _lookup(table, item_id),  # also what the upsert has not changed
        Case("version", {"request": np.zeros(1, np.int64)}, told),
    ]


def upsert_cases(table: EmbeddingTable, stored: StoredEmbeddings) -> list[Case]:
    """Cases that change the table: a new item and a changed one get rows of their own. Not for a warm-up.

    Args:
        table: that is exported; it has two spare rows.
        stored: what it was made of.
    """
    new = _NOBODYS[table.id_dtype][0]
    item_id = _ids(table, [new, stored.item_ids.tolist()[0] if len(stored.item_ids) else _NOBODYS[table.id_dtype][1]])
    # Ones and minus ones are the same in int8.
    embedding = np.where(np.arange(2 * table.dim).reshape(2, -1) % 2, 1, -1)
    change = _change(
        item_id, [table.capacity - 2, table.capacity - 1], embedding, stored.version, stored.version + 1, 0
    )
    version = np.full(2, stored.version + 1)
    found = {"embedding": embedding.astype(np.float16), "hit": np.ones(2, bool), "version": version}
    return [Case("upsert", change, {"version": version}), Case("lookup", {"item_id": item_id}, found)]


def contents_cases(stored: StoredEmbeddings) -> list[Case]:
    """A case of `contents`, of a model that is given what it ranks by."""
    told = {"store": np.array([stored.store.encode()], object), "dim": np.array([stored.embeddings.shape[1]])}
    return [Case("contents", {"request": np.zeros(1, np.int64)}, told)]


def _lookup(table: EmbeddingTable, item_id: np.ndarray) -> Case:
    embedding, hit = table.lookup_with_hits(tf.constant(item_id, table.id_dtype))
    version = np.full(len(item_id), table.version.numpy())
    return Case(
        "lookup", {"item_id": item_id}, {"embedding": embedding.numpy(), "hit": hit.numpy(), "version": version}
    )


def _change(
    item_id: np.ndarray, rows: list[int], embedding: np.ndarray, since: int, version: int, sequence: int
) -> dict[str, np.ndarray]:
    numbers = {"since": since, "version": version, "sequence": sequence}
    change = {"item_id": item_id, "row": np.array(rows), "embedding": embedding.astype(np.float16)}
    return change | {name: np.full(len(item_id), number) for name, number in numbers.items()}


def _ids(table: EmbeddingTable, item_ids: list[int | str]) -> np.ndarray:
    ids: np.ndarray = tf.constant(item_ids, table.id_dtype).numpy()
    return ids
