"""Writing training records: Arrow batches in, TFRecord shards of `tf.train.Example` out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf

from mim_tf.data.histories import POSITION
from mim_tf.data.record_schema import HISTORY_PREFIX, Shard

_HISTORY = HISTORY_PREFIX.removesuffix("_")
_LIST_OF: Mapping[str, Callable[[tf.train.Feature], Any]] = {
    "bytes": lambda feature: feature.bytes_list,
    "int64": lambda feature: feature.int64_list,
    "float": lambda feature: feature.float_list,
}
_Values = list[list[int]] | list[list[float]] | list[list[bytes]]


def write_shards(
    folder: Path,
    name: str,
    batches: Iterable[pa.RecordBatch],
    *,
    total: int,
    shards: int,
    progress: Callable[[str, int, int], None],
) -> list[Shard]:
    """Write the rows in turn to each shard: `<name>-00000-of-0000N.tfrecord`.

    Args:
        folder: the folder of all records.
        name: `<kind>/<split>`.
        batches: the rows, one column per field; `history` stands for the fields of behaviours.
        total: rows in all; there are never more shards than rows, so none without rows.
        shards: files to write.
        progress: told about the rows written.

    Returns:
        The shards.

    Raises:
        RuntimeError: more or fewer rows came than there are in all.
    """
    count = min(shards, total)
    files = [f"{name}-{number:05d}-of-{count:05d}.tfrecord" for number in range(count)]
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    done = 0
    with ExitStack() as stack:
        writers = [stack.enter_context(tf.io.TFRecordWriter(str(folder / file))) for file in files]
        for batch in batches:
            for example in encode(batch):
                writers[done % count].write(example)
                done += 1
            progress(f"write {name}", done, total)
    if done != total:
        raise RuntimeError(f"{name}: {total} rows were to be written, {done} came.")  # a row met no image or two
    return [
        Shard(file, records=len(range(number, done, count)), bytes=(folder / file).stat().st_size)
        for number, file in enumerate(files)
    ]


def encode(batch: pa.RecordBatch) -> Iterator[bytes]:
    """Encode each row of a batch as a serialized `tf.train.Example`, the same row always as the same bytes."""
    columns = dict(zip(batch.schema.names, batch.columns, strict=True))
    if _HISTORY in columns:
        columns |= _history_columns(columns.pop(_HISTORY))
    features = [(name, *_values(column)) for name, column in columns.items()]
    for row in range(batch.num_rows):
        example = tf.train.Example()
        for name, kind, values in features:
            # Touching the list marks its kind even when it stays empty.
            _LIST_OF[kind](example.features.feature[name]).value.extend(values[row])
        yield example.SerializeToString(deterministic=True)


def _history_columns(history: pa.ListArray) -> dict[str, pa.ListArray]:
    """Part an array of lists of structs into one array of lists per field; a null list becomes an empty one."""
    lengths = pc.fill_null(pc.list_value_length(history), 0).to_numpy(zero_copy_only=False)
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
    behaviours = history.flatten()
    fields = (field.name for field in behaviours.type if field.name != POSITION)
    return {
        HISTORY_PREFIX + name: pa.ListArray.from_arrays(offsets, pc.struct_field(behaviours, name)) for name in fields
    }


def _values(column: pa.Array) -> tuple[str, _Values]:
    """Give the kind of list that takes a column's values, and each row's values as a list."""
    of_lists = pa.types.is_list(column.type)
    flat = column.values if of_lists else column
    kind = "int64" if pa.types.is_integer(flat.type) else "float" if pa.types.is_floating(flat.type) else "bytes"
    flat = flat.cast(pa.large_binary()) if kind == "bytes" else flat
    if of_lists:
        return kind, pa.LargeListArray.from_arrays(column.offsets.cast(pa.int64()), flat).to_pylist()
    return kind, [[value] for value in flat.to_pylist()]
