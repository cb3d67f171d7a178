"""Parts of a filling: their order is that of the records, and none that is not whole counts."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from mim_tf.data.record_files import FILES_AT_ONCE
from mim_tf.data.record_schema import TRAIN_ITEMS, RecordSchema, Shard
from mim_tf.data.records import read_items
from mim_tf.training.embedded_parts import EmbeddedParts

SCHEMA = pa.schema({"position": pa.int64(), "item_id": pa.int64(), "embedding": pa.list_(pa.float32())})


def parts_of(folder: Path, records: Sequence[int]) -> EmbeddedParts:
    parts = EmbeddedParts(folder / "parts", [f"{number}.parquet" for number in range(len(records))], records, SCHEMA)
    parts.begin()
    return parts


def rows(ids: Sequence[int]) -> pa.RecordBatch:
    """The items of a file in their order."""
    embeddings = [[float(item)] for item in ids]
    return pa.record_batch({"position": np.arange(len(ids)), "item_id": ids, "embedding": embeddings}, SCHEMA)


def write_items(folder: Path, files: Sequence[Sequence[int]]) -> None:
    """Item records, one file for each list of ids."""
    shards = []
    for number, ids in enumerate(files):
        with tf.io.TFRecordWriter(str(folder / f"{number}.tfrecord")) as writer:
            for item in ids:
                features = {
                    "item_id": tf.train.Feature(int64_list=tf.train.Int64List(value=[item])),
                    **{
                        name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"x"]))
                        for name in ("title", "category", "image")
                    },
                }
                writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
        size = (folder / f"{number}.tfrecord").stat().st_size
        shards.append(Shard(f"{number}.tfrecord", len(ids), size))
    RecordSchema("int64", None, None, {TRAIN_ITEMS: sum(map(len, files))}, {TRAIN_ITEMS: shards}).save(str(folder))


@pytest.mark.parametrize(
    "sizes", [(3,), (4, 4, 4, 3, 3, 3, 3, 3, 3), (6, 4, 6, 5, 5, 3, 6, 1), (5, 2), (6, 1, 6, 4, 3, 5, 4, 2, 7, 1)]
)
def test_rows_come_in_the_order_in_which_items_are_read(tmp_path: Path, sizes: Sequence[int]) -> None:
    ends = np.cumsum(sizes)
    files = [list(range(end - size, end)) for size, end in zip(sizes, ends, strict=True)]
    write_items(tmp_path, files)
    parts = parts_of(tmp_path, sizes)
    for number, ids in enumerate(files):
        parts.write(number, [rows(ids[:2]), rows(ids)[2:]], "first")
    read = pa.concat_tables(parts.in_order(FILES_AT_ONCE))
    expected = [int(item["item_id"]) for item in read_items(tmp_path)]
    assert read["item_id"].to_pylist() == expected
    assert read["embedding"].to_pylist() == [[float(item)] for item in expected]


def test_items_that_were_left_out_leave_the_order_of_the_others(tmp_path: Path) -> None:
    # Two files in turns: places 0 2 4 6 and 1 3 5 7. Of the first file records 0 and 3 are there, of the second 1.
    parts = parts_of(tmp_path, (4, 4))
    parts.write(0, [rows([10, 11, 12, 13]).take(pa.array([0, 3]))], "first")
    parts.write(1, [rows([20, 21, 22, 23]).take(pa.array([1]))], "first")
    assert pa.concat_tables(parts.in_order(2))["item_id"].to_pylist() == [10, 21, 13]


def test_a_part_without_items_is_there(tmp_path: Path) -> None:
    parts = parts_of(tmp_path, (2, 2))
    assert parts.write(1, [], "first") == 0
    assert parts.missing() == [0]
    parts.write(0, [rows([1, 2])], "first")
    assert pa.concat_tables(parts.in_order(4))["item_id"].to_pylist() == [1, 2]


def test_a_full_disk_leaves_no_part(tmp_path: Path) -> None:
    parts = parts_of(tmp_path, (2,))
    (parts.folder / "0.parquet.first.partial").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left on device"):
        parts.write(0, [rows([1, 2])], "first")
    assert parts.missing() == [0]


def test_what_a_killed_attempt_left_is_no_part_and_goes(tmp_path: Path) -> None:
    parts = parts_of(tmp_path, (2,))

    def killed() -> Iterator[pa.RecordBatch]:
        yield rows([1])
        raise KeyboardInterrupt("killed")

    with pytest.raises(KeyboardInterrupt, match="killed"):
        parts.write(0, killed(), "first")
    assert parts.missing() == [0]
    parts.write(0, [rows([1, 2])], "second")
    parts.begin()
    assert [path.name for path in parts.folder.iterdir()] == ["0.parquet"]
    parts.remove()
    assert not parts.folder.exists()
