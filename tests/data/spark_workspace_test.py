"""What the driver makes sure of when executors have written, without Spark; the rest: `spark_preparation_test.py`."""

from pathlib import Path

import pytest

from mim_tf.data.record_schema import PAIRS, VALIDATION_PAIRS, Shard
from mim_tf.errors import StageError

pytest.importorskip("pyspark", reason="pyspark is not installed")

from mim_tf.data.spark_workspace import _check_written

SHARDS = [Shard(f"pairs/train-0000{number}-of-00002.tfrecord", records=3, bytes=10) for number in range(2)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two files of three records and ten bytes each."""
    (tmp_path / "pairs").mkdir()
    for shard in SHARDS:
        (tmp_path / shard.file).write_bytes(b"x" * shard.bytes)
    return tmp_path


def test_what_killed_tasks_left_is_removed_and_nothing_else(folder: Path) -> None:
    left = folder / "pairs" / f".{Path(SHARDS[1].file).name}-0123abcd"
    of_another = folder / "pairs" / f".{Path(VALIDATION_PAIRS).name}-00000-of-00001.tfrecord-0123abcd"
    for path in (left, of_another):
        path.write_bytes(b"half")
    _check_written(folder, PAIRS, SHARDS, 6)
    files = [folder / shard.file for shard in SHARDS]
    assert sorted((folder / "pairs").iterdir()) == sorted([*files, of_another])


def test_too_few_records_are_refused(folder: Path) -> None:
    with pytest.raises(RuntimeError, match="pairs/train: 7 records were to be written, 6 came"):
        _check_written(folder, PAIRS, SHARDS, 7)


@pytest.mark.parametrize("held", [None, b"x" * 9])
def test_a_file_that_this_machine_does_not_see_whole_is_refused(folder: Path, held: bytes | None) -> None:
    path = folder / SHARDS[1].file
    path.unlink()
    if held is not None:
        path.write_bytes(held)
    with pytest.raises(StageError, match=rf"`--workdir` must lie where all machines .*\. Received: .*{path.name}"):
        _check_written(folder, PAIRS, SHARDS, 6)
