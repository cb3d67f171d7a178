"""Upserts: which items get which rows, what counts as a change, and what is refused."""

from datetime import UTC, datetime
from pathlib import Path

import lance
import numpy as np
import pytest

from mim_tf.representation import EmbeddingStore


@pytest.fixture
def store(tmp_path: Path) -> EmbeddingStore:
    return EmbeddingStore.create(tmp_path / "store.lance", id_type="int64", dim=2, slots=1)


def put(store: EmbeddingStore, items: dict[int, float]) -> int:
    """Each item with an embedding of two equal numbers."""
    embeddings = np.repeat(np.array(list(items.values()))[:, np.newaxis], 2, axis=1)
    return store.upsert(np.array(list(items)), embeddings, encoder="e")


def rows(store: EmbeddingStore) -> dict[int, int]:
    stored = store.read()
    return dict(zip(stored.item_ids.tolist(), stored.rows.tolist(), strict=True))


def test_a_changed_item_gets_another_row_and_the_rest_keep_theirs(store: EmbeddingStore) -> None:
    put(store, {7: 1, 8: 2, 9: 3})
    version = put(store, {8: 5, 10: 4})
    assert rows(store) == {7: 0, 9: 2, 8: 3, 10: 4}
    assert store.version == version == 3
    assert len(store) == 4
    stored = store.read()
    np.testing.assert_array_equal(stored.embeddings[:, 0], [1, 3, 5, 4])  # in the order of rows


def test_equal_bits_are_no_change(store: EmbeddingStore) -> None:
    put(store, {7: 0.1, 8: 2})
    assert put(store, {8: 2, 7: 0.1}) == 2
    assert store.version == 2
    put(store, {7: 0.1, 8: 3})  # one of two: the other keeps its row
    assert rows(store) == {7: 0, 8: 2}
    assert put(store, {7: np.nextafter(np.float16(0.1), np.float16(1))}) == 4


def test_of_an_item_given_twice_the_last_counts(store: EmbeddingStore) -> None:
    store.upsert(np.array([7, 8, 7]), np.array([[1.0, 1], [2, 2], [3, 3]]), encoder="e")
    stored = store.read()
    assert dict(zip(stored.item_ids.tolist(), stored.embeddings[:, 0].tolist(), strict=True)) == {8: 2, 7: 3}
    assert stored.rows.tolist() == [0, 1]


def test_nothing_to_store_is_no_version(store: EmbeddingStore) -> None:
    assert store.upsert(np.array([], np.int64), np.zeros((0, 2)), encoder="e") == 1
    assert store.version == 1


def test_rows_are_free_once_no_version_has_them(store: EmbeddingStore) -> None:
    put(store, {1: 1, 2: 2})  # version 2: rows 0, 1
    put(store, {1: 3})  # version 3: row 2; row 0 is let go
    put(store, {3: 1})  # version 4: row 0 still belongs to version 2
    assert rows(store) == {2: 1, 1: 2, 3: 3}
    store.compact(keep_versions=1)
    put(store, {2: 9, 4: 1})  # row 0 first; row 1 is let go now
    assert rows(store) == {1: 2, 3: 3, 2: 0, 4: 4}
    store.compact(keep_versions=1)
    put(store, {5: 1, 6: 1})
    assert rows(store) == {1: 2, 3: 3, 2: 0, 4: 4, 5: 1, 6: 5}


def test_no_row_of_a_readable_version_is_given_to_another_item(store: EmbeddingStore) -> None:
    random = np.random.default_rng(0)
    for turn in range(30):
        put(store, {int(item): float(random.integers(3)) for item in random.integers(0, 12, 4)})
        if turn % 7 == 6:
            store.compact(keep_versions=3)
        owners: dict[int, tuple[int, bytes]] = {}
        for version in [version for version in store.versions if version > 1]:
            stored = store.read(version)
            for item, row, embedding in zip(
                stored.item_ids.tolist(), stored.rows.tolist(), stored.embeddings, strict=True
            ):
                assert owners.setdefault(row, (item, embedding.tobytes())) == (item, embedding.tobytes())
    assert store.read().rows.max() < 30  # and rows were used again: about 60 changes were made


def test_digests_of_contents_are_kept(tmp_path: Path) -> None:
    store = EmbeddingStore.create(tmp_path / "s", id_type="string", dim=1, slots=1)
    ids = np.array(["a", "b", "c"], object)
    store.upsert(ids, np.ones((3, 1)), encoder="e", contents=np.array(["da", None, "dc"], object))
    assert store.labels_of(np.array(["c", "nobody", "b", "a"], object)).contents.tolist() == ["dc", None, None, "da"]

    # Another picture of the same embedding: the digest is new, the embedding is no change.
    version = store.upsert(ids[:2], np.ones((2, 1)), encoder="e", contents=np.array(["da2", "db"], object))
    assert store.labels_of(ids).contents.tolist() == ["da2", "db", "dc"]
    assert version == store.version == 3
    assert store.changes(2).item_ids.tolist() == []
    assert store.read().rows.tolist() == [0, 1, 2]

    # A changed embedding without a digest: the old digest is not its own.
    store.upsert(ids[:1], np.zeros((1, 1)), encoder="e")
    assert store.labels_of(ids).contents.tolist() == [None, "db", "dc"]


def test_records_tell_when_they_were_written(store: EmbeddingStore) -> None:
    before = datetime.now(UTC)
    put(store, {1: 1})
    written = lance.dataset(store.path).to_table()["updated_at"][0].as_py()
    assert before <= written <= datetime.now(UTC)


def test_an_encoder_is_refused_where_another_one_was(store: EmbeddingStore) -> None:
    put(store, {1: 1})
    with pytest.raises(ValueError, match=r"`encoder` must be e, the one of all rows\. Received: f"):
        store.upsert(np.array([2]), np.ones((1, 2)), encoder="f")
    assert len(store) == 1


@pytest.mark.parametrize(
    ("item_ids", "contents", "message"),
    [
        (np.array([1, None], object), None, r"`item_ids` must not be null\. Received: 1 that are"),
        (np.array([1, 2]), np.array(["d"], object), r"`contents` must have the length 2\. Received: 1"),
    ],
)
def test_what_is_missing_is_refused(
    store: EmbeddingStore, item_ids: np.ndarray, contents: np.ndarray | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        store.upsert(item_ids, np.ones((2, 2)), encoder="e", contents=contents)
