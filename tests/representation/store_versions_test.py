"""Versions: reading as of one, changes since one, compaction and what it removes."""

from datetime import timedelta
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pytest

from mim_tf.errors import StageError
from mim_tf.representation import EmbeddingStore, StoredEmbeddings
from mim_tf.representation.store_commit import commit_records

Contents = dict[int, tuple[int, bytes]]


@pytest.fixture
def store(tmp_path: Path) -> EmbeddingStore:
    return EmbeddingStore.create(tmp_path / "store.lance", id_type="int64", dim=2, slots=1)


def fill(store: EmbeddingStore, commits: int) -> None:
    """Commits of which every one changes something."""
    random = np.random.default_rng(commits)
    for turn in range(commits):
        item_ids = np.append(random.choice(40, 6, replace=False), 1000 + turn)
        store.upsert(item_ids, random.integers(0, 4, (7, 2)), encoder="e")


def contents(stored: StoredEmbeddings) -> Contents:
    """Row and embedding by item."""
    bits = [embedding.tobytes() for embedding in stored.embeddings]
    return dict(zip(stored.item_ids.tolist(), zip(stored.rows.tolist(), bits, strict=True), strict=True))


def test_a_version_reads_as_it_was(store: EmbeddingStore) -> None:
    seen = {}
    for turn in range(5):
        version = store.upsert(np.array([turn, turn + 1]), np.full((2, 2), turn), encoder="e")
        seen[version] = {item: min(item, turn) for item in range(turn + 2)}
    for version, expected in seen.items():
        stored = store.read(version)
        assert stored.version == version
        assert dict(zip(stored.item_ids.tolist(), stored.embeddings[:, 0].tolist(), strict=True)) == expected


def test_changes_are_the_difference_of_two_reads(store: EmbeddingStore) -> None:
    fill(store, 12)
    store.compact(keep_versions=9)
    fill(store, 5)
    now = contents(store.read())
    for since in [version for version in store.versions if version > 1]:
        then = contents(store.read(since))
        expected = {item: what for item, what in now.items() if then.get(item) != what}
        changes = store.changes(since)
        assert contents(changes) == expected
        assert changes.version == store.version
        assert (np.diff(changes.rows) > 0).all()
    assert not store.changes(store.version).item_ids.size


def test_changes_since_the_empty_store_are_all(store: EmbeddingStore) -> None:
    fill(store, 2)
    assert contents(store.changes(1)) == contents(store.read())


def test_compaction_changes_no_content(store: EmbeddingStore) -> None:
    fill(store, 10)
    before, version = contents(store.read()), store.version
    files = len(list(Path(store.path).glob("data/*")))
    assert store.compact(keep_versions=1) > 0
    assert contents(store.read()) == before
    assert len(list(Path(store.path).glob("data/*"))) < files
    assert store.versions == [store.version]
    assert store.version > version


@pytest.mark.parametrize("age", [timedelta(microseconds=1), timedelta(days=1)])
def test_versions_are_removed_by_their_age(store: EmbeddingStore, age: timedelta) -> None:
    fill(store, 3)
    store.compact(older_than=age)
    assert (1 in store.versions) == (age == timedelta(days=1))
    assert len(store) == len(store.read().item_ids)


def test_what_was_removed_is_told_from_what_never_was(store: EmbeddingStore) -> None:
    fill(store, 6)
    store.compact(keep_versions=2)
    oldest, newest = store.versions
    there = rf"there are 2 from {oldest} to {newest}\."
    with pytest.raises(StageError, match=rf"Version 3 of .* was removed by `compact`\. Read the whole store: {there}"):
        store.changes(3)
    with pytest.raises(StageError, match=rf"Version 3 of .* was removed by `compact`\. Read one .*: {there}"):
        store.read(3)
    for unknown in (0, newest + 1):
        with pytest.raises(
            StageError, match=rf"Version {unknown} of .* does not exist\. Read the whole store: {there}"
        ):
            store.changes(unknown)
    with pytest.raises(StageError, match=r"Version 99 of .* does not exist"):
        store.read(99)


def test_an_empty_version_cannot_be_read(store: EmbeddingStore) -> None:
    fill(store, 1)
    with pytest.raises(StageError, match=r"holds no embeddings in version 1\."):
        store.read(1)


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({}, r"Either `keep_versions` or `older_than` must be given\. Received: None and None"),
        ({"keep_versions": 1, "older_than": timedelta(days=1)}, r"Either .* Received: 1 and 1 day"),
        ({"keep_versions": 0}, r"`keep_versions` must be at least 1\. Received: 0"),
        ({"older_than": timedelta(0)}, r"`older_than` must be positive\. Received: 0:00:00"),
    ],
)
def test_a_rule_that_keeps_nothing_is_refused(store: EmbeddingStore, rules: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        store.compact(**rules)


def test_a_store_may_have_a_uri(tmp_path: Path) -> None:
    store = EmbeddingStore.create(f"file://{tmp_path}/store.lance", id_type="int64", dim=2, slots=1)
    fill(store, 3)
    store.compact(keep_versions=1)
    fill(store, 1)
    assert contents(EmbeddingStore(tmp_path / "store.lance").read()) == contents(store.read())


def test_another_dataset_is_no_store(tmp_path: Path) -> None:
    import lance
    import pyarrow as pa

    lance.write_dataset(pa.table({"a": [1]}), tmp_path / "other")
    with pytest.raises(
        StageError, match=r"other is no embedding store: it must have the columns item_id, .* Received: a"
    ):
        EmbeddingStore(tmp_path / "other")


def test_a_commit_between_that_conflicts_with_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A compaction reserves file numbers in a commit of its own; a change of settings stands for it here."""
    store = EmbeddingStore.create(tmp_path / "store.lance", id_type="int64", dim=2, slots=1)
    store.upsert(np.arange(3), np.zeros((3, 2)), encoder="e")

    def overtaken(base: lance.LanceDataset, records: pa.Table) -> int:
        lance.dataset(store.path).update_config({"overtaken": "yes"})
        return commit_records(base, records)

    before = store.version
    monkeypatch.setattr("mim_tf.representation.store.commit_records", overtaken)
    told = store.upsert(np.array([0, 9]), np.ones((2, 2)), encoder="e")
    monkeypatch.undo()
    assert told == store.version == before + 2
    assert 9 not in store.read(before + 1).item_ids
    assert store.changes(before + 1).item_ids.tolist() == store.changes(before).item_ids.tolist() == [0, 9]
    store.compact(keep_versions=4)  # the one between stays, in which item 0 has its old row
    (held,) = store.read(before + 1).rows[store.read(before + 1).item_ids == 0]
    store.upsert(np.array([50]), np.ones((1, 2)), encoder="e")
    assert held not in store.read().rows


def test_ids_that_no_table_takes_are_refused(tmp_path: Path) -> None:
    for id_type, ids, received in (("int64", np.array([5, -1]), "-1"), ("string", np.array(["a", ""], object), "''")):
        store = EmbeddingStore.create(tmp_path / id_type, id_type=id_type, dim=2, slots=1)
        with pytest.raises(ValueError, match=rf"`item_ids` must not hold the reserved id {received}\."):
            store.upsert(ids, np.zeros((2, 2)), encoder="e")
        assert len(store) == 0


def test_small_files_are_put_together_beside_a_large_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mim_tf.representation.store._SMALL_FILE", 100)
    store = EmbeddingStore.create(tmp_path / "store.lance", id_type="int64", dim=2)
    store.upsert(np.arange(500), np.ones((500, 2)), encoder="e")
    (large,) = (Path(store.path) / "data").iterdir()
    for turn in range(30):
        store.upsert(np.array([turn, 1000 + turn]), np.full((2, 2), turn), encoder="e")
    expected = contents(store.read())
    store.compact(keep_versions=1, small_files_only=True)
    files = list((Path(store.path) / "data").iterdir())
    assert large in files
    assert len(files) == 2
    assert contents(store.read()) == expected
    store.compact(keep_versions=1)
    assert large not in list((Path(store.path) / "data").iterdir())
    assert contents(store.read()) == expected


def test_old_versions_go_even_where_compaction_is_outrun(
    store: EmbeddingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store, 5)
    monkeypatch.setattr("mim_tf.representation.store_commit._LONGEST_WAIT", 0.0)
    rival = EmbeddingStore(store.path)
    turns = iter(range(1000))
    compact_files = lance.dataset(store.path).optimize.__class__.compact_files

    def outrun(optimizer: object, **options: object) -> object:
        rival.upsert(np.array([7]), np.full((1, 2), next(turns)), encoder="e")
        return compact_files(optimizer, **options)

    monkeypatch.setattr(lance.dataset(store.path).optimize.__class__, "compact_files", outrun)
    with pytest.raises(StageError, match="was changed by others during each of 5 attempts"):
        store.compact(keep_versions=1)
    assert len(store.versions) == 1
