"""The difference of two versions, against what was written and NumPy by hand."""

from pathlib import Path

import numpy as np
import pytest

from mim_tf.errors import StageError
from mim_tf.representation import EmbeddingStore, embedding_statistics
from mim_tf.representation.difference import difference_of


@pytest.fixture
def store(tmp_path: Path) -> EmbeddingStore:
    """Versions 2 to 4: items a, b, c; then a turns by 90 degrees and d comes; then a turns back, b turns by 60."""
    store = EmbeddingStore.create(tmp_path / "store.lance", id_type="string", dim=2, slots=1)
    store.upsert(np.array(["a", "b", "c"], object), np.array([[1, 0], [2, 0], [0, 3]]), encoder="e")
    store.upsert(np.array(["a", "c", "d"], object), np.array([[0, 1], [0, 3], [1, 1]]), encoder="e")
    store.upsert(np.array(["a", "b"], object), np.array([[1, 0], [0.5, 0.75**0.5]]), encoder="e")
    return store


def test_what_is_new_and_what_changed(store: EmbeddingStore) -> None:
    found = difference_of(store, 2, 3)
    assert (found.since_version, found.since_items, found.to_version, found.to_items) == (2, 3, 3, 4)
    assert (found.new, found.new_items, found.changed) == (1, ["d"], 1)
    assert found.changed_items == [{"item_id": "a", "cosine": 0}]


def test_what_changed_back_is_the_same(store: EmbeddingStore) -> None:
    found = difference_of(store, 2)
    assert (found.to_version, found.new, found.changed) == (4, 1, 1)
    assert [item["item_id"] for item in found.changed_items] == ["b"]
    assert found.changed_items[0]["cosine"] == pytest.approx(0.5, abs=2**-10)  # float16 of the square root


def test_those_that_turned_furthest_come_first(store: EmbeddingStore) -> None:
    found = difference_of(store, 3)
    assert [item["item_id"] for item in found.changed_items] == ["a", "b"]
    assert [item["cosine"] for item in found.changed_items] == pytest.approx([0, 0.5], abs=2**-10)
    assert found.changed_cosines is not None
    assert found.changed_cosines["median"] == pytest.approx(0.25, abs=2**-10)
    assert [item["item_id"] for item in difference_of(store, 3, shown=1).changed_items] == ["a"]
    assert difference_of(store, 3, shown=0).changed_items == []


def test_since_the_empty_store_all_is_new(store: EmbeddingStore) -> None:
    found = difference_of(store, 1, 2, shown=2)
    assert (found.since_items, found.new, found.new_items, found.changed) == (0, 3, ["a", "b"], 0)
    assert found.changed_cosines is None
    assert difference_of(store, 1, 1).to_items == 0


def test_a_version_does_not_differ_from_itself(store: EmbeddingStore) -> None:
    found = difference_of(store, 3, 3)
    assert (found.new, found.changed, found.since_time) == (0, 0, found.to_time)


def test_many_items_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding_statistics, "_ROWS_AT_ONCE", 7)
    rng = np.random.default_rng(0)
    store = EmbeddingStore.create(tmp_path / "many.lance", id_type="int64", dim=3, slots=8)
    before, after = rng.normal(size=(100, 3)).astype(np.float16), rng.normal(size=(40, 3)).astype(np.float16)
    store.upsert(np.arange(100), before, encoder="e")
    store.upsert(np.arange(80, 120), after, encoder="e")
    found = difference_of(store, 2, shown=100)
    assert sorted(found.new_items) == list(range(100, 120))
    one, other = before[80:].astype(float), after[:20].astype(float)
    cosines = (one * other).sum(axis=1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
    assert [item["item_id"] for item in found.changed_items] == (80 + np.argsort(cosines)).tolist()
    assert [item["cosine"] for item in found.changed_items] == pytest.approx(np.sort(cosines))
    assert found.changed_cosines is not None
    assert found.changed_cosines["mean"] == pytest.approx(cosines.mean())


def test_it_agrees_with_the_changes_of_the_store(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    store = EmbeddingStore.create(tmp_path / "many.lance", id_type="int64", dim=3)
    for _ in range(5):
        store.upsert(rng.choice(50, 20, replace=False), rng.normal(size=(20, 3)), encoder="e")
    for since in store.versions:
        found = difference_of(store, since, shown=50)
        named = {*found.new_items, *(item["item_id"] for item in found.changed_items)}
        assert named == set(store.changes(since).item_ids.tolist())


def test_versions_that_cannot_be(store: EmbeddingStore) -> None:
    with pytest.raises(ValueError, match=r"`to` must not be before `since`, 3\. Received: 2\."):
        difference_of(store, 3, 2)
    with pytest.raises(ValueError, match=r"`shown` must be 0 or more\. Received: -1\."):
        difference_of(store, 3, shown=-1)
    with pytest.raises(StageError, match=r"Version 9 of .* does not exist"):
        difference_of(store, 2, 9)
    store.compact(keep_versions=1)
    with pytest.raises(StageError, match=r"Version 2 of .* was removed by `compact`"):
        difference_of(store, 2)
