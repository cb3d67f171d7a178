"""Item records as executors of Spark read them: a file is a partition, and what the store holds is left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import tensorflow as tf

from mim_tf.data.content_digest import content_digest
from mim_tf.data.record_parser import RecordParser
from mim_tf.data.record_schema import TRAIN_ITEMS, RecordSchema
from mim_tf.errors import DataError
from mim_tf.training.changed_items import lacks, plain_ids
from mim_tf.training.executor_threads import take_task_threads
from mim_tf.training.file_labels import FileLabels

_READ_AT_ONCE, _READ_BUFFER_BYTES = 64, 8 * 2**20


@dataclass(frozen=True)
class ExecutorItems:
    """Files of item records that executors read.

    Attributes:
        schema: of the records.
        paths: of all files of items, for every executor the same.
        numbers: of those to read.
        labels: folder of what the store holds of each file's items; None if it holds nothing.
        known_at: when the items were as they are, UTC.
    """

    schema: RecordSchema
    paths: Sequence[str]
    numbers: Sequence[int]
    labels: Path | None
    known_at: np.datetime64

    def lacking(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The items that the store holds neither as they are nor newer; for `mapInArrow`.

        Args:
            batches: with one column, `id`: places in `numbers`.

        Returns:
            Batches of `position` (number of the record in its file), `item_id`, `content` (digest), `title` and `image`
            (encoded bytes), a few records each.

        Raises:
            DataError: a file is missing or damaged.
        """
        take_task_threads()
        for batch in batches:
            for place in batch["id"].to_pylist():
                yield from self._lacking_of(self.numbers[place])

    def _lacking_of(self, number: int) -> Iterator[pa.RecordBatch]:
        known, position = FileLabels(self.labels, number), 0
        for items in self._items(self.paths[number]):
            titles = plain_ids(items["title"].numpy())
            columns = {
                "position": np.arange(position, position + len(titles)),
                "item_id": plain_ids(items["item_id"].numpy()),
                "content": np.array(list(map(content_digest, titles, items["image"].numpy())), object),
                "title": titles,
                "image": items["image"].numpy(),
            }
            position += len(titles)
            lacking = lacks(known.of(columns["item_id"]), columns["content"], self.known_at)
            if lacking.any():
                yield pa.record_batch({name: pa.array(column[lacking]) for name, column in columns.items()})

    def _items(self, path: str) -> Iterator[Mapping[str, tf.Tensor]]:
        parse = RecordParser(self.schema, TRAIN_ITEMS)  # held-out items have the same fields
        try:
            for examples in tf.data.TFRecordDataset(path, buffer_size=_READ_BUFFER_BYTES).batch(_READ_AT_ONCE):
                yield parse(examples)
        except tf.errors.NotFoundError as error:
            raise DataError(f"`{path}` must exist for every executor. Received: no such file.") from error
        except tf.errors.DataLossError as error:
            raise DataError(f"`{path}` must be an intact TFRecord file. Received: {error.message}") from error
