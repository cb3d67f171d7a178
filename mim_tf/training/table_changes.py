"""What brings a training's embedding table from one version of the store to another."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from mim_tf.representation import EmbeddingTable, StoredEmbeddings

_ITEMS_AT_ONCE = 2**16  # that a table is given; what it takes beside its rows
_SINCE, _VERSION = b"since", b"version"  # keys of the file's metadata


class TableChanges(NamedTuple):
    """New and changed items, with the rows that the store gave them."""

    item_ids: np.ndarray  # [items] int64, or object holding str
    rows: np.ndarray  # [items] int64
    embeddings: np.ndarray  # [items, dim] float16
    since: int  # the version that they are changes of
    version: int  # the one that they lead to

    @classmethod
    def of(cls, stored: StoredEmbeddings, since: int) -> TableChanges:
        """A store's changes since a version."""
        return cls(stored.item_ids, stored.rows, stored.embeddings, since, stored.version)

    def apply(self, table: EmbeddingTable) -> None:
        """Bring a table that has `since` to `version`.

        Raises:
            ValueError: a row is past its end. It is as it was.
        """
        last = int(self.rows.max(initial=-1))
        if last >= table.capacity:
            raise ValueError(f"version {self.version} has a row {last}, and the table ends at {table.capacity}.")
        for begin in range(0, max(1, len(self.rows)), _ITEMS_AT_ONCE):
            end = begin + _ITEMS_AT_ONCE
            given = (self.item_ids[begin:end], self.rows[begin:end], self.embeddings[begin:end])
            version = self.version if end >= len(self.rows) else self.since
            table.upsert(*given, since=self.since, version=version)

    def save(self, path: Path) -> None:
        """Write what `load` reads; the file appears whole."""
        numbers = {_SINCE: str(self.since), _VERSION: str(self.version)}
        embeddings = pa.FixedSizeListArray.from_arrays(pa.array(self.embeddings.ravel()), self.embeddings.shape[1])
        columns = {"item_id": pa.array(self.item_ids), "row": pa.array(self.rows), "embedding": embeddings}
        table = pa.table(columns).replace_schema_metadata(numbers)
        aside = path.with_name(path.name + ".partial")
        with pa.OSFile(str(aside), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
        os.replace(aside, path)

    @classmethod
    def load(cls, path: Path) -> TableChanges:
        """What `save` wrote."""
        with pa.OSFile(str(path)) as file:
            table = pa.ipc.open_file(file).read_all().combine_chunks()
        ids, rows = (table[name].to_numpy() for name in ("item_id", "row"))
        embeddings = table["embedding"].combine_chunks()
        matrix = embeddings.flatten().to_numpy().reshape(-1, embeddings.type.list_size)
        return cls(ids, rows, matrix, *(int(table.schema.metadata[name]) for name in (_SINCE, _VERSION)))
