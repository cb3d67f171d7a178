"""What is told of a store, against NumPy by hand, the file system and what the store does next."""

import os
import time
from datetime import UTC, datetime
from pathlib import Path

import lance
import numpy as np
import pytest

from mim_tf.errors import StageError
from mim_tf.representation import EmbeddingStore, embedding_statistics
from mim_tf.representation.inspection import inspect_store, version_time
from mim_tf.representation.slots import shards_of
from mim_tf.representation.unused_rows import unused_rows


def store_of(folder: Path, embeddings: list[list[float]], slots: int = 1) -> EmbeddingStore:
    """Items 0, 1, .. with these embeddings."""
    store = EmbeddingStore.create(folder / "store.lance", id_type="int64", dim=len(embeddings[0]), slots=slots)
    store.upsert(np.arange(len(embeddings)), np.array(embeddings), encoder="e")
    return store


def test_what_a_store_is(tmp_path: Path) -> None:
    store = store_of(tmp_path, [[3, 4], [0, 1], [2, 0]])
    store.upsert(np.array([1, 9]), np.array([[0, 2], [5, 12]]), encoder="e")  # item 1 leaves row 1, its second is row 3
    store.tag("ranker-1", 2)
    found = inspect_store(store)
    assert (found.items, found.dim, found.id_type, found.slots, found.encoder) == (4, 2, "int64", 1, "e")
    assert (found.store, found.identity) == (str(tmp_path / "store.lance"), store.read().store)
    assert (found.rows_let_go, found.rows_free, found.table_end) == (1, 0, 5)
    assert (found.versions, found.first_version, found.newest_version, found.tags) == (3, 1, 3, {"ranker-1": 2})
    assert found.lengths == {
        "mean": (5 + 2 + 2 + 13) / 4,
        "min": 2,
        "p01": 2,
        "median": (2 + 5) / 2,
        "p99": pytest.approx(5 + 0.97 * 8),  # at 0.99 * 3 = 2.97 of the places 0 to 3
        "max": 13,
    }
    assert (found.shards, found.shard_items) == (None, None)


def test_bytes_are_those_of_the_file_system(tmp_path: Path) -> None:
    store = store_of(tmp_path, [[1, 2]] * 50)
    store.upsert(np.arange(5), np.zeros((5, 2)), encoder="e")
    store.compact(keep_versions=1)
    store.upsert(np.arange(5), np.ones((5, 2)), encoder="e")
    store.tag("t", store.version)
    sizes = [os.path.getsize(Path(folder, file)) for folder, _, files in os.walk(store.path) for file in files]
    data = [file.stat().st_size for file in Path(store.path).glob("data/*")]
    found = inspect_store(store)
    assert (found.stored_bytes, found.files) == (sum(sizes), len(sizes))
    assert (found.newest_bytes, found.fragments) == (sum(data), len(data))  # after the compaction nothing else is there


def test_times_are_utc_wherever_the_reader_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    store = store_of(tmp_path, [[1, 2]])
    after = datetime.now(UTC)
    try:
        monkeypatch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        found = inspect_store(store)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert found.first_time.endswith("+00:00")
    assert before <= datetime.fromisoformat(found.first_time) <= datetime.fromisoformat(found.newest_time) <= after


@pytest.mark.parametrize("seed", range(4))
def test_free_rows_are_those_that_new_items_get(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    store = store_of(tmp_path, rng.integers(0, 9, (20, 2)).tolist(), slots=1 + seed)
    counts = set()
    for turn in range(8):
        for _ in range(int(rng.integers(1, 4))):
            store.upsert(rng.choice(20, 4, replace=False), rng.integers(0, 9, (4, 2)), encoder="e")
        if rng.random() < 0.7:
            store.compact(keep_versions=int(rng.integers(1, 4)))
        records = lance.dataset(store.path).to_table(filter="item_id IS NULL")
        unused = unused_rows(store)
        assert unused.let_go == len(records)
        new_items = np.arange(100) + 100 * (turn + 1)  # more than there are free rows, in every slot
        store.upsert(new_items, np.ones((100, 2)), encoder="e")
        assert unused.free == np.isin(records["row"].to_numpy(), store.read().rows).sum()
        counts.add(unused)
    assert any(0 < unused.free < unused.let_go for unused in counts)


def test_a_collapsed_encoder_shows(tmp_path: Path) -> None:
    found = inspect_store(store_of(tmp_path, [[3, 4]] * 20))
    assert found.pair_cosines is not None
    assert found.pair_cosines["min"] == pytest.approx(1, abs=1e-12)


def test_pairs_are_of_different_items_and_zeros_count_as_zero(tmp_path: Path) -> None:
    found = inspect_store(store_of(tmp_path, [[1, 0, 0], [0, 2, 0], [0, 0, 0]]))
    assert found.pair_cosines == dict.fromkeys(("mean", "min", "p01", "median", "p99", "max"), 0.0)


def test_drawn_pairs_are_like_all_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding_statistics, "_ROWS_AT_ONCE", 999)  # no divisor of what there is
    embeddings = np.random.default_rng(0).normal(0.5, 1, (1500, 4)).astype(np.float16).astype(np.float64)
    found = inspect_store(store_of(tmp_path, embeddings.tolist(), slots=8))
    units = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    cosines = (units @ units.T)[~np.eye(1500, dtype=bool)]
    assert found.pair_cosines is not None
    # 100,000 draws: standard errors are below 0.002 for the mean and 0.004 for quantiles
    assert found.pair_cosines["mean"] == pytest.approx(cosines.mean(), abs=0.008)
    assert found.pair_cosines["median"] == pytest.approx(np.median(cosines), abs=0.016)
    assert found.lengths is not None
    assert found.lengths["mean"] == pytest.approx(np.linalg.norm(embeddings, axis=1).mean(), rel=1e-6)


def test_what_int8_costs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding_statistics, "_ROWS_AT_ONCE", 7)
    rows = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float16)
    kept = rows.astype(np.float64)
    scales = np.abs(kept).max(axis=1, keepdims=True) / 127
    rounded = np.round(kept / scales) * scales
    costs = 1 - (kept * rounded).sum(axis=1) / np.linalg.norm(kept, axis=1) / np.linalg.norm(rounded, axis=1)
    found = inspect_store(store_of(tmp_path, [*rows.tolist(), [0] * 6]))
    assert found.int8_costs is not None
    # what a table gives back is float16: a relative error of 2^-11 at most, a cost of 2^-23
    assert found.int8_costs["mean"] == pytest.approx(costs.mean(), abs=2.0**-23)
    assert found.int8_costs["max"] == pytest.approx(costs.max(), rel=0.1)


@pytest.mark.parametrize("shards", [1, 3, 8])
def test_shards(tmp_path: Path, shards: int) -> None:
    store = store_of(tmp_path, [[1, 2]] * 300, slots=8)
    homes = shards_of(np.arange(300), 8, shards)
    sizes = [int((homes == number).sum()) for number in range(shards)]
    expected = {"mean": 300 / shards, "min": min(sizes), "max": max(sizes)}
    assert inspect_store(store, shards).shard_items == expected


def test_more_shards_than_slots_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`total` of shards must be 1 to 2, the store's slots\. Received: 3"):
        inspect_store(store_of(tmp_path, [[1, 2]], slots=2), 3)


def test_an_empty_store(tmp_path: Path) -> None:
    found = inspect_store(EmbeddingStore.create(tmp_path / "s", id_type="string", dim=3), 4)
    assert (found.items, found.encoder, found.id_type, found.table_end, found.rows_let_go) == (0, None, "string", 0, 0)
    assert (found.versions, found.newest_version, found.fragments, found.tags) == (1, 1, 0, {})
    assert (found.lengths, found.pair_cosines, found.int8_costs, found.shard_items) == (None, None, None, None)


def test_one_item_has_no_pair(tmp_path: Path) -> None:
    found = inspect_store(store_of(tmp_path, [[0, 0]]))
    assert found.lengths is not None
    assert (found.lengths["max"], found.pair_cosines, found.int8_costs) == (0, None, None)


def test_a_version_that_went_meanwhile_is_told(tmp_path: Path) -> None:
    store = store_of(tmp_path, [[0, 1]])
    store.compact(keep_versions=1)
    with pytest.raises(StageError, match=r"Version 1 of .*store\.lance cannot be read\. Run the command again\."):
        version_time(store, 1)
