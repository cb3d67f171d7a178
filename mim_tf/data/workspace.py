"""The engine of one preparation and the scratch space it may fill."""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import fsspec
import ibis.expr.types as ir
import pyarrow as pa

from mim_tf.data.engine_errors import is_engine_error, lacks_room, said
from mim_tf.data.record_schema import Shard
from mim_tf.engine import LOCAL, Engine
from mim_tf.errors import StageError

PLACE = "__place"
"""The column that numbers the records of a split from 0: of `count` files, record `n` lies in file `n % count`."""
SPLIT_NUMBER = "__split_number"
"""The column that says which of the splits that are written together a record is of, from 0; int8."""
Batches = Iterator[pa.RecordBatch]


class Workspace(ABC):
    """An Ibis connection and a scratch folder; what was kept is gone when it closes.

    Args:
        folder: where the scratch folder is made; all machines of a cluster must see it.

    Attributes:
        connection: the Ibis connection.
        scratch: a folder for files that only this run needs.
    """

    connection: Any

    def __init__(self, folder: Path) -> None:
        self._stack = ExitStack()
        self._folder = folder
        scratch = tempfile.TemporaryDirectory(prefix=".scratch-", dir=folder)
        self.scratch = Path(self._stack.enter_context(scratch)).resolve()

    def __enter__(self) -> Self:
        """Enter; nothing more to do."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Drop what was kept, close the engine, remove the scratch folder.

        Raises:
            StageError: the engine failed, and nobody has said yet what of the user's made it fail.
        """
        self._stack.close()
        if error is not None and lacks_room(error):
            raise StageError(
                f"`{self._folder}` must have room for the records and for as much again of scratch files, and the "
                f"engine for its work. Received: {said(error)}"
            ) from error
        if error is not None and is_engine_error(error):
            raise StageError(f"The engine must come to the end of its work. Received: {said(error)}") from error

    @abstractmethod
    def read(self, form: str, filesystem: fsspec.AbstractFileSystem, files: Sequence[str]) -> ir.Table:
        """Open files lazily, with their `FILE` and their `ROW`.

        Args:
            form: "parquet", "csv" or "json"; values of CSV stay text.
            filesystem: where the files are.
            files: their paths there, in order.
        """

    @abstractmethod
    def keep(self, table: ir.Table) -> ir.Table:
        """Compute a table once and keep it for as long as the workspace is open."""

    @abstractmethod
    def count(self, table: ir.Table) -> int:
        """Count rows."""

    @abstractmethod
    def stream(self, table: ir.Table, rows: int) -> Batches:
        """Stream a table in its order in batches of at most `rows`, never holding all of it.

        Read to the end before the next query.
        """

    @abstractmethod
    def map_batches(
        self,
        table: ir.Table,
        function: Callable[[Batches], Batches],
        schema: pa.Schema,
        *,
        at_once: int,
        progress: Callable[[int, int], None],
    ) -> ir.Table:
        """Compute a table from the batches of another and keep it.

        Args:
            table: the other one.
            function: turns batches into batches, wherever the engine works: it can be pickled.
            schema: of what it makes.
            at_once: rows per batch, at most.
            progress: told how many rows are done, and how many there are in all.
        """

    @abstractmethod
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
        """Write rows as records of one or more splits, in the order of their `PLACE`; errors as in `write_shards`.

        Args:
            rows: as `encode` takes them, with `SPLIT_NUMBER`.
            folder: the folder of all records.
            totals: the splits, `<kind>/<split>`, in the order of their numbers, and the records of each.
            order: the columns to sort by, of which the first is `PLACE`.
            shards: files to write of each split, at most.
            at_once: rows held in memory.
            progress: told about the records written.

        Returns:
            The files of each split.
        """


def open_workspace(folder: Path, engine: Engine = LOCAL) -> Workspace:
    """Open a workspace of an engine; the options of "local" are DuckDB's settings, those of "spark" Spark's.

    Raises:
        SettingsError: DuckDB does not know an option, or its value.
        StageError: Spark does not start.
    """
    # Imported when they are opened: Spark need not be installed.
    if engine.name == "spark":
        from mim_tf.data.spark_workspace import SparkWorkspace

        return SparkWorkspace(folder, engine.options)
    from mim_tf.data.duckdb_workspace import DuckDBWorkspace

    return DuckDBWorkspace(folder, engine.options)
