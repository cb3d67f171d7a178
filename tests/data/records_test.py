"""Training records: what is written is read back, padded and sharded; damaged files are named."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from mim_tf.data.record_schema import HELD_OUT_ITEMS, TRAIN, TRAIN_ITEMS, RecordSchema
from mim_tf.data.record_writer import encode, write_shards
from mim_tf.data.records import read_impressions, read_items
from mim_tf.errors import DataError

HISTORIES = [[(0, 5, "x", 50), (1, 6, "ÿ", 60), (2, 7, "x", 70)], None, [], [(0, 8, "z", 80)]]
COLUMNS = {
    **dict.fromkeys(("__place", "__is_behaviour", "__position", "user_id", "item_id", "category", "timestamp")),
    **dict.fromkeys(("label", "history_end", "__paused", "history_item_id", "history_category", "history_timestamp")),
}
TEXTS = ("user_id", "category", "history_category")


def rows_of(
    records: list[tuple[tuple[Any, ...], list[tuple[Any, ...]] | None]], texts: tuple[str, ...]
) -> pa.RecordBatch:
    """A record per impression `user_id, item_id, category, timestamp, label`, with all behaviours before it."""
    rows: list[tuple[Any, ...]] = []
    for place, (shown, history) in enumerate(records):
        rows.append((place, 0, 0, *shown, len(history or []), 0, None, None, None))
        rows += [(place, 1, at, *(None,) * 7, item, kind, time) for at, item, kind, time in history or []]
    types = [pa.string() if name in texts else pa.int64() for name in COLUMNS]
    columns = zip(zip(*rows, strict=True), types, strict=True)
    return pa.record_batch([pa.array(values, of) for values, of in columns], list(COLUMNS))


def impressions(rows: int = 4) -> pa.RecordBatch:
    """A user per record, with one impression."""
    shown = [(f"u{row}", 2**53 + 1 + row, "x", 100 + row, row % 2) for row in range(rows)]
    return rows_of([(each, HISTORIES[row % 4]) for row, each in enumerate(shown)], TEXTS)


def silent(step: str, done: int, total: int) -> None:
    """Report to nobody."""


def write(folder: Path, name: str, batch: pa.RecordBatch, shards: int = 2, user_id: str = "string") -> None:
    places = batch.column("__place").unique() if name == TRAIN else batch
    written = write_shards(folder, name, [batch], total=len(places), shards=shards, progress=silent)
    RecordSchema("int64", user_id, 5, {name: len(places)}, {name: written}).save(str(folder))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, TRAIN, impressions())
    return tmp_path


def by_user(dataset: tf.data.Dataset) -> dict[bytes, dict[str, Any]]:
    batches = list(dataset.as_numpy_iterator())
    return {user: {k: v[n] for k, v in batch.items()} for batch in batches for n, user in enumerate(batch["user_id"])}


def test_an_example_holds_what_the_row_held() -> None:
    example = tf.train.Example.FromString(next(encode(impressions())).example)
    feature = example.features.feature
    assert feature["item_id"].int64_list.value[:] == [2**53 + 1]
    assert feature["history_item_id"].int64_list.value[:] == [5, 6, 7]
    assert feature["history_category"].bytes_list.value[:] == [b"x", "ÿ".encode(), b"x"]
    assert feature["history_timestamp"].int64_list.value[:] == [50, 60, 70]
    assert sorted(feature) == [
        *("category", "history_category", "history_end", "history_item_id", "history_timestamp"),
        *("item_id", "label", "session", "timestamp", "user_id"),
    ]


def test_a_part_of_a_batch_is_encoded_as_itself() -> None:
    whole = impressions()
    begin = whole.column("__place").to_pylist().index(2)
    assert list(encode(whole.slice(begin))) == list(encode(whole))[2:]


def test_impressions_come_back_padded_at_the_end(folder: Path) -> None:
    dataset = read_impressions(folder, "train", batch_size=3)
    assert dataset.element_spec["history_item_id"].shape.as_list() == [None, 5]
    assert dataset.element_spec["label"].dtype == tf.int64
    rows = by_user(dataset)
    assert sorted(rows) == [b"u0", b"u1", b"u2", b"u3"]
    assert rows[b"u0"]["item_id"] == 2**53 + 1
    np.testing.assert_array_equal(rows[b"u0"]["history_item_id"], [5, 6, 7, -1, -1])
    np.testing.assert_array_equal(rows[b"u0"]["history_category"], [b"x", "ÿ".encode(), b"x", b"", b""])
    np.testing.assert_array_equal(rows[b"u0"]["history_timestamp"], [50, 60, 70, 0, 0])
    for empty in (b"u1", b"u2"):
        np.testing.assert_array_equal(rows[empty]["history_item_id"], [-1] * 5)
    assert [rows[user]["label"] for user in sorted(rows)] == [0, 1, 0, 1]


def test_a_shorter_history_keeps_the_latest(folder: Path) -> None:
    rows = by_user(read_impressions(folder, "train", batch_size=2, history_length=2))
    np.testing.assert_array_equal(rows[b"u0"]["history_item_id"], [6, 7])
    np.testing.assert_array_equal(rows[b"u3"]["history_item_id"], [8, -1])


def test_single_records(folder: Path) -> None:
    rows = list(read_impressions(folder, "train").as_numpy_iterator())
    assert [row["history_item_id"].shape for row in rows] == [(5,)] * 4


def test_string_ids_are_padded_with_empty_text(tmp_path: Path) -> None:
    batch = rows_of([(("u", "b", "x", 2, 0), [(0, "a", "x", 1)])], (*TEXTS, "item_id", "history_item_id"))
    written = write_shards(tmp_path, TRAIN, [batch], total=1, shards=9, progress=silent)
    assert len(written) == 1, "more shards than rows"
    RecordSchema("string", "string", 2, {TRAIN: 1}, {TRAIN: written}).save(str(tmp_path))
    (row,) = read_impressions(tmp_path, "train").as_numpy_iterator()
    assert row["item_id"] == b"b"
    np.testing.assert_array_equal(row["history_item_id"], [b"a", b""])


def test_items_come_back(tmp_path: Path) -> None:
    item = {"item_id": [3], "title": ["é"], "category": ["c"], "image": pa.array([b"\x00\xff"])}
    write(tmp_path, TRAIN_ITEMS, pa.record_batch(item))
    (row,) = read_items(tmp_path).as_numpy_iterator()
    assert row == {"item_id": 3, "title": "é".encode(), "category": b"c", "image": b"\x00\xff"}
    assert [row["item_id"] for row in read_items(tmp_path, "train").as_numpy_iterator()] == [3]
    (batch,) = read_items(tmp_path, batch_size=8).as_numpy_iterator()
    assert batch["image"].shape == (1,)


def test_shuffling_differs_by_epoch_and_repeats_by_seed(tmp_path: Path) -> None:
    write(tmp_path, TRAIN, impressions(40))

    def epochs(seed: int) -> list[list[bytes]]:
        dataset = read_impressions(tmp_path, "train", shuffle=40, seed=seed)
        return [[row["user_id"] for row in dataset.as_numpy_iterator()] for _ in range(2)]

    first, second = epochs(1)
    assert sorted(first) == sorted(second)
    assert first != second
    assert epochs(1) == [first, second]
    assert epochs(2)[0] != first


def test_repeating_goes_on_in_full_batches(folder: Path) -> None:
    batches = list(read_impressions(folder, "train", batch_size=3, repeat=True).take(4).as_numpy_iterator())
    assert [len(batch["label"]) for batch in batches] == [3, 3, 3, 3]


def test_workers_share_files_and_batches(tmp_path: Path) -> None:
    write(tmp_path, TRAIN, impressions(30), shards=3)
    seen: list[bytes] = []
    for worker in range(2):
        context = tf.distribute.InputContext(2, worker, num_replicas_in_sync=4)
        batches = list(read_impressions(tmp_path, "train", batch_size=8, context=context).as_numpy_iterator())
        assert len(batches[0]["user_id"]) == 2
        seen += [user for batch in batches for user in batch["user_id"]]
    assert sorted(seen) == sorted(f"u{row}".encode() for row in range(30))


def test_more_workers_than_shards_are_refused(folder: Path) -> None:
    context = tf.distribute.InputContext(3, 0, num_replicas_in_sync=3)
    with pytest.raises(DataError, match=r"`data\.shards` must be at least the number of workers, 3\. Received: 2"):
        read_impressions(folder, "train", context=context)


def damage(folder: Path, number: int, at: int) -> Path:
    path = folder / f"{TRAIN}-{number:05d}-of-00002.tfrecord.gz"
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(bytes(content))
    return path


@pytest.mark.parametrize("at", [0, 40, -1])
def test_a_corrupt_shard_is_named(folder: Path, at: int) -> None:
    path = damage(folder, 1, at)
    with pytest.raises(DataError, match=f"`{path}` must be an intact TFRecord file. Received: "):
        read_impressions(folder, "train", batch_size=2)


def test_a_truncated_shard_is_named_even_unread(folder: Path) -> None:
    path = folder / f"{TRAIN}-00000-of-00002.tfrecord.gz"
    content = path.read_bytes()
    path.write_bytes(content[:-20])
    with pytest.raises(DataError, match=f"`{path}` must have {len(content)} bytes, as written. Received: "):
        read_impressions(folder, "train", batch_size=2, verify=False)


def test_a_missing_shard_is_named(folder: Path) -> None:
    path = folder / f"{TRAIN}-00000-of-00002.tfrecord.gz"
    path.unlink()
    with pytest.raises(DataError, match=f"`{path}` must exist"):
        read_impressions(folder, "train", batch_size=2, verify=False)


def test_without_verifying_nothing_is_read_ahead(folder: Path) -> None:
    damage(folder, 1, 40)
    dataset = read_impressions(folder, "train", batch_size=2, verify=False)
    with pytest.raises(tf.errors.DataLossError, match="incorrect data check"):
        list(dataset)


def test_what_is_not_there_is_said(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"must hold items/train records: set .* again\. Received: .*\['impressions/train'\]"
    ):
        read_items(folder)
    with pytest.raises(DataError, match=r"`split` must be one of \['train', 'validation'\]\. Received: 'test'"):
        read_impressions(folder, "test")
    with pytest.raises(DataError, match=r"`split` must be one of \['held_out', 'train'\]\. Received: 'validation'"):
        read_items(folder, "validation")
    with pytest.raises(DataError, match=r"`history_length` must be at least 1\. Received: 0"):
        read_impressions(folder, "train", history_length=0)
    with pytest.raises(DataError, match="`folder` must hold training records made by `prepare`"):
        read_items(tmp_path / "nowhere")


def test_an_empty_split_is_said(tmp_path: Path) -> None:
    write(tmp_path, TRAIN_ITEMS, pa.record_batch({"item_id": [3], "title": ["t"], "category": ["c"], "image": [b"i"]}))
    assert write_shards(tmp_path, HELD_OUT_ITEMS, [], total=0, shards=2, progress=silent) == []
    schema = RecordSchema.load(tmp_path)
    schema.shards[HELD_OUT_ITEMS], schema.counts[HELD_OUT_ITEMS] = [], 0
    schema.save(str(tmp_path))
    assert [row["item_id"] for row in read_items(tmp_path).as_numpy_iterator()] == [3]
    with pytest.raises(
        DataError, match=r"must hold items/held_out records: set `data\.held_out` .* Received: .*\['items/train'\]"
    ):
        read_items(tmp_path, "held_out")


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"shards": {"a": [{"file": 1}]}}'])
def test_a_broken_schema_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "schema.json").write_text(content)
    with pytest.raises(DataError, match=r"`schema\.json` must be as `prepare` wrote it\. Received: .*schema\.json"):
        RecordSchema.load(str(tmp_path))
