"""Training batches: the same whenever one starts, every record once per epoch, nothing decoded that is left out."""

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from mim_tf.data import training_batches as module
from mim_tf.data.record_schema import PAIRS, TRAIN_ITEMS, RecordSchema, Shard
from mim_tf.data.record_writer import encode
from mim_tf.data.training_batches import evaluation_batches, training_batches
from mim_tf.errors import DataError

UNEQUAL = (11, 3, 17, 6, 8)  # 45 records
RECORDS = sum(UNEQUAL)
Batch = dict[str, np.ndarray]


def write(folder: Path, sizes: Sequence[int] = UNEQUAL) -> Path:
    """Shards of items; item `n`'s title and image say `n`."""
    shards, first = [], 0
    (folder / TRAIN_ITEMS).parent.mkdir(parents=True)
    for number, size in enumerate(sizes):
        ids = range(first, first + size)
        texts = [str(item) for item in ids]
        images = pa.array([text.encode() for text in texts])
        batch = pa.record_batch({"item_id": list(ids), "title": texts, "category": ["c"] * size, "image": images})
        file = f"{TRAIN_ITEMS}-{number}"
        with tf.io.TFRecordWriter(str(folder / file)) as writer:
            for record in encode(batch):
                writer.write(record.example)
        shards.append(Shard(file, size, (folder / file).stat().st_size))
        first += size
    RecordSchema("int64", None, None, {TRAIN_ITEMS: first}, {TRAIN_ITEMS: shards}).save(str(folder))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "records")


@pytest.fixture(autouse=True)
def small_buffer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Smaller than the data, larger than two batches; not all files are read at once."""
    monkeypatch.setattr(module, "_SHUFFLED_AMONG", 16)
    monkeypatch.setattr(module, "_FILES_AT_ONCE", 2)


def decode(item: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    return {"item": item["item_id"], "number": tf.strings.to_number(item["image"], tf.int64)}


def assemble(examples: dict[str, tf.Tensor], seed: tf.Tensor) -> dict[str, tf.Tensor]:
    rows = tf.shape(examples["item"])
    noise = tf.random.stateless_uniform(rows, seed)
    return examples | {"seed": tf.tile(seed[tf.newaxis], [rows[0], 1]), "noise": noise}


def batches(folder: Path, count: int, **changes: Any) -> list[Batch]:
    arguments: dict[str, Any] = {"batch_size": 4, "decode": decode, "assemble": assemble, "seed": 7}
    dataset = training_batches(folder, TRAIN_ITEMS, **arguments | changes)
    return list(dataset.take(count).as_numpy_iterator())


def assert_equal(found: list[Batch], expected: list[Batch]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def items(found: list[Batch]) -> list[int]:
    return [int(item) for batch in found for item in batch["item"]]


SLOW = (pytest.param(size, marks=pytest.mark.slow) for size in (1, 4, RECORDS))


@pytest.mark.parametrize("batch_size", [7, 2 * RECORDS + 3, *SLOW])
def test_a_batch_is_the_same_wherever_one_starts(folder: Path, batch_size: int) -> None:
    total = -(-4 * RECORDS // batch_size)  # beyond three borders of epochs
    whole = batches(folder, total, batch_size=batch_size)
    for first in sorted({0, 1, total // 3, RECORDS // batch_size, RECORDS // batch_size + 1, total - 2}):
        rest = batches(folder, total - first, batch_size=batch_size, first_batch=first)
        assert_equal(rest, whole[first:])


@pytest.mark.parametrize(("batch_size", "slice_size"), [(8, 4), (15, 3), (7, 1), (4, 4)])
def test_large_batches_are_assembled_in_equal_slices(
    folder: Path, monkeypatch: pytest.MonkeyPatch, batch_size: int, slice_size: int
) -> None:
    in_one = items(batches(folder, 6, batch_size=batch_size))
    monkeypatch.setattr(module, "_LARGEST_SLICE", 4)
    whole = batches(folder, 6, batch_size=batch_size)
    assert items(whole) == in_one
    assert all(batch["item"].shape == batch["noise"].shape == (batch_size,) for batch in whole)
    seeds = np.concatenate([batch["seed"] for batch in whole])  # each row's is its slice's
    assert (np.unique(seeds, axis=0, return_counts=True)[1] == slice_size).all()
    assert_equal(batches(folder, 3, batch_size=batch_size, first_batch=3), whole[3:])


def test_every_record_comes_once_per_epoch_in_another_order(folder: Path) -> None:
    order = items(batches(folder, RECORDS))  # four epochs of batches of four
    epochs = [tuple(order[first : first + RECORDS]) for first in range(0, 4 * RECORDS, RECORDS)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(RECORDS))] * 4
    assert len(set(epochs)) == 4


def test_files_and_their_records_are_mixed(folder: Path) -> None:
    """A record comes, over many epochs, about as often in the first half of an epoch as in the second."""
    epochs = np.reshape(items(batches(folder, 60, batch_size=RECORDS)), [60, RECORDS])
    early = Counter(int(item) for item in epochs[:, : RECORDS // 2].flat)
    shares = np.array([early[item] for item in range(RECORDS)]) / 60
    assert shares.min() > 0.2
    assert shares.max() < 0.8


def test_the_order_depends_on_the_seed_alone(folder: Path) -> None:
    expected = batches(folder, 30)
    for program_seed in (0, 3):
        tf.random.set_seed(program_seed)
        assert_equal(batches(folder, 30), expected)
    other = batches(folder, 30, seed=8)
    assert items(other) != items(expected)
    assert all((one["seed"] != two["seed"]).all() for one, two in zip(other, expected, strict=True))


def test_seeds_of_batches_differ_and_have_no_near_neighbours(folder: Path) -> None:
    seeds = np.array([batch["seed"][0] for batch in batches(folder, 200)])
    assert seeds.dtype == np.int32
    assert seeds.shape == (200, 2)
    for column in seeds.T.astype(np.int64):
        assert np.diff(np.sort(column)).min() > 100
        assert abs(column.mean()) < 2**31 / 5, "not spread over all integers"


def test_a_late_start_reads_no_epoch_before(folder: Path) -> None:
    """4e12 records would take months to read."""
    late = batches(folder, 12, first_batch=10**12)
    assert_equal(batches(folder, 2, first_batch=10**12 + 10), late[10:])


def test_what_is_left_out_is_not_decoded(tmp_path: Path) -> None:
    folder = write(tmp_path / "many", (200, 200))
    expected = items(batches(folder, 100))
    decoded: list[int] = []

    def noted(item: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        def note(number: np.ndarray) -> np.ndarray:
            decoded.append(int(number))
            return number

        return {"item": tf.ensure_shape(tf.numpy_function(note, [item["item_id"]], tf.int64), [])}

    assert items(batches(folder, 2, first_batch=25, decode=noted)) == expected[100:108]
    assert set(expected[100:108]) <= set(decoded)
    assert not set(expected[:100]) & set(decoded)


def test_all_batches_are_full_and_their_size_is_static(folder: Path) -> None:
    dataset = training_batches(folder, TRAIN_ITEMS, batch_size=7, decode=decode, assemble=assemble, seed=0)
    assert dataset.element_spec["item"].shape.as_list() == [7]
    assert {len(batch["item"]) for batch in dataset.take(20).as_numpy_iterator()} == {7}


def test_a_batch_larger_than_the_data_goes_on_into_the_next_epoch(folder: Path) -> None:
    (batch,) = batches(folder, 1, batch_size=2 * RECORDS)
    assert sorted(batch["item"]) == sorted([*range(RECORDS)] * 2)


@pytest.mark.parametrize("workers", [2, 3, 5])
def test_workers_share_the_files_and_draw_other_seeds(folder: Path, workers: int) -> None:
    starts = [0, *itertools.accumulate(UNEQUAL)]
    seeds = set()
    for worker in range(workers):
        context = tf.distribute.InputContext(workers, worker, num_replicas_in_sync=workers)
        own = [item for shard in range(worker, 5, workers) for item in range(starts[shard], starts[shard + 1])]
        found = batches(folder, 3 * len(own), batch_size=1, context=context)
        epochs = np.reshape(items(found), [3, len(own)])
        np.testing.assert_array_equal(np.sort(epochs, axis=1), [own] * 3)
        assert_equal(
            batches(folder, len(own), batch_size=1, context=context, first_batch=2 * len(own)), found[-len(own) :]
        )
        seeds |= {tuple(batch["seed"][0]) for batch in found[:9]}
    assert len(seeds) == 9 * workers


def test_the_only_worker_reads_as_without_workers(folder: Path) -> None:
    context = tf.distribute.InputContext(1, 0, num_replicas_in_sync=2)
    assert_equal(batches(folder, 20, context=context), batches(folder, 20))


def test_more_workers_than_files_are_refused(folder: Path) -> None:
    context = tf.distribute.InputContext(6, 0, num_replicas_in_sync=6)
    with pytest.raises(DataError, match=r"`data\.shards` must be at least the number of workers, 6\. Received: 5"):
        batches(folder, 1, context=context)


@pytest.mark.parametrize("reader", [training_batches, evaluation_batches])
def test_what_is_missing_or_damaged_is_named(folder: Path, reader: Callable[..., tf.data.Dataset]) -> None:
    arguments: dict[str, Any] = {"batch_size": 4, "decode": decode, "assemble": assemble, "seed": 7}
    arguments |= {"most": 9} if reader is evaluation_batches else {}
    with pytest.raises(DataError, match=r"must hold pairs/train records: set `data\.pairs` or `data\.impressions`"):
        reader(folder, PAIRS, **arguments)
    with pytest.raises(DataError, match=r"`name` must be one of \[.*'items/train'.*\]\. Received: 'items/test'"):
        reader(folder, "items/test", **arguments)
    path = folder / f"{TRAIN_ITEMS}-1"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(DataError, match=f"`{path}` must be an intact TFRecord file"):
        reader(folder, TRAIN_ITEMS, **arguments)
    reader(folder, TRAIN_ITEMS, **arguments, verify=False)


@pytest.mark.parametrize(("most", "sizes"), [(9, [4, 4, 1]), (8, [4, 4]), (1000, [4] * 11 + [1])])
def test_evaluation_reads_the_first_records_once(folder: Path, most: int, sizes: list[int]) -> None:
    dataset = evaluation_batches(folder, TRAIN_ITEMS, batch_size=4, decode=decode, assemble=assemble, seed=7, most=most)
    found = list(dataset.as_numpy_iterator())
    assert items(found) == list(range(min(most, RECORDS)))
    assert [len(batch["item"]) for batch in found] == sizes
    assert len({tuple(batch["seed"][0]) for batch in found}) == len(found)
    assert_equal(list(dataset.as_numpy_iterator()), found)
