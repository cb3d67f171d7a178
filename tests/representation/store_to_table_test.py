"""What the store tells of its changes, applied to a table: it ends as a table that is built anew."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from mim_tf.representation import EmbeddingStore, EmbeddingTable
from mim_tf.representation.slots import shards_of

ITEMS = 30  # ids are drawn from these


@pytest.mark.parametrize(("slots", "total"), [(1, 1), (7, 1), (7, 3), (4, 4)])
@pytest.mark.parametrize("seed", [0, 1])
def test_tables_that_follow_the_store_equal_ones_built_anew(tmp_path: Path, seed: int, slots: int, total: int) -> None:
    rng = np.random.default_rng(seed)
    store = EmbeddingStore.create(tmp_path / "store.lance", id_type="int64", dim=2, slots=slots)
    store.upsert(np.arange(10), rng.integers(-9, 9, (10, 2)).astype(float), encoder="e")
    parts = [store.read().shard(number, total) for number in range(total)]
    tables = [EmbeddingTable.of(part, spare=200) for part in parts]
    assert sum(len(part.item_ids) for part in parts) == 10
    for step in range(12):
        count = int(rng.integers(1, 6))
        store.upsert(rng.integers(0, ITEMS, count), rng.integers(-9, 9, (count, 2)).astype(float), encoder="e")
        if step % 3 == 1:  # they then apply several versions at once
            follow(tables, store)
            assert_hold(tables, store)
            store.compact(keep_versions=3)  # its own two and the tables'; what those have not is free then
            assert int(tables[0].version) in store.versions
    follow(tables, store)
    assert_hold(tables, store)
    assert len(np.unique(store.read().rows)) == len(store)
    most = np.bincount(shards_of(np.arange(ITEMS), slots, slots)).max()  # of a slot, had all items come
    assert store.read().rows.max() < 2 * slots * most  # rows were used again


def follow(tables: list[EmbeddingTable], store: EmbeddingStore) -> None:
    since = int(tables[0].version)
    changes = store.changes(since)
    for number, table in enumerate(tables):
        part = changes.shard(number, len(tables))
        table.upsert(part.item_ids, part.rows, part.embeddings, since=since, version=part.version)


def assert_hold(tables: list[EmbeddingTable], store: EmbeddingStore) -> None:
    """Every item is in the shard that arithmetic names, and in no other."""
    stored, items = store.read(), np.arange(ITEMS)
    expected = np.zeros((ITEMS, 2), np.float16)
    expected[stored.item_ids] = stored.embeddings
    homes = shards_of(items, store.slots, len(tables))
    for number, table in enumerate(tables):
        embeddings, hits = table.lookup_with_hits(tf.constant(items))
        np.testing.assert_array_equal(hits, np.isin(items, stored.item_ids) & (homes == number))
        np.testing.assert_array_equal(embeddings, np.where(homes[:, np.newaxis] == number, expected, 0))
        assert int(table.version) == stored.version
