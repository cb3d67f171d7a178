"""What the store tells of its changes, applied to a table: it ends as a table that is built anew."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from mim_tf.representation import EmbeddingStore, EmbeddingTable

pytestmark = pytest.mark.both_kerases
ITEMS = 30  # ids are drawn from these


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_table_that_follows_the_store_equals_one_built_anew(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    store = EmbeddingStore.create(tmp_path / "store.lance", id_type="int64", dim=2)
    store.upsert(np.arange(10), rng.integers(-9, 9, (10, 2)).astype(float), encoder="e")
    read = store.read()
    table = EmbeddingTable(read.item_ids, read.embeddings, rows=read.rows, version=read.version, spare=200)
    for step in range(12):
        count = int(rng.integers(1, 6))
        store.upsert(rng.integers(0, ITEMS, count), rng.integers(-9, 9, (count, 2)).astype(float), encoder="e")
        if step % 3 == 1:  # it then applies several versions at once
            changes = store.changes(int(table.version))
            table.upsert(changes.item_ids, changes.rows, changes.embeddings, changes.version)
            assert_holds(table, store)
            store.compact(keep_versions=3)  # its own two and the table's; what that one has not is free then
            assert int(table.version) in store.versions
    changes = store.changes(int(table.version))
    table.upsert(changes.item_ids, changes.rows, changes.embeddings, changes.version)
    assert_holds(table, store)
    assert store.read().rows.max() < 2 * ITEMS  # rows were used again


def assert_holds(table: EmbeddingTable, store: EmbeddingStore) -> None:
    expected = np.zeros((ITEMS, 2), np.float16)
    stored = store.read()
    expected[stored.item_ids] = stored.embeddings
    np.testing.assert_array_equal(table.lookup(tf.range(ITEMS, dtype=tf.int64)), expected)
    assert int(table.version) == stored.version
