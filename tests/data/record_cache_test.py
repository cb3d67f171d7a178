"""Records in an object store: read as if they were here, fetched once and whole, never half of them taken for all."""

import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import tensorflow as tf
from fsspec.implementations.memory import MemoryFileSystem

from mim_tf.data.catalogue import Catalogue
from mim_tf.data.demo_shop import make_demo_shop
from mim_tf.data.preparation import prepare
from mim_tf.data.record_cache import RecordCache, claim, move, transfers_explained
from mim_tf.data.record_files import RecordFiles
from mim_tf.data.record_schema import PAIRS, TRAIN
from mim_tf.data.records import read_impressions, read_items
from mim_tf.errors import DataError

URI, SHARDS = "memory://bucket/records", 16


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    make_demo_shop(folder, items=50, users=50, days=20, searches=30)
    prepare(
        items=folder / "items.parquet",
        impressions=folder / "impressions.parquet",
        pairs=folder / "pairs.parquet",
        folder=folder / "records",
        validation_from=1_735_689_600 + 15 * 86_400,
        shards=SHARDS,
    )
    return folder / "records"


@pytest.fixture
def records(prepared: Path, tmp_path: Path) -> Path:
    """A copy that may be moved."""
    return Path(shutil.copytree(prepared, tmp_path / "records"))


@pytest.fixture(autouse=True)
def store() -> Iterator[MemoryFileSystem]:
    filesystem = fsspec.filesystem("memory")
    yield filesystem
    filesystem.rm("/bucket", recursive=True) if filesystem.exists("/bucket") else None


def moved(records: Path, cache: Path | None = None) -> Path:
    claim(URI, "one")
    move(records, URI, None if cache is None else str(cache))
    return records


def contents(records: Path) -> dict[str, list[Any]]:
    """Impressions in their order, items, and the examples that a catalogue finds by offset."""
    impressions = [
        column.tolist()
        for split in ("train", "validation")
        for batch in read_impressions(records, split, batch_size=64).as_numpy_iterator()
        for column in (batch["item_id"], batch["timestamp"], batch["history_item_id"])
    ]
    titles = [batch["title"].tolist() for batch in read_items(records, batch_size=64).as_numpy_iterator()]
    catalogue = Catalogue.open(records)
    return {"impressions": impressions, "items": titles, "rows": catalogue.examples(np.arange(len(catalogue)))}


def record_files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*.tfrecord*")}


@pytest.mark.parametrize("apart", [False, True])
def test_moved_records_are_read_as_before(records: Path, tmp_path: Path, apart: bool) -> None:
    before, files = contents(records), record_files(records)
    cache = tmp_path / "cache"
    moved(records, cache if apart else None)
    assert not record_files(records)
    assert contents(records) == before
    folder = cache / "one" if apart else records
    assert record_files(folder) == {file for file in files if not file.startswith("pairs/")}  # what was asked for
    fsspec.filesystem("memory").rm("/bucket", recursive=True)
    assert contents(records) == before  # fetched once


def test_the_store_holds_a_whole_folder_of_records(records: Path, tmp_path: Path) -> None:
    before = {path.relative_to(records).as_posix(): path.read_bytes() for path in records.rglob("*") if path.is_file()}
    moved(records)
    fsspec.filesystem("memory").get("/bucket/records", str(tmp_path / "copy"), recursive=True)
    copied = {path.relative_to(tmp_path / "copy").as_posix(): path for path in (tmp_path / "copy").rglob("*.*")}
    assert {name: path.read_bytes() for name, path in copied.items() if path.is_file() and name in before} == before


def test_a_plain_folder_may_be_the_store(records: Path, tmp_path: Path) -> None:
    before = record_files(records)
    claim(str(tmp_path / "far"), "one")
    move(records, str(tmp_path / "far"), None)
    assert record_files(tmp_path / "far") == before
    assert len(list(read_items(records).as_numpy_iterator())) == 50
    assert record_files(records) == {file for file in before if file.startswith("items/")}


def test_a_worker_fetches_its_share(records: Path) -> None:
    moved(records)
    batches = read_impressions(records, "train", batch_size=64, context=tf.distribute.InputContext(2, 1, 2))
    assert sum(len(batch["label"]) for batch in batches) > 0
    assert record_files(records) == {f"{TRAIN}-{number:05d}-of-00016.tfrecord.gz" for number in range(1, SHARDS, 2)}


def test_reading_begins_before_the_last_files_are_there(records: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four files are read in turn and up to eight are opened ahead; the last two of 16 come once a record was read."""
    last = {f"{TRAIN}-{number:05d}-of-{SHARDS:05d}.tfrecord.gz" for number in (14, 15)}
    fetch, was_read = MemoryFileSystem.get_file, threading.Event()

    def late(self: Any, source: str, target: str, **options: Any) -> None:
        if source.removeprefix("/bucket/records/") in last:
            assert was_read.wait(60), "nothing was read"
        fetch(self, source, target, **options)

    moved(records)
    monkeypatch.setattr(MemoryFileSystem, "get_file", late)
    files = RecordFiles.open(records, [TRAIN], context=None, verify=True)
    serialized = iter(files.read(0, None))
    next(serialized)
    assert not record_files(records) & last
    was_read.set()
    assert 1 + len(list(serialized)) == files.records


@pytest.mark.parametrize("split", [TRAIN, PAIRS])
def test_a_truncated_transfer_is_told_and_leaves_nothing(
    records: Path, monkeypatch: pytest.MonkeyPatch, split: str
) -> None:
    fetch = MemoryFileSystem.get_file

    def cut(self: Any, source: str, target: str, **options: Any) -> None:
        fetch(self, source, target, **options)
        with open(target, "r+b") as file:
            file.truncate(10)

    moved(records)
    with monkeypatch.context() as faulty:
        faulty.setattr(MemoryFileSystem, "get_file", cut)
        with pytest.raises(
            DataError, match=rf"`{URI}/{split}-.*` must have \d+ bytes, as written\. Received: 10 bytes"
        ):
            read_all(records, split)
    until = time.monotonic() + 30  # other files are still on their way
    while list(records.rglob("*.partial")):
        assert time.monotonic() < until
    assert all(path.stat().st_size > 10 for path in records.rglob("*.tfrecord*"))
    read_all(records, split)


def read_all(records: Path, split: str) -> None:
    if split == PAIRS:
        RecordFiles.open(records, [split], context=None, verify=True)
        return
    with transfers_explained():
        for _ in read_impressions(records, "train", batch_size=64):
            pass


def test_a_transfer_that_fails_goes_on_where_it_stopped(records: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch, fetched = MemoryFileSystem.get_file, []

    def failing(self: Any, source: str, target: str, **options: Any) -> None:
        if "00002" in source:
            raise ConnectionResetError("peer is gone")
        fetch(self, source, target, **options)

    def counting(self: Any, source: str, target: str, **options: Any) -> None:
        fetched.append(source)
        fetch(self, source, target, **options)

    moved(records)
    monkeypatch.setattr(MemoryFileSystem, "get_file", failing)
    with pytest.raises(DataError, match=rf"`{URI}/{TRAIN}-00002.*must be readable.*ConnectionResetError: peer is gone"):
        read_all(records, TRAIN)
    held = len(record_files(records))
    monkeypatch.setattr(MemoryFileSystem, "get_file", counting)
    read_all(records, TRAIN)
    assert len(fetched) == SHARDS - held


def test_a_file_that_is_gone_is_named(records: Path, store: MemoryFileSystem) -> None:
    moved(records)
    store.rm(f"/bucket/records/{TRAIN}-00003-of-00016.tfrecord.gz")
    with pytest.raises(DataError, match=rf"`{URI}/{TRAIN}-00003.* must exist, as `schema\.json` lists it"):
        read_all(records, TRAIN)


def test_a_folder_of_another_is_left_alone(store: MemoryFileSystem) -> None:
    store.pipe_file("/bucket/records/photo.jpg", b"mine")
    for _ in range(2):
        with pytest.raises(
            DataError, match=rf"`data\.records` must be an empty folder.*Received: {URI}, with 1 files: .*photo\.jpg"
        ):
            claim(URI, "one")
    assert store.cat_file("/bucket/records/photo.jpg") == b"mine"


def test_leftovers_of_the_same_preparation_are_removed(
    records: Path, store: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, done = MemoryFileSystem.put_file, []

    def failing(self: Any, source: str, target: str, **options: Any) -> None:
        if len(done) == 5:
            raise ConnectionResetError("peer is gone")
        done.append(target)
        put(self, source, target, **options)

    before = contents(records)
    claim(URI, "one")
    with monkeypatch.context() as faulty:
        faulty.setattr(MemoryFileSystem, "put_file", failing)
        with pytest.raises(DataError, match=rf"`data\.records` must be writable\. Received: {URI}/.*peer is gone"):
            move(records, URI, None)
    assert not store.exists("/bucket/records/schema.json")  # what is there is not taken for whole
    assert contents(records) == before
    with pytest.raises(DataError, match=r"`data\.records` must be an empty folder"):
        claim(URI, "two")
    store.pipe_file("/bucket/records/items/left-over", b"")
    claim(URI, "one")
    assert [name for name in store.find("/bucket/records") if not name.endswith("prepared_by.txt")] == []
    move(records, URI, None)
    assert contents(records) == before


def test_a_folder_that_was_prepared_is_not_written_again(records: Path) -> None:
    moved(records)
    with pytest.raises(DataError, match=r"`data\.records` must be an empty folder"):
        claim(URI, "another")


def test_a_uri_that_nobody_knows() -> None:
    with pytest.raises(DataError, match=r"`data\.records` must be a folder's URI that can be opened.*nowhere://x"):
        claim("nowhere://x", "one")


def test_a_damaged_note_of_where_they_are(records: Path) -> None:
    moved(records)
    (records / "elsewhere.json").write_text("{}")
    with pytest.raises(DataError, match=r"elsewhere\.json` must be as `prepare` wrote it: prepare again"):
        RecordCache.of(str(records))
