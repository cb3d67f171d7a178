"""Neighbours against a search by brute force in float64."""

from pathlib import Path

import numpy as np
import pytest

from mim_tf.errors import DataError
from mim_tf.representation import EmbeddingStore
from mim_tf.representation.neighbours import nearest_to, neighbours_of, ranks_among_all


def store_of(folder: Path, embeddings: np.ndarray) -> EmbeddingStore:
    """Items 100, 101, .. with these embeddings, in rows 0, 1, .. ."""
    store = EmbeddingStore.create(folder / "store.lance", id_type="int64", dim=embeddings.shape[1], slots=1)
    for part in np.array_split(np.arange(len(embeddings)), 2):
        store.upsert(100 + part, embeddings[part], encoder="e")
    return store


@pytest.mark.parametrize("count", [1, 10, 29_999, 50_000])
def test_they_are_those_of_a_brute_force_search(tmp_path: Path, count: int) -> None:
    embeddings = np.random.default_rng(0).normal(size=(30_000, 5)).astype(np.float16)  # several batches
    units = embeddings.astype(np.float64)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    cosines = units @ units[17_000]
    expected = [place for place in np.argsort(-cosines) if place != 17_000][:count]
    found = neighbours_of(store_of(tmp_path, embeddings), 17_100, count)
    assert [neighbour.cosine for neighbour in found] == pytest.approx(cosines[expected].tolist(), abs=1e-6)
    if count == 10:  # among thousands some differ by less than float32 can tell
        assert [neighbour.item_id for neighbour in found] == [100 + place for place in expected]
    assert len({neighbour.item_id for neighbour in found} - {17_100}) == min(count, 29_999)


def test_length_does_not_matter_and_zeros_are_near_to_nothing(tmp_path: Path) -> None:
    found = neighbours_of(store_of(tmp_path, np.array([[3, 4], [0, 0], [-3, -4], [600, 800], [8, -6]])), 100, 9)
    assert [neighbour.item_id for neighbour in found] == [103, 101, 104, 102]
    assert [neighbour.cosine for neighbour in found] == pytest.approx([1, 0, 0, -1], abs=1e-6)


def test_of_equally_near_ones_the_lower_row_comes_first(tmp_path: Path) -> None:
    embeddings = np.array([[1, 0], [0, 1], [1, 0], [2, 0], [1, 0], [4, 0]])
    found = neighbours_of(store_of(tmp_path, embeddings), 104, 3)
    assert [neighbour.item_id for neighbour in found] == [100, 102, 103]


def test_an_old_embedding_is_no_neighbour(tmp_path: Path) -> None:
    store = store_of(tmp_path, np.array([[1, 0], [1, 0], [0, 1]]))
    store.upsert(np.array([101]), np.array([[-1, 0]]), encoder="e")
    assert neighbours_of(store, 100, 5) == [(102, 0), (101, -1)]


def test_one_item_has_none(tmp_path: Path) -> None:
    assert neighbours_of(store_of(tmp_path, np.array([[1, 2]])), 100, 5) == []


def test_any_name_is_found_as_it_is(tmp_path: Path) -> None:
    names = np.array(["it's", "' OR 1=1 --", "é"], object)
    store = EmbeddingStore.create(tmp_path / "s", id_type="string", dim=2)
    store.upsert(names, np.array([[1, 0], [0, 1], [0, 2]]), encoder="e")
    assert [neighbour.item_id for neighbour in neighbours_of(store, "' OR 1=1 --", 1)] == ["é"]
    with pytest.raises(DataError, match=r'has no item "\' OR \'" in version 2\.'):
        neighbours_of(store, "' OR '", 1)


def test_what_cannot_be_compared(tmp_path: Path) -> None:
    store = store_of(tmp_path, np.array([[1, 0], [0, 0]]))
    for unknown in (7, 2**64):
        with pytest.raises(DataError, match=rf"store\.lance has no item {unknown} in version 3\."):
            neighbours_of(store, unknown, 1)
    with pytest.raises(DataError, match=r"Item 101 has an embedding of zeros, which is near to nothing\."):
        neighbours_of(store, 101, 1)
    with pytest.raises(ValueError, match=r"`count` must be at least 1\. Received: 0\."):
        neighbours_of(store, 100, 0)


def test_vectors_find_what_a_search_by_brute_force_finds(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    embeddings, queries = rng.normal(size=(30_000, 5)).astype(np.float16), rng.normal(size=(3, 5))
    store = store_of(tmp_path, embeddings)
    units = embeddings / np.linalg.norm(embeddings.astype(np.float64), axis=1, keepdims=True)
    cosines = queries / np.linalg.norm(queries, axis=1, keepdims=True) @ units.T
    best = np.argsort(-cosines, axis=1)
    without = [None, 100 + int(best[1, 0]), None]
    for number, found in enumerate(nearest_to(store, queries, 4, without)):
        expected = best[number, 1:5] if number == 1 else best[number, :4]
        assert [neighbour.item_id for neighbour in found] == (100 + expected).tolist()
        assert [neighbour.cosine for neighbour in found] == pytest.approx(cosines[number, expected], abs=1e-6)
    sought = np.array([100 + best[0, 700], 100 + best[1, 700], 7])
    assert ranks_among_all(store, queries, sought, without) == [701, 700, None]  # one that is nearer was left out


def test_some_items_embeddings(tmp_path: Path) -> None:
    names = np.array(["a", "b", "c"], object)
    store = EmbeddingStore.create(tmp_path / "s", id_type="string", dim=2)
    store.upsert(names, np.array([[1, 0], [0, 1], [0, 2]]), encoder="e")
    found = store.embeddings_of(np.array(["c", "it's none", "a"], object))
    assert found.tolist() == [[0, 2], [0, 0], [1, 0]]
