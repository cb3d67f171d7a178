"""What the workers of stages 1 and 2 read: over all of them every record, none of them on two, however files divide."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
import tensorflow as tf

from mim_tf.data.record_schema import TRAIN_ITEMS, RecordSchema
from mim_tf.data.record_writer import write_shards
from mim_tf.settings import TrainingSettings
from mim_tf.training.input import Records, distributed_batches

RECORDS = 47
Share = Callable[[tf.distribute.InputContext], tf.data.Dataset]


def write(folder: Path, shards: int) -> Records:
    """Items whose id is their number, in as many files."""
    ids = list(range(RECORDS))
    texts = [str(number) for number in ids]
    images = pa.array([text.encode() for text in texts])
    rows = pa.record_batch({"item_id": ids, "title": texts, "category": ["c"] * RECORDS, "image": images})
    (folder / TRAIN_ITEMS).parent.mkdir(parents=True)
    written = write_shards(folder, TRAIN_ITEMS, [rows], total=RECORDS, shards=shards, progress=lambda *_: None)
    RecordSchema("int64", None, None, {TRAIN_ITEMS: RECORDS}, {TRAIN_ITEMS: written}).save(str(folder))
    return Records(folder, TRAIN_ITEMS, RECORDS)


def share(records: Records, workers: int, replicas: int, step: int = 0) -> Share:
    """What each worker reads from a step on, by its context; a replica's batch is of one record."""
    objective: Any = SimpleNamespace(decode=lambda item: {"item": item["item_id"]}, assemble=lambda rows, seed: rows)
    strategy: Any = SimpleNamespace(distribute_datasets_from_function=lambda of_one_worker: of_one_worker)
    options = TrainingSettings(batch_size=workers * replicas)
    of_one_worker: Share = distributed_batches(objective, records, options, 7, step, strategy)
    return of_one_worker


def items(of_one_worker: Share, workers: int, worker: int, replicas: int, count: int) -> list[int]:
    """The first items of a worker."""
    dataset = of_one_worker(tf.distribute.InputContext(workers, worker, workers * replicas))
    return [int(batch["item"][0]) for batch in dataset.take(count).as_numpy_iterator()]


@pytest.mark.parametrize(("workers", "shards"), [(2, 2), (2, 3), (2, 4), (2, 5), (3, 3), (3, 4), (3, 6), (3, 7)])
def test_every_record_comes_once_in_an_epoch_of_its_worker(tmp_path: Path, workers: int, shards: int) -> None:
    """Record n lies in file n % shards, and file f is read by worker f % workers."""
    records = write(tmp_path, shards)
    read: list[int] = []
    for worker in range(workers):
        own = [number for number in range(RECORDS) if number % shards % workers == worker]
        found = items(share(records, workers, 1), workers, worker, 1, 3 * len(own))
        epochs = [found[first : first + len(own)] for first in range(0, len(found), len(own))]
        assert [sorted(epoch) for epoch in epochs] == [own] * 3
        assert len({tuple(epoch) for epoch in epochs}) == 3  # each in an order of its own
        read += epochs[0]
    assert sorted(read) == list(range(RECORDS))


@pytest.mark.parametrize(("workers", "shards", "difference"), [(2, 2, 1), (2, 4, 1), (3, 3, 1), (3, 6, 1), (2, 3, 15)])
def test_shares_are_as_equal_as_files_allow(tmp_path: Path, workers: int, shards: int, difference: int) -> None:
    """47 records in 2 files are 24 + 23, in 4 are 3 x 12 + 11: by two workers 24 + 23 again.

    In 3 files 16 + 16 + 15, in 6 are 5 x 8 + 7: three workers of six differ by one, two of three by (16 + 15) - 16.
    """
    records = write(tmp_path, shards)
    sizes = []
    for worker in range(workers):
        found = items(share(records, workers, 1), workers, worker, 1, RECORDS + 1)
        sizes.append(len(set(found)))
    assert sum(sizes) == RECORDS
    assert max(sizes) - min(sizes) == difference


@pytest.mark.parametrize("replicas", [1, 2])
@pytest.mark.parametrize("step", [1, 9, 40])
def test_a_training_that_goes_on_reads_what_it_would_have_read(tmp_path: Path, replicas: int, step: int) -> None:
    records, workers = write(tmp_path, 3), 2
    for worker in range(workers):
        whole = items(share(records, workers, replicas), workers, worker, replicas, (step + 10) * replicas)
        rest = items(share(records, workers, replicas, step), workers, worker, replicas, 10 * replicas)
        assert rest == whole[step * replicas :]
