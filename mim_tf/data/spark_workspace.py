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
from py4j.protocol import Py4JError
from pyspark import TaskContext
from pyspark.sql import Observation, functions
from pyspark.sql.pandas.types import from_arrow_schema

from mim_tf.data.duckdb_workspace import DuckDBWorkspace
from mim_tf.data.record_schema import Shard
from mim_tf.data.record_writer import compression_of, shard_files, write_shard
from mim_tf.data.spark_files import quoted, read_parquet
from mim_tf.data.workspace import PLACE, Batches, Workspace
from mim_tf.errors import StageError
from mim_tf.spark import spark_session

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_ROWS_PER_BATCH = "spark.sql.execution.arrow.maxRecordsPerBatch"


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
        self._views: list[str] = []
        self._stack.callback(self._drop_views)

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
            return self._view(self._session.read.parquet(f"file://{path}"))
        return self._view(read_parquet(self._session, filesystem, files))

    def keep(self, table: ir.Table) -> ir.Table:
        """Compute a table once and keep it in files: an executor that is lost then takes nothing along."""
        return self._kept(self._frame(table))

    def count(self, table: ir.Table) -> int:
        """Count rows."""
        return int(self._frame(table).count())

    def stream(self, table: ir.Table, rows: int) -> Batches:
        """Stream a table, as in `Workspace`: the executors write it, this process reads one file after the other."""
        path = self._written(self._frame(table))
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
        progress: Callable[[int], None],
    ) -> ir.Table:
        """Compute a table from the batches of another, as in `Workspace`, in the executors."""
        self._session.conf.set(_ROWS_PER_BATCH, str(at_once))
        kept = self._kept(self._frame(table).mapInArrow(function, from_arrow_schema(schema)))
        progress(self.count(kept))
        return kept

    def write_records(
        self,
        rows: ir.Table,
        folder: Path,
        name: str,
        *,
        order: Sequence[str],
        total: int,
        shards: int,
        at_once: int,
        progress: Callable[[str, int, int], None],
    ) -> list[Shard]:
        """Write rows as records, as in `Workspace`: an executor each file, all of which hold equally many records."""
        count = min(shards, total)
        if count == 0:
            return []
        self._session.conf.set(_ROWS_PER_BATCH, str(at_once))
        number = (functions.col(PLACE) % count).cast("int")
        files = self._frame(rows).repartitionById(count, number).sortWithinPartitions(*order)
        written = files.mapInArrow(_ShardWriter(str(folder.resolve()), name, count), "shard string").collect()
        done = sorted((Shard(**json.loads(row.shard)) for row in written), key=lambda shard: shard.file)
        records = sum(shard.records for shard in done)
        if records != total:
            # A row met no image or two.
            raise RuntimeError(f"{name}: {total} records were to be written, {records} came.")
        for shard in done:
            path = folder / shard.file
            if not path.exists() or path.stat().st_size != shard.bytes:
                raise _unshared(path)
        for left in (folder / name).parent.glob(f".{Path(name).name}-*"):  # by tasks that were killed
            left.unlink(missing_ok=True)
        progress(f"write {name}", records, total)
        return done

    def _frame(self, table: ir.Table) -> DataFrame:
        """What a table is to Spark, with the types that it has to Ibis: Spark's row numbers have 32 bits."""
        frame = self._session.sql(self.connection.compile(table))
        types = PySparkSchema.from_ibis(table.schema())
        return frame.select(
            *[functions.col(quoted(field.name)).cast(field.dataType).alias(field.name) for field in types]
        )

    def _kept(self, frame: DataFrame) -> ir.Table:
        schema = frame.schema
        return self._view(self._session.read.schema(schema).parquet(f"file://{self._written(frame)}"))

    def _written(self, frame: DataFrame) -> Path:
        """Write a table into the scratch folder, and make sure that this process sees all that executors wrote."""
        path = self.scratch / f"kept-{next(self._numbers)}"
        written = Observation()
        frame.observe(written, functions.count(functions.lit(1)).alias("rows")).write.parquet(f"file://{path}")
        if sum(pq.read_metadata(file).num_rows for file in path.glob("*.parquet")) != written.get["rows"]:
            raise _unshared(path)
        return path

    def _view(self, frame: DataFrame) -> ir.Table:
        """Give a table a name that no other workspace of this session has."""
        name = f"{self.scratch.name.removeprefix('.scratch-')}_{next(self._numbers)}"
        frame.createOrReplaceTempView(quoted(name))
        self._views.append(name)
        table: ir.Table = self.connection.table(name)
        return table

    def _drop_views(self) -> None:
        with suppress(Py4JError, OSError):  # they are gone with a Spark that is gone, whose end is the error to tell
            for name in self._views:
                self._session.catalog.dropTempView(name)


@dataclass(frozen=True)
class _ShardWriter:
    """Writes the rows of one task as the file that has the task's number."""

    folder: str
    name: str
    count: int

    def __call__(self, batches: Batches) -> Batches:
        context = TaskContext.get()
        if context is None:
            raise RuntimeError("records are written by the tasks of a cluster.")
        file = shard_files(self.name, self.count)[context.partitionId()]
        shard = write_shard(Path(self.folder), file, batches, compression=compression_of(self.name))
        yield pa.record_batch({"shard": [json.dumps(asdict(shard))]})


def _unshared(path: Path) -> StageError:
    return StageError(
        "`--workdir` must lie where all machines of the cluster see it, under one path. Received: executors that wrote "
        f"{path}, of which this machine does not see all."
    )


def _escaped(path: Path) -> str:
    return str(path).replace("'", "''")
