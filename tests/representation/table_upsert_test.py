"""Changes of the in-graph table: in parallel with look-ups, after a SavedModel, and refused ones."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from mim_tf.representation import EmbeddingTable

DIM = 16
KNOWN = np.array([3, 10**12, -7])


def vectors(rows: np.ndarray) -> np.ndarray:
    """Of each row one that can be told from all others and from a mixture of two; exact in float16."""
    return np.repeat(rows[:, np.newaxis] + 1, DIM, axis=1).astype(np.float32)


def small_table(**options: object) -> EmbeddingTable:
    return EmbeddingTable(KNOWN, vectors(np.arange(3)), version=4, spare=5, **options)


def saved(table: EmbeddingTable, folder: Path) -> Path:
    """The table with `lookup` and `upsert` as signatures, and nothing of ours."""

    def lookup(item_id: tf.Tensor) -> dict[str, tf.Tensor]:
        embedding, hit = table.lookup_with_hits(item_id)
        return {"embedding": embedding, "hit": hit}

    def upsert(item_id: tf.Tensor, row: tf.Tensor, embedding: tf.Tensor, version: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"version": table.upsert(item_id, row, embedding, since=0, version=version)}

    ids = tf.TensorSpec([None], table.id_dtype, "item_id")
    change = [
        tf.TensorSpec([None], tf.int64, "row"),
        tf.TensorSpec([None, table.dim], tf.float32, "embedding"),
        tf.TensorSpec([], tf.int64, "version"),
    ]
    holder = tf.Module()
    holder.table = table
    functions = {
        "lookup": tf.function(lookup, input_signature=[ids]),
        "upsert": tf.function(upsert, input_signature=[ids, *change]),
    }
    tf.saved_model.save(holder, str(folder), signatures=functions)
    return folder


def state(table: EmbeddingTable) -> list[np.ndarray]:
    """All that an upsert may change but the count of upserts."""
    keys, rows = table._index.export()
    held = keys != table._index._empty_key
    return [variable.numpy() for variable in table.variables if variable is not table._sequence] + [
        tf.boolean_mask(part, held).numpy() for part in (keys, rows)
    ]


@pytest.mark.parametrize("strings", [False, True], ids=["int64", "string"])
def test_parallel_upserts_and_lookups_of_a_saved_table(strings: bool, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    numbers = rng.permutation(6000).astype(np.int64) << 40  # the low bits of all are the same
    ids = np.array([f"sku-{number}" for number in numbers], object) if strings else numbers
    old, new = 2000, 4000  # items
    rows = np.concatenate([np.arange(old) * 2, np.arange(old) * 2 + 1, np.arange(4000, 6000)])
    table = EmbeddingTable(ids[:old], vectors(rows[:old] % 1999), rows=rows[:old], version=1, spare=2001)
    model = tf.saved_model.load(str(saved(table, tmp_path)))
    dictionary = dict(zip(ids.tolist(), rows % 1999 + 1, strict=True))
    wrong: list[object] = []
    done = threading.Event()

    def look_up(seed: int) -> None:
        picks = np.random.default_rng(seed)
        while not done.is_set():
            asked = picks.choice(ids, 200)
            found = model.signatures["lookup"](tf.constant(asked, table.id_dtype))
            expected = np.array([dictionary[item] for item in asked.tolist()])[:, np.newaxis]
            right = np.where(found["hit"].numpy()[:, np.newaxis], expected, 0)
            wrong.extend(asked[(found["embedding"].numpy() != right).any(axis=1)].tolist())

    def upsert(chunk: np.ndarray) -> None:
        change = {"item_id": tf.constant(ids[chunk], table.id_dtype), "row": tf.constant(rows[chunk])}
        embedding = tf.constant(vectors(rows[chunk] % 1999))
        model.signatures["upsert"](**change, embedding=embedding, version=tf.constant(1, tf.int64))

    readers = [threading.Thread(target=look_up, args=[seed]) for seed in range(2)]
    for reader in readers:
        reader.start()
    chunks = np.split(rng.permutation(np.arange(old, old + new)), 100)
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(upsert, chunks + chunks[::2]))  # some come twice
    done.set()
    for reader in readers:
        reader.join()
    assert wrong == []
    found = model.signatures["lookup"](tf.constant(ids, table.id_dtype))
    assert found["hit"].numpy().all()
    np.testing.assert_array_equal(found["embedding"][:, 0], [dictionary[item] for item in ids.tolist()])
    np.testing.assert_array_equal(found["embedding"][:, -1], found["embedding"][:, 0])


def test_the_index_learns_of_an_item_after_its_vector_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the vector cannot be written, the item stays unknown. A race would show the order only now and then."""
    monkeypatch.setattr("mim_tf.representation.table.upsert_checks", lambda *_: [])
    table = small_table()
    change = (tf.constant([50], tf.int64), tf.constant([9], tf.int64), tf.ones([1, DIM]))
    for upsert in (tf.function(table.upsert), table.upsert):
        with pytest.raises(tf.errors.InvalidArgumentError, match="does not index into"):
            upsert(*change, since=tf.constant(4), version=tf.constant(5))
        assert not table.lookup_with_hits(tf.constant([50], tf.int64))[1].numpy().any()
        assert int(table.version) == 4


def test_a_changed_item_is_never_seen_half() -> None:
    """Item 0 moves through rows in order; a reader that saw one of them never sees an earlier one, or a mixture."""
    steps = 1500
    table = EmbeddingTable(np.array([0]), vectors(np.array([0])), spare=steps)
    lookup = tf.function(table.lookup, input_signature=[tf.TensorSpec([None], tf.int64)])
    upsert = tf.function(table.upsert, reduce_retracing=True)
    seen: list[np.ndarray] = []
    done = threading.Event()

    def look_up() -> None:
        while not done.is_set():
            seen.append(lookup(np.zeros(4, np.int64)).numpy())

    reader = threading.Thread(target=look_up)
    reader.start()
    for row in range(1, steps + 1):
        change = (tf.constant([0], tf.int64), tf.constant([row], tf.int64), tf.constant(vectors(np.array([row]))))
        upsert(*change, since=tf.constant(row - 1), version=tf.constant(row))
    done.set()
    reader.join()
    values = np.stack(seen)[:, 0]  # [looks, dim]
    assert (values == values[:, :1]).all()
    assert (np.diff(values[:, 0]) >= 0).all()
    assert values.min() >= 1
    assert int(table.version) == steps


def test_the_version_only_rises_under_parallel_callers() -> None:
    table = small_table()
    upsert = tf.function(table.upsert, reduce_retracing=True)
    nothing = (tf.zeros([0], tf.int64), tf.zeros([0], tf.int64), tf.zeros([0, DIM]))
    versions = np.random.default_rng(0).permutation(2000)
    with ThreadPoolExecutor(6) as pool:
        told = list(
            pool.map(
                lambda version: int(upsert(*nothing, since=tf.constant(0), version=tf.constant(version))), versions
            )
        )
    assert (np.array(told) >= versions).all()
    assert int(table.version) == 1999
    none = tf.zeros([0], tf.int64)
    assert int(upsert(*nothing, since=none, version=none)) == 1999  # a batch of no requests


def test_repeating_an_upsert_changes_nothing() -> None:
    table = small_table()
    change = (np.array([3, 50]), np.array([6, 7]), vectors(np.array([6, 7])))
    versions = {"since": np.array([4, 4]), "version": np.array([9, 9])}
    assert int(table.upsert(*change, **versions)) == 9
    before = state(table)
    assert int(table.upsert(*change, **versions)) == 9
    for one, other in zip(before, state(table), strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(table.lookup(np.array([3, 50, 10**12]))[:, 0], [7, 8, 2])


def test_what_comes_late_does_nothing() -> None:
    table = small_table()
    table.upsert(np.array([3]), np.array([6]), vectors(np.array([6])), since=4, version=9)
    before = state(table)
    assert int(table.upsert(np.array([3, 50]), np.array([4, 5]), vectors(np.array([4, 5])), since=4, version=8)) == 9
    for one, other in zip(before, state(table), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_change_without_the_one_before_it_is_refused() -> None:
    table = small_table()
    change = (np.array([3]), np.array([6]), vectors(np.array([6])))
    before = state(table)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"(?s)`since` must be a version that the table has.*4"):
        table.upsert(*change, since=5, version=6)
    for one, other in zip(before, state(table), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_version_in_several_calls() -> None:
    table = small_table()
    assert int(table.upsert(np.array([3]), np.array([3]), vectors(np.array([3])), since=4, version=4)) == 4
    assert int(table.upsert(np.array([50]), np.array([4]), vectors(np.array([4])), since=4, version=5)) == 5
    np.testing.assert_array_equal(table.lookup(np.array([3, 50]))[:, 0], [4, 5])


REFUSED = {
    "past the end": ([5, 6], [3, 8], np.ones([2, DIM]), r"`rows` must be below 8.*Build or export it again"),
    "negative row": ([5, 6], [3, -1], np.ones([2, DIM]), "`rows` must be 0 or more"),
    "reserved id": ([5, -1], [3, 4], np.ones([2, DIM]), "must not hold reserved ids"),
    "index's own key": ([5, np.iinfo(np.int64).min], [3, 4], np.ones([2, DIM]), "must not hold reserved ids"),
    "one item, two rows": ([5, 5], [3, 4], np.ones([2, DIM]), "a key and a row of their own"),
    "two items, one row": ([5, 6], [3, 3], np.ones([2, DIM]), "a key and a row of their own"),
    "not a number": ([5, 6], [3, 4], np.full([2, DIM], [1.0] * 7 + [np.nan] + [1.0] * 8), "must be finite in float16"),
    "too large": ([5, 6], [3, 4], np.full([2, DIM], 7e4), "must be finite in float16"),
    "fewer rows": ([5, 6], [3], np.ones([2, DIM]), "one row for each of `item_ids`"),
    "more embeddings": ([5, 6], [3, 4], np.ones([3, DIM]), "one row for each of `item_ids`"),
}


@pytest.mark.parametrize("dtype", ["float16", "int8"])
@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_a_refused_upsert_changes_nothing(case: tuple, dtype: str) -> None:
    item_ids, rows, embeddings, message = case
    table = small_table(dtype=dtype)
    upsert = tf.function(table.upsert)
    before = state(table)
    change = [tf.constant(part) for part in map(np.array, (item_ids, rows, embeddings.astype(np.float32)))]
    for call in (upsert, table.upsert):
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            call(*change, since=tf.constant(4), version=tf.constant(5))
        for one, other in zip(before, state(table), strict=True):
            np.testing.assert_array_equal(one, other)


def test_string_ids_that_no_upsert_may_have() -> None:
    table = EmbeddingTable(np.array(["a"], object), np.ones([1, 2]), spare=3)
    with pytest.raises(tf.errors.InvalidArgumentError, match="must not hold reserved ids"):
        table.upsert(np.array(["b", ""], object), [1, 2], np.ones([2, 2]), since=0, version=1)
    assert not table.lookup_with_hits(tf.constant(["b", ""]))[1].numpy().any()


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((2, 1), (2,), (2, DIM)), r"`item_ids` must have the shape \[items\]\. Received: \(2, 1\)"),
        (((2,), (2, 1), (2, DIM)), r"`rows` must have the shape \[items\]\. Received: \(2, 1\)"),
        (((2,), (2,), (2, DIM + 1)), r"`embeddings` must have the shape \[items, 16\]\. Received: \(2, 17\)"),
    ],
)
def test_shapes_that_cannot_fit_are_refused_before_the_graph_runs(shapes: tuple, message: str) -> None:
    item_ids, rows, embeddings = (np.ones(shape) for shape in shapes)
    with pytest.raises(ValueError, match=message):
        small_table().upsert(item_ids.astype(int), rows.astype(int), embeddings, since=4, version=5)


OTHER_PROCESS = """
import sys
import tensorflow as tf
signatures = tf.saved_model.load(sys.argv[1]).signatures
ids = tf.constant([3, 99, 50], tf.int64)
def shown():
    found = signatures["lookup"](ids)
    return found["embedding"][:, 0].numpy().tolist(), found["hit"].numpy().tolist()
print(*shown())
change = {"item_id": tf.constant([50], tf.int64), "row": tf.constant([7], tf.int64)}
told = signatures["upsert"](**change, embedding=tf.fill([1, 16], 8.0), version=tf.constant(6, tf.int64))
print(int(told["version"]), *shown())
assert "mim_tf" not in sys.modules
"""


@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_a_second_process_upserts(dtype: str, tmp_path: Path) -> None:
    folder = saved(small_table(dtype=dtype), tmp_path)
    run = subprocess.run(
        [sys.executable, "-c", OTHER_PROCESS, str(folder)], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert run.stdout.splitlines() == [
        "[1.0, 0.0, 0.0] [True, False, False]",
        "6 [1.0, 0.0, 8.0] [True, False, True]",
    ]
