"""A workspace of DuckDB, inside this process."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import duckdb
import fsspec
import ibis
import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.parquet as pq

from mim_tf.data.duckdb_files import read_files
from mim_tf.data.record_schema import Shard
from mim_tf.data.record_writer import write_shards
from mim_tf.data.workspace import SPLIT_NUMBER, Batches, Workspace
from mim_tf.errors import SettingsError


class DuckDBWorkspace(Workspace):
    """An Ibis DuckDB connection that holds some gigabytes in memory and spills the rest into its scratch folder.

    Args:
        folder: as in `Workspace`.
        options: DuckDB's own settings by name, as `memory_limit` or `threads`.

    Raises:
        SettingsError: DuckDB does not know an option, or its value.
    """

    def __init__(self, folder: Path, options: Mapping[str, str] | None = None) -> None:
        super().__init__(folder)
        defaults = {"temp_directory": str(self.scratch / "spill"), "memory_limit": _memory_limit()}
        try:
            self.connection = ibis.duckdb.connect(**(defaults | dict(options or {})))
        except duckdb.Error as error:
            self._stack.close()
            told = " ".join(str(error).split())
            raise SettingsError(
                f"--engine-option of the local engine must be a setting of DuckDB. Received: {told}"
            ) from error
        self._stack.callback(self.connection.disconnect)
        self._numbers = itertools.count()

    def read(self, form: str, filesystem: fsspec.AbstractFileSystem, files: Sequence[str]) -> ir.Table:
        """Open files lazily, as in `Workspace`."""
        return read_files(self.connection, form, filesystem, files)

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

    def stream(self, table: ir.Table, rows: int) -> Batches:
        """Stream a table, as in `Workspace`.

        `to_pyarrow_batches` of Ibis 12 calls a method that DuckDB 2 no longer has.
        """
        yield from self.connection.con.sql(self.connection.compile(table)).to_arrow_reader(rows)

    def map_batches(
        self,
        table: ir.Table,
        function: Callable[[Batches], Batches],
        schema: pa.Schema,
        *,
        at_once: int,
        progress: Callable[[int, int], None],
    ) -> ir.Table:
        """Compute a table from the batches of another, as in `Workspace`; it is kept in a scratch file."""
        path = self.scratch / f"mapped-{next(self._numbers)}.parquet"
        done, total = 0, self.count(table)
        with pq.ParquetWriter(path, schema, compression="none") as writer:
            for batch in function(self.stream(table, at_once)):
                writer.write_batch(batch)
                done += batch.num_rows
                progress(done, total)
        return self.connection.read_parquet(str(path))

    def write_records(
        self,
        rows: ir.Table,
        folder: Path,
        totals: Mapping[str, int],
        *,
        order: Sequence[str],
        shards: int,
        at_once: int,
        progress: Callable[[str, int, int], None],
    ) -> dict[str, list[Shard]]:
        """Write rows as records, as in `Workspace`, one split after the other."""
        written = {}
        for number, (name, total) in enumerate(totals.items()):
            of_split = rows.filter(rows[SPLIT_NUMBER] == number).drop(SPLIT_NUMBER)
            batches = self.stream(of_split.order_by(order), at_once)
            written[name] = write_shards(folder, name, batches, total=total, shards=shards, progress=progress)
        return written


def _memory_limit() -> str:
    """A gigabyte per core and at least two, since each of DuckDB's threads needs some of its own."""
    return f"{max(os.cpu_count() or 1, 2)}GB"
