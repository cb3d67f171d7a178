"""Shards: what they hold is counted, and a file has its name only when it is whole."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from mim_tf.data.record_schema import HELD_OUT_ITEMS, TRAIN, TRAIN_ITEMS, VALIDATION_PAIRS, Shard
from mim_tf.data.record_writer import GZIP, shard_files, split_of, write_shard, write_shards

FILE = "impressions/train-00000-of-00001.tfrecord.gz"


def sessions() -> pa.RecordBatch:
    """Two records: of six impressions with a pause before the third and a behaviour before the fifth; of one."""
    names = ("__place", "__is_behaviour", "__position", "item_id", "history_end", "__paused", "history_item_id")
    rows = [
        (0, 0, 0, 5, 0, 0, None),
        (0, 0, 1, 6, 0, 0, None),
        (0, 0, 2, 7, 0, 1, None),
        (0, 0, 3, 8, 0, 0, None),
        (0, 0, 4, 9, 1, 0, None),
        (0, 0, 5, 9, 1, 0, None),
        (0, 1, 0, None, None, None, 8),
        (1, 0, 128, 5, 1, 1, None),
        (1, 1, 39, None, None, None, 3),
    ]
    columns = {name: pa.array(values, pa.int64()) for name, values in zip(names, zip(*rows, strict=True), strict=True)}
    return pa.record_batch(columns | {"user_id": [1] * len(rows)})


def parsed(path: str, compression: str) -> list[dict[str, list[int]]]:
    examples = [tf.train.Example.FromString(r.numpy()) for r in tf.data.TFRecordDataset(path, compression)]
    return [{name: list(f.int64_list.value) for name, f in example.features.feature.items()} for example in examples]


def test_sessions_are_numbered_and_counted(tmp_path: Path) -> None:
    shard = write_shard(tmp_path, FILE, [sessions()])
    size = (tmp_path / FILE).stat().st_size
    # Sessions of two, two and two impressions, and the one of the second record.
    assert shard == Shard(FILE, records=2, bytes=size, impressions=7, sessions={"1": 1, "2": 3})
    first, second = parsed(str(tmp_path / FILE), GZIP)
    assert first["session"] == [0, 0, 1, 1, 2, 2]
    assert first["history_end"] == [0, 0, 0, 0, 1, 1]
    assert (second["session"], second["history_end"]) == ([0], [1])
    assert sorted(first) == ["history_end", "history_item_id", "item_id", "session", "user_id"]


@pytest.mark.parametrize("cuts", [[3], [7], [1, 2, 6, 8], []])
def test_a_record_may_go_on_in_the_next_batch(tmp_path: Path, cuts: list[int]) -> None:
    rows, ends = sessions(), [*cuts, 9]
    batches = [rows.slice(begin, end - begin) for begin, end in zip([0, *cuts], ends, strict=True)]
    write_shard(tmp_path / "cut", FILE, batches)
    write_shard(tmp_path / "whole", FILE, [rows])
    assert (tmp_path / "cut" / FILE).read_bytes() == (tmp_path / "whole" / FILE).read_bytes()


def test_one_shard_is_what_all_shards_are(tmp_path: Path) -> None:
    batch = pa.record_batch({"item_id": np.arange(5)})
    (shard,) = write_shards(tmp_path / "a", TRAIN_ITEMS, [batch], total=5, shards=1, progress=lambda *_: None)
    (file,) = shard_files(TRAIN_ITEMS, 1)
    assert write_shard(tmp_path / "b", file, [batch.slice(0, 2), batch.slice(2)]) == shard
    assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def failing() -> Iterator[pa.RecordBatch]:
    yield sessions()
    raise OSError("no space left on device")


def test_what_fails_leaves_nothing(tmp_path: Path) -> None:
    write_shard(tmp_path, FILE, [sessions().slice(1)])
    before = (tmp_path / FILE).read_bytes()
    with pytest.raises(OSError, match="no space left"):
        write_shard(tmp_path, FILE, failing())
    assert [path.name for path in (tmp_path / "impressions").iterdir()] == [Path(FILE).name]
    assert (tmp_path / FILE).read_bytes() == before


def test_rows_must_be_as_many_as_were_counted(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="impressions/train: 3 records were to be written, 2 came"):
        write_shards(tmp_path, TRAIN, [sessions()], total=3, shards=2, progress=lambda *_: None)
    assert not list((tmp_path / "impressions").iterdir())


@pytest.mark.parametrize("name", [TRAIN, HELD_OUT_ITEMS, VALIDATION_PAIRS])
def test_a_file_tells_its_split(name: str) -> None:
    assert {split_of(file) for file in shard_files(name, 12)} == {name}
