"""The store's filling by a Spark cluster: executors embed, file by file, and the driver commits."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from tqdm import tqdm

from mim_tf.data.engine_errors import said
from mim_tf.data.record_files import FILES_AT_ONCE, RecordFiles
from mim_tf.data.record_schema import HELD_OUT_ITEMS, TRAIN_ITEMS, RecordSchema, Shard
from mim_tf.engine import Engine
from mim_tf.errors import DataError, StageError
from mim_tf.representation import EmbeddingStore
from mim_tf.spark import spark_session
from mim_tf.training.embedded_parts import EmbeddedParts
from mim_tf.training.executor_encoder import load_predict
from mim_tf.training.executor_items import ExecutorItems
from mim_tf.training.file_labels import SQL_TYPES, deal_labels
from mim_tf.training.filling import Embedded, Filled, Tally, commit, instant
from mim_tf.workdir import StageFolder

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_READ_ROWS = 8192  # of the parts
_COMMIT_BYTES = 2**28  # of float32: a commit reads the ids of the whole store, so there should be few of them
_ARROW_BYTES = 2**26  # that go to a Python worker at once, however large images are


def filling_session(engine: Engine, batch_size: int) -> SparkSession:
    """A session whose batches of items fit into memory, on the cluster of the session there is or of a new one.

    Args:
        engine: Spark's settings.
        batch_size: items embedded at once.

    Raises:
        StageError: Spark does not start.
    """
    session = spark_session("mim_tf.represent", engine.options).newSession()
    session.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", batch_size)
    session.conf.set("spark.sql.execution.arrow.maxBytesPerBatch", _ARROW_BYTES)
    return session


def spark_fill(
    store: EmbeddingStore,
    represent: StageFolder,
    records: Path,
    *,
    session: SparkSession,
    fingerprint: str,
    known_at: float,
    batch_size: int,
    commit_rows: int,
) -> Filled:
    """Do to the store what `fill` does: the same items in the same rows, with the same labels.

    Executors write a part for each file of records, and the driver commits when all are there. An interrupted filling
    embeds only files that have no part. What the store holds is asked once, at the beginning; what others commit after
    that and is newer stays.

    Args:
        store: that all executors can open.
        represent: the stage's folder, with the encoder as a SavedModel; all executors see it under its path.
        records: folder of the records, which they see likewise.
        session: of Spark, from `filling_session`.
        fingerprint: of the encoder.
        known_at: as in `fill`.
        batch_size: items embedded at once.
        commit_rows: items per commit at least; they are more, as many as memory allows.

    Raises:
        StageError: Spark's job fails, or other writers were faster each time.
        DataError: a file of records is missing or damaged, or an image does not decode.
        OSError: the storage has failed.
    """
    files = RecordFiles.open(records, [TRAIN_ITEMS, HELD_OUT_ITEMS], context=None, verify=False)
    parts = _parts(represent.path / "embedded", files.schema, [fingerprint, store.identity, str(known_at)], store)
    parts.begin()
    embedded = 0
    if missing := parts.missing():
        with _told_by_spark(), _followed(parts):
            labels = _dealt_labels(session, store, str(records), files.schema, parts.folder / "labels")
            read = ExecutorItems(files.schema, files.paths, missing, labels, instant(known_at))
            written = _written(parts, missing, _embedded(session, read, represent, batch_size))
            embedded = sum(row.items for row in written.collect())
    rows = max(commit_rows, _COMMIT_BYTES // (4 * store.dim))
    with tqdm(desc="committed", unit="item", disable=None) as bar:
        tally = Tally(bar)
        commit(store, fingerprint, instant(known_at), tally.noted(_in_order(parts, store.dim)), rows)
    parts.remove()
    return Filled(embedded, files.records - embedded, tally.sample)


def _shards(schema: RecordSchema) -> list[Shard]:
    """The files of all items, in the order in which they are read."""
    return [shard for name in (TRAIN_ITEMS, HELD_OUT_ITEMS) for shard in schema.shards.get(name, [])]


def _parts(folder: Path, schema: RecordSchema, made_of: list[str], store: EmbeddingStore) -> EmbeddedParts:
    """One part per file, by whose name those are told that another encoder, preparation or store left."""
    shards, item_id = _shards(schema), pa.int64() if store.id_type == "int64" else pa.large_string()
    digests = [
        hashlib.sha256(json.dumps([*made_of, shard.file, shard.records, shard.bytes]).encode()).hexdigest()
        for shard in shards
    ]
    names = [f"{Path(shard.file).stem}-{digest[:16]}.parquet" for shard, digest in zip(shards, digests, strict=True)]
    # Large: what several files hold may go beyond the 2^31 of the small types' offsets.
    columns = {"position": pa.int64(), "item_id": item_id, "content": pa.large_string()}
    columns["embedding"] = pa.large_list(pa.float32())
    return EmbeddedParts(folder, names, [shard.records for shard in shards], pa.schema(columns))


def _dealt_labels(
    session: SparkSession, store: EmbeddingStore, records: str, schema: RecordSchema, folder: Path
) -> Path | None:
    if store.encoder is None:  # nothing to leave out
        return None
    deal_labels(session, store, records, [shard.file for shard in _shards(schema)], folder)
    return folder


def _embedded(session: SparkSession, read: ExecutorItems, represent: StageFolder, batch_size: int) -> DataFrame:
    """The columns of parts; a partition per file."""
    from pyspark.ml.functions import predict_batch_udf
    from pyspark.sql.types import ArrayType, FloatType

    types = f"position bigint, item_id {SQL_TYPES[read.schema.item_id]}, content string, title string, image binary"
    files = session.range(0, len(read.numbers), 1, len(read.numbers))
    load: Callable[[], Any] = partial(load_predict, represent)
    embed = predict_batch_udf(load, return_type=ArrayType(FloatType()), batch_size=batch_size)
    items = files.mapInArrow(read.lacking, types)
    return items.select("position", "item_id", "content", embed("item_id", "image", "title").alias("embedding"))


def _written(parts: EmbeddedParts, numbers: list[int], embedded: DataFrame) -> DataFrame:
    """How many items each partition had, once it is a part."""
    run = embedded.sparkSession.sparkContext.applicationId

    def write(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        from pyspark import TaskContext

        task: Any = TaskContext.get()  # there is one in executors
        items = parts.write(numbers[task.partitionId()], batches, f"{run}-{task.taskAttemptId()}")
        yield pa.record_batch({"items": [items]})

    return embedded.mapInArrow(write, "items bigint")


@contextmanager
def _told_by_spark() -> Iterator[None]:
    """Raise what an executor's traceback ends with.

    Raises:
        DataError: an executor has found bad data.
        StageError: the job has failed otherwise.
    """
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    try:
        yield
    except (PySparkException, Py4JError) as error:
        if bad_data := re.search(r"^mim_tf\.errors\.DataError: (.*)$", str(error), re.MULTILINE):
            raise DataError(bad_data[1]) from error
        raise StageError(f"Spark's job must end. Received: {said(error)}") from error


def _in_order(parts: EmbeddedParts, dim: int) -> Iterator[Embedded]:
    for table in parts.in_order(FILES_AT_ONCE):
        for batch in table.to_batches(max_chunksize=_READ_ROWS):
            ids, contents = (batch[name].to_numpy(zero_copy_only=False) for name in ("item_id", "content"))
            yield Embedded(ids, contents, batch["embedding"].flatten().to_numpy().reshape(-1, dim))


@contextmanager
def _followed(parts: EmbeddedParts) -> Iterator[None]:
    """Show on a terminal how many parts are there."""
    ended, missing = threading.Event(), len(parts.missing())

    def follow() -> None:
        with tqdm(desc="embedded", total=missing, unit="file", disable=None) as bar:
            while not ended.wait(1):  # second
                bar.update(missing - len(parts.missing()) - bar.n)

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
