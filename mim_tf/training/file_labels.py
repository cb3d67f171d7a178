"""What the store holds, dealt by Spark to the files whose items it is of: neither driver nor executor holds it all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lance
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mim_tf.data.catalogue_writer import CATALOGUE_FILE
from mim_tf.representation import EmbeddingStore, Labels
from mim_tf.representation.store_records import IN_USE

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

SQL_TYPES = {"int64": "bigint", "string": "string"}
_ITEMS_AT_ONCE = 2**20  # of the catalogue, per task


class FileLabels:
    """The labels of the items of one file of records, in memory.

    Args:
        folder: that `deal_labels` wrote; None if the store held nothing.
        number: of the file.
    """

    def __init__(self, folder: Path | None, number: int) -> None:
        self._places: dict[int | str, int] = {}
        self._contents: np.ndarray = np.array([None], object)
        self._times = np.array(["NaT"], "datetime64[us]")  # the last one is that of an unknown item
        if folder is not None and (path := folder / f"file={number}").exists():
            table = pq.read_table(path, partitioning=None)
            self._places = {item: place for place, item in enumerate(table["item_id"].to_pylist())}
            self._contents = np.append(table["content"].to_numpy(), self._contents)
            self._times = np.append(table["event_time"].cast(pa.timestamp("us")).to_numpy(), self._times)

    def of(self, item_ids: np.ndarray) -> Labels:
        """As `EmbeddingStore.labels_of` gives them.

        Args:
            item_ids: `[items]`.
        """
        places = [self._places.get(item, -1) for item in item_ids.tolist()]
        return Labels(self._contents[places], self._times[places])


def deal_labels(session: SparkSession, store: EmbeddingStore, records: str, files: Sequence[str], folder: Path) -> None:
    """Write into `folder` what the store holds of each file's items, for `FileLabels`.

    Executors read the columns of the store and of the catalogue, a join brings them together: all is in one place at no
    time.

    Args:
        session: of Spark.
        store: that all executors can open.
        records: folder of the records, with their catalogue.
        files: of item records, as the catalogue names them; a file's number is its place.
        folder: that all executors see; what is in it is replaced.
    """
    labels = _stored_labels(session, store)
    joined = _listed(session, store.id_type, Path(records) / CATALOGUE_FILE, list(files)).join(labels, "item_id")
    joined.repartition("file").write.partitionBy("file").parquet(str(folder), mode="overwrite")


def _stored_labels(session: SparkSession, store: EmbeddingStore) -> DataFrame:
    """`item_id, content, event_time` (microseconds) of the newest version; its fragments are shared among the tasks."""
    path, version = store.path, store.version
    fragments = [fragment.fragment_id for fragment in lance.dataset(path, version=version).get_fragments()]
    tasks = min(len(fragments), 4 * session.sparkContext.defaultParallelism)

    def read(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        dataset: Any = lance.dataset(path, version=version)
        columns = ["item_id", "content", "event_time"]
        for batch in batches:
            for task in batch["id"].to_pylist():
                mine = [dataset.get_fragment(number) for number in fragments[task::tasks]]
                yield from dataset.scanner(columns=columns, filter=IN_USE, fragments=mine).to_batches()

    types = f"item_id {SQL_TYPES[store.id_type]}, content string, event_time timestamp"
    labels = session.range(0, tasks, 1, tasks).mapInArrow(read, types)
    return labels.selectExpr("item_id", "content", "unix_micros(event_time) AS event_time")


def _listed(session: SparkSession, id_type: str, catalogue: Path, files: list[str]) -> DataFrame:
    """`item_id, file` of all items."""
    items = pa.ipc.open_file(pa.memory_map(str(catalogue))).read_all().num_rows
    tasks = max(1, -(-items // _ITEMS_AT_ONCE))

    places = {name: number for number, name in enumerate(files)}

    def read(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        table = pa.ipc.open_file(pa.memory_map(str(catalogue))).read_all().select(["item_id", "shard"])
        for batch in batches:
            for task in batch["id"].to_pylist():
                rows = table.slice(task * _ITEMS_AT_ONCE, _ITEMS_AT_ONCE)
                names = rows["shard"].combine_chunks()
                numbers = np.array([places[name] for name in names.dictionary.to_pylist()], np.int64)
                yield pa.record_batch(
                    {"item_id": rows["item_id"].combine_chunks(), "file": numbers[names.indices.to_numpy()]}
                )

    return session.range(0, tasks, 1, tasks).mapInArrow(read, f"item_id {SQL_TYPES[id_type]}, file bigint")
