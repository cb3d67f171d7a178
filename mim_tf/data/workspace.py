"""The engine of one preparation and the scratch space it may fill."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import ibis
import ibis.expr.types as ir
import pyarrow as pa


class Workspace:
    """An Ibis DuckDB connection that spills into a scratch folder; both are gone when it closes.

    Attributes:
        connection: the Ibis connection.
        scratch: a folder for files that only this run needs.
    """

    def __init__(self, folder: Path) -> None:
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
