"""Titles of items, out of a catalogue that may be larger than memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import PurePosixPath
from typing import IO, Any

import fsspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.json as pa_json
import pyarrow.parquet as pq

from mim_tf.errors import DataError


def titles_of(path: str, item_ids: list[Any], id_type: pa.DataType) -> dict[Any, str]:
    """The titles of some items by their ids; of one that occurs twice the first. Items without one are left out.

    Args:
        path: a file, folder or glob of Parquet, CSV or JSON lines with the columns `item_id` and `title`; local, or any
            URI that fsspec knows.
        item_ids: of the items.
        id_type: of the ids.

    Raises:
        DataError: nothing is there, or it cannot be read.
    """
    wanted, titles = pa.array(item_ids, id_type), dict[Any, str]()
    try:
        for batch in _batches(path, id_type):
            found = batch.filter(pc.is_in(batch["item_id"], wanted)).drop_null()
            for item_id, title in zip(found["item_id"].to_pylist(), found["title"].to_pylist(), strict=True):
                titles.setdefault(item_id, title)
    except (pa.ArrowException, OSError, ImportError, ValueError, KeyError) as error:
        said = " ".join(str(error).split())[:300]
        raise DataError(
            f"Titles must be in {', '.join(_READERS)} files with the columns item_id ({id_type}) and title. "
            f"Received: {path}: {said}"
        ) from error
    return titles


def _batches(path: str, id_type: pa.DataType) -> Iterator[pa.RecordBatch]:
    """All rows, `item_id` and `title` alone."""
    schema = pa.schema({"item_id": id_type, "title": pa.string()})
    filesystem, location = fsspec.core.url_to_fs(path)
    pattern = location.rstrip("/") + "/*" if filesystem.isdir(location) else location
    files = [file for file in sorted(filesystem.glob(pattern)) if PurePosixPath(file).suffix.lower() in _READERS]
    if not files:
        raise ValueError("there is no such file.")
    for file in files:
        with filesystem.open(file, "rb") as opened:
            for batch in _READERS[PurePosixPath(file).suffix.lower()](opened, schema):
                yield batch.cast(schema)


def _read_parquet(file: IO[bytes], schema: pa.Schema) -> Iterable[pa.RecordBatch]:
    with pq.ParquetFile(file) as opened:
        missing = set(schema.names) - set(opened.schema_arrow.names)
        if missing:
            raise ValueError(f"there is no column {min(missing)}.")
        for batch in opened.iter_batches(columns=schema.names):
            yield batch.select(schema.names)


def _read_csv(file: IO[bytes], schema: pa.Schema) -> Iterable[pa.RecordBatch]:
    # Types are given, not guessed: a guess would turn the id 007 into 7 and the title 2020-01-01 into a date.
    convert = pa_csv.ConvertOptions(column_types=schema, include_columns=schema.names)
    return pa_csv.open_csv(file, convert_options=convert, parse_options=pa_csv.ParseOptions(newlines_in_values=True))


def _read_json(file: IO[bytes], schema: pa.Schema) -> Iterable[pa.RecordBatch]:
    options = pa_json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    table = pa_json.read_json(file, parse_options=options)
    for name in schema.names:  # a column that is nowhere is all null then
        if table[name].null_count == len(table):
            raise ValueError(f"there is no column {name}.")
    return table.to_batches()


_READERS: dict[str, Callable[[IO[bytes], pa.Schema], Iterable[pa.RecordBatch]]] = {
    ".parquet": _read_parquet,
    ".csv": _read_csv,
    ".jsonl": _read_json,
    ".json": _read_json,
}
