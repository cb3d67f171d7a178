"""Opening Parquet in Spark, its rows numbered without a window over all of them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem
from pyspark.sql import functions
from pyspark.sql.pandas.types import from_arrow_schema
from pyspark.sql.types import DataType, LongType, StringType

from mim_tf.data.sources import FILE, ROW

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

_FOOTERS_AT_ONCE = 16
_INTEGERS = (pa.int8(), pa.int16(), pa.int32(), pa.int64())
_PLAIN = (*_INTEGERS, pa.bool_(), pa.float32(), pa.float64(), pa.string())
"""Types that are the same to Arrow and to Spark. What is binary to Arrow may be an enumeration's text to Spark."""
_URI, _IN_FILE = "__uri", "__in_file"
_LOCAL = re.compile("^file:/+")
_SCHEMES = {"s3": "s3a", "abfs": "abfss"}
_HADOOP = re.compile("^(s3|abfs)(?=://)")
_GLOB = re.compile(r"([\\*?\[\]{}])")


@dataclass(frozen=True)
class Opened:
    """Files that are open.

    Attributes:
        table: their rows.
        rows: how many these are.
        bytes: how many they take before they are compressed.
    """

    table: DataFrame
    rows: int
    bytes: int


def read_parquet(session: SparkSession, filesystem: fsspec.AbstractFileSystem, files: Sequence[str]) -> Opened:
    """Open Parquet files lazily, with their `FILE` and their `ROW`.

    A row's number is its place in its file, which Spark knows, and the rows of the files before, which their footers
    tell. Files may differ in their columns; one that a file lacks is null there.

    Args:
        session: the session.
        filesystem: where the files are.
        files: their paths there, in order.

    Raises:
        pyarrow.ArrowInvalid: a file is no Parquet.
    """
    footers = _footers(filesystem, files)
    schemas = [footer.schema.to_arrow_schema().remove_metadata() for footer in footers]
    ends = list(itertools.accumulate(footer.num_rows for footer in footers))
    paths = [_spark_path(filesystem, file) for file in files]
    parts = [
        _open(session, schema, [path for path, of in zip(paths, schemas, strict=True) if of == schema])
        for schema in dict.fromkeys(schemas)
    ]
    rows = reduce(lambda left, right: left.unionByName(right, allowMissingColumns=True), _as_text_if_any(parts))
    names = _names(filesystem, files)
    if len(files) == 1:  # needs no join
        table = rows.withColumns({FILE: functions.lit(names[0]), ROW: functions.col(_IN_FILE)})
    else:
        uris = {unquote(uri): uri for part in parts for uri in (_LOCAL.sub("/", name) for name in part.inputFiles())}
        # Hadoop may add what a URI leaves out, as the host of a cluster's name node.
        keys = pa.array([uris[_LOCAL.sub("/", _qualified(session, path))] for path in paths])
        listed = pa.table({_URI: keys, FILE: names, ROW: pa.array([0, *ends[:-1]], pa.int64())})
        joined = rows.join(functions.broadcast(session.createDataFrame(listed)), _URI)
        table = joined.withColumn(ROW, functions.col(ROW) + functions.col(_IN_FILE))
    table = table.drop(_URI, _IN_FILE)
    return Opened(table, ends[-1], sum(size_of(footer) for footer in footers))


def size_of(footer: pq.FileMetaData) -> int:
    """How many bytes a file's rows take before they are compressed."""
    return sum(footer.row_group(number).total_byte_size for number in range(footer.num_row_groups))


def _footers(filesystem: fsspec.AbstractFileSystem, files: Sequence[str]) -> list[pq.FileMetaData]:
    def read(file: str) -> pq.FileMetaData:
        try:
            with filesystem.open(file, "rb") as opened:
                return pq.read_metadata(opened)
        except pa.ArrowInvalid as error:
            raise pa.ArrowInvalid(f"{file}: {error}") from error

    with ThreadPoolExecutor(_FOOTERS_AT_ONCE) as pool:
        return list(pool.map(read, files))


def _names(filesystem: fsspec.AbstractFileSystem, files: Sequence[str]) -> list[str]:
    """The files as DuckDB names them."""
    local = isinstance(filesystem, LocalFileSystem)
    return list(files) if local else [filesystem.unstrip_protocol(file) for file in files]


def _spark_path(filesystem: fsspec.AbstractFileSystem, file: str) -> str:
    """A file as Spark's own file systems name it: those of S3 and Azure have other schemes there."""
    if isinstance(filesystem, LocalFileSystem):
        return file
    return _HADOOP.sub(lambda found: _SCHEMES[found[1]], str(filesystem.unstrip_protocol(file)))


def _qualified(session: SparkSession, path: str) -> str:
    """The whole URI of a file that is not local."""
    if path.startswith("/"):
        return path
    java: Any = session.sparkContext._jvm
    file = java.org.apache.hadoop.fs.Path(path)
    return str(file.getFileSystem(session.sparkContext._jsc.hadoopConfiguration()).makeQualified(file).toString())


def _open(session: SparkSession, schema: pa.Schema, paths: Sequence[str]) -> DataFrame:
    """Open files of one schema, with the URI of its file for each row, and its number there."""
    # Paths are patterns to Spark, where a backslash lets a character stand for itself.
    # Without a scheme, they lie on the cluster's own file system, and local ones have none.
    patterns = [_GLOB.sub(r"\\\1", path) for path in paths]
    # Asking Spark for the types is a task; where they are plain, the footer has told them.
    reader = session.read.schema(from_arrow_schema(schema)) if _is_plain(schema) else session.read
    rows = reader.parquet(*[f"file://{path}" if path.startswith("/") else path for path in patterns])
    # Spark spells the URIs of local files in two ways.
    uri = functions.regexp_replace(functions.col("_metadata.file_path"), _LOCAL.pattern, "/")
    columns = [_column(field, rows.schema[field.name].dataType) for field in schema]
    return rows.select(*columns, uri.alias(_URI), functions.col("_metadata.row_index").alias(_IN_FILE))


def _is_plain(schema: pa.Schema) -> bool:
    return all(field.type in _PLAIN for field in schema)


def _column(field: pa.Field, read_as: DataType) -> Column:
    """A column, of which Spark reads nanoseconds as numbers, but for those that it writes itself, of 96 bits."""
    column = functions.col(quoted(field.name))
    if not (pa.types.is_timestamp(field.type) and isinstance(read_as, LongType)):
        return column
    moment = functions.timestamp_micros(
        functions.expr(f"({quoted(field.name)} - pmod({quoted(field.name)}, 1000)) div 1000")
    )
    return (moment if field.type.tz else moment.cast("timestamp_ntz")).alias(field.name)


def quoted(name: str) -> str:
    """A column's name as an expression of Spark, whatever characters it has."""
    return "`" + name.replace("`", "``") + "`"


def _as_text_if_any(parts: Sequence[DataFrame]) -> Iterator[DataFrame]:
    """Make a column text that is text in some of the parts, as DuckDB does; Spark would make it a number."""
    texts = {field.name for part in parts for field in part.schema if isinstance(field.dataType, StringType)}
    for part in parts:
        as_text = {name: functions.col(quoted(name)).cast("string") for name in texts & set(part.columns)}
        yield part.withColumns(as_text) if len(parts) > 1 else part
