"""Opening Parquet, CSV and JSON lines in DuckDB, wherever fsspec finds them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import fsspec
import ibis
import ibis.expr.datatypes as dt
import ibis.expr.types as ir
from fsspec.implementations.local import LocalFileSystem

from mim_tf.data.sources import FILE, ROW


def read_files(connection: Any, form: str, filesystem: fsspec.AbstractFileSystem, files: Sequence[str]) -> ir.Table:
    """Open files lazily, with their `FILE` and their `ROW`.

    Args:
        connection: an Ibis DuckDB connection.
        form: "parquet", "csv" or "json".
        filesystem: where the files are.
        files: their paths there, in order.
    """
    paths = list(files)
    if not isinstance(filesystem, LocalFileSystem):
        connection.register_filesystem(filesystem)
        paths = [filesystem.unstrip_protocol(file) for file in files]
    # Rows are numbered as they are read, and DuckDB reads in order.
    return _READERS[form](connection, paths).mutate(**{ROW: ibis.row_number()})


def _read_parquet(connection: Any, files: list[str]) -> ir.Table:
    # A folder `day=7` is a name, no column.
    return connection.read_parquet(files, filename=FILE, union_by_name=True, hive_partitioning=False)


def _read_csv(connection: Any, files: list[str]) -> ir.Table:
    # All text: a guessed type would turn the id 007 into 7 and the title 2020-01-01 into a date.
    return connection.read_csv(files, header=True, all_varchar=True, filename=FILE, union_by_name=True)


# JSON has neither dates nor UUIDs: what the reader took for one is text. Integers of both signs it makes too wide.
_MEANT = {dt.Date: "VARCHAR", dt.Time: "VARCHAR", dt.Timestamp: "VARCHAR", dt.UUID: "VARCHAR", dt.Decimal: "BIGINT"}


def _read_json(connection: Any, files: list[str]) -> ir.Table:
    options: dict[str, Any] = {"sample_size": -1, "filename": FILE, "union_by_name": True}
    table = connection.read_json(files, **options)
    meant = {name: _MEANT[type(dtype)] for name, dtype in table.schema().items() if type(dtype) in _MEANT}
    if not meant:
        return table
    described = connection.raw_sql(f"DESCRIBE {connection.compile(table)}").fetchall()
    types = {name: kind for name, kind, *_ in described if name != FILE}
    return connection.read_json(files, columns=types | meant, **options)


_READERS = {"parquet": _read_parquet, "csv": _read_csv, "json": _read_json}
