"""A workspace of Spark, on one machine or many."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import fsspec
import ibis
import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.parquet as pq
from ibis.backends.pyspark.datatypes import PySparkSchema
from ibis.expr.operations import DatabaseTable
from py4j.protocol import Py4JError
from pyspark import TaskContext
from pyspark.sql import Observation, functions
from pyspark.sql.pandas.types import from_arrow_schema

from mim_tf.data.duckdb_workspace import DuckDBWorkspace
from mim_tf.data.record_schema import Shard
from mim_tf.data.record_writer import shard_files, split_of, write_shard
from mim_tf.data.spark_files import Opened, quoted, read_parquet, size_of
from mim_tf.data.workspace import PLACE, SPLIT_NUMBER, Batches, Workspace
from mim_tf.errors import StageError
from mim_tf.spark import spark_session

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

_ROWS_PER_BATCH = "spark.sql.execution.arrow.maxRecordsPerBatch"
_SHUFFLE_PARTS = "spark.sql.shuffle.partitions"
_ROWS_PER_PART, _BYTES_PER_PART = 250_000, 2**26
"""What a task of a shuffle can sort in the memory of a small executor."""
_MOST_PARTS = 10_000
"""More would cost the driver more than they spare the executors: each has a status for each task that feeds it."""
_BYTES_PER_SCAN = 2**27
"""What Spark lets a task read, unless it is told otherwise."""


class SparkWorkspace(Workspace):
    """An Ibis connection to the Spark session of this process; what is kept is Parquet in the scratch folder.

    Files are read by Spark's own file systems: for `s3://` URIs, which become `s3a://`, they need
    `spark.jars.packages=org.apache.hadoop:hadoop-aws:<version>` and `spark.hadoop.fs.s3a.*`, such as
    `spark.hadoop.fs.s3a.endpoint`, where the machines do not have them set.

    Args:
        folder: as in `Workspace`.
        options: Spark's own settings by name, as `spark.master`.
    """

    def __init__(self, folder: Path, options: Mapping[str, str]) -> None:
        self._session = spark_session("mim_tf", options)
        super().__init__(folder)
        self.connection = ibis.pyspark.connect(self._session)
        self._numbers = itertools.count()
        self._are_parts_given = _SHUFFLE_PARTS in self._session.conf.getAll
        self._parts = 0
        self._rows: dict[str, int] = {}  # of each view
        self._bytes: dict[str, int] = {}  # of each that was read
        self._stack.callback(self._leave_session)

    def read(self, form: str, filesystem: fsspec.AbstractFileSystem, files: Sequence[str]) -> ir.Table:
        """Open files lazily, as in `Workspace`.

        What Parquet does not say of types, DuckDB guesses, here too: CSV and JSON lines go through it into a file.
        """
        if form != "parquet":
            path = self.scratch / f"read-{next(self._numbers)}.parquet"
            # It ends with this workspace: what it says of a damaged file is the caller's to tell.
            local = self._stack.enter_context(DuckDBWorkspace(self.scratch))
            table = local.read(form, filesystem, files)
            local.connection.raw_sql(f"COPY ({local.connection.compile(table)}) TO '{_escaped(path)}'")
            footer = pq.read_metadata(path)
            opened = Opened(self._session.read.parquet(f"file://{path}"), footer.num_rows, size_of(footer))
        else:
            opened = read_parquet(self._session, filesystem, files)
        self._part_shuffles(opened)
        table = self._view(opened.table, opened.rows)
        self._bytes[table.get_name()] = opened.bytes
        return table

    def keep(self, table: ir.Table) -> ir.Table:
        """Compute a table once and keep it in files: an executor that is lost then takes nothing along."""
        return self._kept(self._frame(table))

    def count(self, table: ir.Table) -> int:
        """Count rows; of what was opened or kept it is known."""
        name = table.get_name() if isinstance(table.op(), DatabaseTable) else ""
        return self._rows[name] if name in self._rows else int(self._frame(table).count())

    def stream(self, table: ir.Table, rows: int) -> Batches:
        """Stream a table, as in `Workspace`: the executors write it, this process reads one file after the other."""
        path, _ = self._written(self._frame(table))
        for file in sorted(path.glob("*.parquet")):  # Spark numbers them in the order of the rows
            with pq.ParquetFile(file) as opened:
                yield from opened.iter_batches(rows)
            file.unlink()
        shutil.rmtree(path)

    def map_batches(
        self,
        table: ir.Table,
        function: Callable[[Batches], Batches],
        schema: pa.Schema,
        *,
        at_once: int,
        progress: Callable[[int, int], None],
    ) -> ir.Table:
        """Compute a table from the batches of another, as in `Workspace`, in the executors."""
        self._session.conf.set(_ROWS_PER_BATCH, str(at_once))
        frame, tasks = self._frame(table), self._session.sparkContext.defaultParallelism
        scanned = sum(self._bytes.get(source.name, 0) for source in table.op().find(DatabaseTable))
        if scanned < tasks * _BYTES_PER_SCAN:  # of a small file all work would be one executor's
            frame = frame.repartition(tasks)
        kept = self._kept(frame.mapInArrow(function, from_arrow_schema(schema)))
        progress(self.count(kept), self.count(kept))
        return kept

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
        """Write rows as records, as in `Workspace`: a task each file; those of a split hold equally many records."""
        counts = {name: min(shards, total) for name, total in totals.items()}
        files = [file for name, count in counts.items() for file in shard_files(name, count)]
        written: dict[str, list[Shard]] = {name: [] for name in totals}
        if not files:
            return written
        self._session.conf.set(_ROWS_PER_BATCH, str(at_once))
        parted = self._frame(rows).repartitionById(len(files), _file_number(list(counts.values())))
        in_order = parted.sortWithinPartitions(*order).drop(SPLIT_NUMBER)
        done = in_order.mapInArrow(_ShardWriter(str(folder.resolve()), tuple(files)), "shard string").collect()
        for shard in sorted((Shard(**json.loads(row.shard)) for row in done), key=lambda shard: shard.file):
            written[split_of(shard.file)].append(shard)
        for name, total in totals.items():
            _check_written(folder, name, written[name], total)
            progress(f"write {name}", total, total)
        return written

    def _part_shuffles(self, opened: Opened) -> None:
        """Let shuffles have as many parts as what was read asks for, where nobody has said how many."""
        self._parts += max(opened.rows // _ROWS_PER_PART, opened.bytes // _BYTES_PER_PART)
        if not self._are_parts_given:
            cores = self._session.sparkContext.defaultParallelism
            self._session.conf.set(_SHUFFLE_PARTS, str(min(max(self._parts, cores), _MOST_PARTS)))

    def _frame(self, table: ir.Table) -> DataFrame:
        """What a table is to Spark, with the types that it has to Ibis: Spark's row numbers have 32 bits."""
        frame = self._session.sql(self.connection.compile(table))
        types = PySparkSchema.from_ibis(table.schema())
        return frame.select(
            *[functions.col(quoted(field.name)).cast(field.dataType).alias(field.name) for field in types]
        )

    def _kept(self, frame: DataFrame) -> ir.Table:
        path, rows = self._written(frame)
        return self._view(self._session.read.schema(frame.schema).parquet(f"file://{path}"), rows)

    def _written(self, frame: DataFrame) -> tuple[Path, int]:
        """Write a table into the scratch folder, and make sure that this process sees all rows; gives their number."""
        path = self.scratch / f"kept-{next(self._numbers)}"
        written = Observation()
        frame.observe(written, functions.count(functions.lit(1)).alias("rows")).write.parquet(f"file://{path}")
        rows = sum(pq.read_metadata(file).num_rows for file in path.glob("*.parquet"))
        if rows != written.get["rows"]:
            raise _unshared(path)
        return path, rows

    def _view(self, frame: DataFrame, rows: int) -> ir.Table:
        """Give a table a name that no other workspace of this session has."""
        name = f"{self.scratch.name.removeprefix('.scratch-')}_{next(self._numbers)}"
        frame.createOrReplaceTempView(quoted(name))
        self._rows[name] = rows
        table: ir.Table = self.connection.table(name)
        return table

    def _leave_session(self) -> None:
        """Leave the session as it was: others may go on with it."""
        with suppress(Py4JError, OSError):  # all is gone with a Spark that is gone, whose end is the error to tell
            for name in self._rows:
                self._session.catalog.dropTempView(name)
            if not self._are_parts_given:
                self._session.conf.unset(_SHUFFLE_PARTS)


@dataclass(frozen=True)
class _ShardWriter:
    """Writes the rows of one task as the file that has the task's number."""

    folder: str
    files: tuple[str, ...]

    def __call__(self, batches: Batches) -> Batches:
        context = TaskContext.get()
        if context is None:
            raise RuntimeError("records are written by the tasks of a cluster.")
        shard = write_shard(Path(self.folder), self.files[context.partitionId()], batches)
        yield pa.record_batch({"shard": [json.dumps(asdict(shard))]})


def _file_number(counts: Sequence[int]) -> Column:
    """The number of a record's file among those of all splits, of which each has so many."""
    number = functions.lit(None)
    for split, count in enumerate(counts):
        if count:
            file = functions.col(PLACE) % count + sum(counts[:split])
            number = functions.when(functions.col(SPLIT_NUMBER) == split, file).otherwise(number)
    return number.cast("int")


def _check_written(folder: Path, name: str, shards: Sequence[Shard], total: int) -> None:
    """Make sure that all records are there, and that this machine sees them; remove what killed tasks left."""
    records = sum(shard.records for shard in shards)
    if records != total:
        # A row met no image or two.
        raise RuntimeError(f"{name}: {total} records were to be written, {records} came.")
    for shard in shards:
        path = folder / shard.file
        if not path.exists() or path.stat().st_size != shard.bytes:
            raise _unshared(path)
    for left in (folder / name).parent.glob(f".{Path(name).name}-*"):
        left.unlink(missing_ok=True)


def _unshared(path: Path) -> StageError:
    return StageError(
        "`--workdir` must lie where all machines of the cluster see it, under one path. Received: executors that wrote "
        f"{path}, of which this machine does not see all."
    )


def _escaped(path: Path) -> str:
    return str(path).replace("'", "''")
