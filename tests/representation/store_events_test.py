"""Times of events, and tags: what comes late does not undo what is newer, and a named version stays."""

from pathlib import Path

import numpy as np
import pytest

from mim_tf.errors import StageError
from mim_tf.representation import EmbeddingStore


@pytest.fixture
def store(tmp_path: Path) -> EmbeddingStore:
    return EmbeddingStore.create(tmp_path / "store.lance", id_type="string", dim=1)


def put(store: EmbeddingStore, *events: tuple[str, float, int | None], digests: bool = False) -> int:
    """Items with a value and the second of their event."""
    ids = np.array([item for item, _, _ in events], object)
    values = np.array([[value] for _, value, _ in events])
    times = np.array([np.datetime64("NaT") if time is None else np.datetime64(time, "s") for _, _, time in events])
    contents = np.array([f"d{value}" for _, value, _ in events], object) if digests else None
    return store.upsert(ids, values, encoder="e", contents=contents, event_times=times)


def values(store: EmbeddingStore) -> dict[str, float]:
    stored = store.read()
    return dict(zip(stored.item_ids.tolist(), stored.embeddings[:, 0].tolist(), strict=True))


def test_what_comes_late_changes_nothing(store: EmbeddingStore) -> None:
    put(store, ("a", 1, 10), ("b", 1, 10))
    version = put(store, ("a", 2, 9))
    assert version == store.version == 2
    assert put(store, ("a", 3, 9), ("b", 4, 11)) == 3
    assert values(store) == {"a": 1, "b": 4}
    assert put(store, ("a", 5, 10)) == 4  # of the same second: who comes later
    assert values(store) == {"a": 5, "b": 4}


def test_a_time_is_kept_where_the_embedding_is_the_same(store: EmbeddingStore) -> None:
    put(store, ("a", 1, 10))
    put(store, ("a", 1, 20))
    put(store, ("a", 2, 15))  # would have come between
    assert values(store) == {"a": 1}
    assert store.labels_of(np.array(["a"], object)).event_times == np.datetime64(20, "s")
    assert store.changes(2).item_ids.tolist() == []


def test_what_is_not_given_leaves_a_same_embedding_its_labels(store: EmbeddingStore) -> None:
    put(store, ("a", 1, 10), digests=True)
    put(store, ("a", 1, 20))
    labels = store.labels_of(np.array(["a", "nobody"], object))
    assert labels.contents.tolist() == ["d1", None]
    assert labels.event_times[0] == np.datetime64(20, "s")
    assert np.isnat(labels.event_times[1])


def test_events_without_a_time_count_in_their_order(store: EmbeddingStore) -> None:
    put(store, ("a", 1, 10))
    put(store, ("a", 2, None))
    assert values(store) == {"a": 2}
    put(store, ("a", 3, 5))  # nothing is known of when 2 was
    assert values(store) == {"a": 3}


def test_of_an_item_given_twice_the_latest_counts(store: EmbeddingStore) -> None:
    put(store, ("a", 1, 12), ("b", 1, 5), ("a", 2, 11), ("b", 2, 5), ("c", 1, 9))
    assert values(store) == {"a": 1, "b": 2, "c": 1}


def test_an_item_without_a_time_leaves_the_others_theirs(store: EmbeddingStore) -> None:
    put(store, ("a", 1, 10), ("a", 2, 5), ("b", 1, None), ("c", 1, None), ("c", 2, 3), ("c", 3, None))
    assert values(store) == {"a": 1, "b": 1, "c": 3}


@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_any_order_of_events_ends_alike(tmp_path: Path, order: int) -> None:
    rng = np.random.default_rng(order)
    events = [(item, 10 * time + place, time) for place, item in enumerate("abc") for time in range(8)]
    store = EmbeddingStore.create(tmp_path / "store.lance", id_type="string", dim=1)
    shuffled = [events[place] for place in rng.permutation(len(events))]
    while shuffled:
        window = [shuffled.pop() for _ in range(min(len(shuffled), int(rng.integers(1, 6))))]
        put(store, *window)
        put(store, *window)  # at least once
    assert values(store) == {"a": 70, "b": 71, "c": 72}


def test_an_id_with_a_quote_is_found(store: EmbeddingStore) -> None:
    put(store, ("it's 5'", 1, 10), digests=True)
    assert store.labels_of(np.array(["it's 5'"], object)).contents.tolist() == ["d1"]


def test_a_tagged_version_stays_and_its_rows_are_not_given_away(tmp_path: Path) -> None:
    store = EmbeddingStore.create(tmp_path / "store.lance", id_type="string", dim=1, slots=1)
    put(store, ("a", 1, None), ("b", 1, None))
    store.tag("ranker-1", store.version)
    put(store, ("a", 2, None))
    store.compact(keep_versions=1)
    assert store.tags == {"ranker-1": 2}
    assert store.versions[0] == 2
    assert store.changes(2).item_ids.tolist() == ["a"]
    put(store, ("c", 1, None))
    assert store.read().rows.tolist() == [1, 2, 3]  # row 0 is what version 2 has of a

    store.tag("ranker-1", store.version)  # moved
    store.compact(keep_versions=1)
    put(store, ("d", 1, None))
    assert 0 in store.read().rows
    store.untag("ranker-1")
    assert store.tags == {}


def test_changes_since_a_removed_version_are_those_since_an_older_one(store: EmbeddingStore) -> None:
    for item in "abcde":  # versions 2 .. 6
        put(store, (item, 1, None))
    store.tag("ranker-1", 3)
    store.compact(keep_versions=1)
    assert store.versions[0] == 3
    assert 5 not in store.versions
    assert sorted(store.changes(5).item_ids) == ["c", "d", "e"]  # e is new since 5; c and d come again
    with pytest.raises(StageError, match=r"Version 2 of .* was removed by `compact`\. Read the whole store"):
        store.changes(2)
    with pytest.raises(StageError, match=r"Version 99 of .* does not exist\. Read the whole store"):
        store.changes(99)


def test_tags_that_cannot_be(store: EmbeddingStore) -> None:
    with pytest.raises(StageError, match=r"Version 9 of .* does not exist\. Tag one that is there"):
        store.tag("a", 9)
    with pytest.raises(ValueError, match=r"`name` must be letters, digits, .* Received: 'a/b'"):
        store.tag("a/b", 1)
    with pytest.raises(StageError, match=r"has no tag 'x'\. There are: none\."):
        store.untag("x")


def test_two_stores_are_told_apart(tmp_path: Path, store: EmbeddingStore) -> None:
    other = EmbeddingStore.create(tmp_path / "other.lance", id_type="string", dim=1)
    put(store, ("a", 1, None))
    assert store.identity == EmbeddingStore(store.path).identity != other.identity
    assert store.read().store == store.identity
    store.compact(keep_versions=1)
    put(store, ("b", 1, None))
    assert (EmbeddingStore(store.path).identity, store.slots) == (store.identity, 64)


def test_a_store_is_not_created_over_another(store: EmbeddingStore) -> None:
    with pytest.raises(StageError, match=r"cannot be made an embedding store"):
        EmbeddingStore.create(store.path, id_type="string", dim=1)
    with pytest.raises(ValueError, match=r"`slots` must be 1 to 65536\. Received: 0"):
        EmbeddingStore.create(Path(store.path) / "other", id_type="string", dim=1, slots=0)
