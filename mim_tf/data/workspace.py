"""The engine of one preparation and the scratch space it may fill."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import ibis
import ibis.expr.types as ir
import pyarrow as pa

from mim_tf.data.record_schema import Shard
from mim_tf.data.record_writer import write_shards
from mim_tf.engine import LOCAL, Engine

PLACE = "__place"
"""The column that numbers the records of a split from 0: of `count` files, record `n` lies in file `n % count`."""


class Workspace:
    """An Ibis DuckDB connection that spills into a scratch folder; both are gone when it closes.

    Attributes:
        connection: the Ibis connection.
        scratch: a folder for files that only this run needs.
    """

    def __init__(self, folder: Path, engine: Engine = LOCAL) -> None:
        self._stack = ExitStack()
        scratch = tempfile.TemporaryDirectory(prefix=".scratch-", dir=folder)
        self.scratch = Path(self._stack.enter_context(scratch))
        self.connection: Any = ibis.duckdb.connect(temp_directory=str(self.scratch / "spill"))
        self._stack.callback(self.connection.disconnect)
        self._numbers = itertools.count()

    def __enter__(self) -> Self:
        """Enter; nothing more to do."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Drop what was kept, close the engine, remove the scratch folder."""
        self._stack.close()

    def keep(self, table: ir.Table) -> ir.Table:
        """Compute a table once and keep it for as long as the workspace is open.

        A temporary table goes with the connection; `cache` of Ibis 12 fails to drop its own with sqlglot 30.
        """
        name = f"kept_{next(self._numbers)}"
        kept: ir.Table = self.connection.create_table(name, table, temp=True)
        return kept

    def count(self, table: ir.Table) -> int:
        """Count rows."""
        return int(table.count().to_pyarrow().as_py())

    def stream(self, table: ir.Table, rows: int) -> Iterator[pa.RecordBatch]:
        """Stream a table in batches of at most `rows`, never holding all of it; read to the end before the next query.

        `to_pyarrow_batches` of Ibis 12 calls a method that DuckDB 2 no longer has.
        """
        yield from self.connection.con.sql(self.connection.compile(table)).to_arrow_reader(rows)

    def write_records(
        self,
        rows: ir.Table,
        folder: Path,
        name: str,
        *,
        total: int,
        shards: int,
        at_once: int,
        progress: Callable[[str, int, int], None],
    ) -> list[Shard]:
        """Write rows as records, in the order of their `PLACE`; arguments and errors as in `write_shards`.

        Args:
            rows: one column per field, and `PLACE`.
            folder: the folder of all records.
            name: `<kind>/<split>`.
            total: rows in all.
            shards: files to write, at most.
            at_once: rows held in memory.
            progress: told about the rows written.
        """
        batches = self.stream(rows.order_by(PLACE).drop(PLACE), at_once)
        return write_shards(folder, name, batches, total=total, shards=shards, progress=progress)
