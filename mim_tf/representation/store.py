"""The table's durable, versioned truth: a Lance dataset with one row per item."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import lance
import numpy as np
import pyarrow as pa

from mim_tf.errors import StageError

_ID_TYPES = {"int64": pa.int64(), "string": pa.string()}


class StoredEmbeddings(NamedTuple):
    """A whole store in memory, in row order."""

    item_ids: np.ndarray  # [items] int64, or object holding str
    embeddings: np.ndarray  # [items, dim] float16; an item's position is its row number
    encoder: str  # fingerprint of the encoder that made them
    version: int  # of the store


class EmbeddingStore:
    """Embeddings of one encoder, appended in transactions; every commit is a version.

    Columns: `item_id`, `row` (the item's row in every table built from here, assigned by the store), `embedding`
    (float16), `encoder` (fingerprint), `updated_at`. An interrupted append leaves the version before it.

    Args:
        path: folder of an existing store.

    Raises:
        StageError: there is no store at `path`.
    """

    def __init__(self, path: str | Path):
        self.path = str(path)
        try:
            self._dataset = lance.dataset(self.path)
        except ValueError as error:
            raise StageError(f"{self.path} is no embedding store.") from error

    @classmethod
    def create(cls, path: str | Path, *, id_type: str, dim: int) -> EmbeddingStore:
        """An empty store.

        Args:
            path: a folder that is empty or does not exist yet.
            id_type: `int64` or `string`.
            dim: dimension of the embeddings.
        """
        if id_type not in _ID_TYPES:
            raise ValueError(f"`id_type` must be one of {', '.join(sorted(_ID_TYPES))}. Received: {id_type!r}.")
        schema = pa.schema(
            {
                "item_id": _ID_TYPES[id_type],
                "row": pa.int64(),
                "embedding": pa.list_(pa.float16(), dim),
                "encoder": pa.string(),
                "updated_at": pa.timestamp("us", "UTC"),
            }
        )
        lance.write_dataset(schema.empty_table(), str(path), mode="create")
        return cls(path)

    def __len__(self) -> int:
        return int(self._dataset.count_rows())

    @property
    def dim(self) -> int:
        """Dimension of the embeddings."""
        return int(self._dataset.schema.field("embedding").type.list_size)

    @property
    def version(self) -> int:
        """The latest version's number."""
        return int(self._dataset.version)

    @property
    def encoder(self) -> str | None:
        """Fingerprint of the encoder of all rows; None while there are none."""
        first = self._dataset.to_table(columns=["encoder"], limit=1)
        return first["encoder"][0].as_py() if len(first) else None

    def append(self, item_ids: np.ndarray, embeddings: np.ndarray, *, encoder: str) -> None:
        """Commit the embeddings of new items as one version; each gets the next free row.

        Args:
            item_ids: `[items]`, none of them in the store.
            embeddings: `[items, dim]`, kept as float16.
            encoder: fingerprint of the encoder that made them.

        Raises:
            ValueError: shapes that do not fit, a value that is not finite in float16, or another encoder than the
                store's.
        """
        if embeddings.shape != (len(item_ids), self.dim):
            raise ValueError(
                f"`embeddings` must have the shape {(len(item_ids), self.dim)}. Received: {embeddings.shape}."
            )
        if self.encoder not in (None, encoder):
            raise ValueError(f"`encoder` must be {self.encoder}, the one of all rows. Received: {encoder}.")
        halves = embeddings.astype(np.float16)
        if not np.isfinite(halves).all():
            bad = item_ids[int(np.flatnonzero(~np.isfinite(halves).all(axis=1))[0])]
            raise ValueError(f"`embeddings` must be finite in float16. Received: item {bad!r} with another value.")
        schema, first_row = self._dataset.schema, len(self)
        table = pa.table(
            {
                "item_id": pa.array(item_ids, schema.field("item_id").type),
                "row": np.arange(first_row, first_row + len(item_ids)),
                "embedding": pa.FixedSizeListArray.from_arrays(pa.array(halves.ravel()), self.dim),
                "encoder": pa.array([encoder] * len(item_ids)),
                "updated_at": pa.array([datetime.now(UTC)] * len(item_ids), pa.timestamp("us", "UTC")),
            },
            schema=schema,
        )
        self._dataset = lance.write_dataset(table, self.path, mode="append")

    def read(self) -> StoredEmbeddings:
        """The whole store in memory, in row order.

        Raises:
            StageError: the store is empty.
        """
        table = self._dataset.to_table(columns=["item_id", "row", "embedding"]).sort_by("row")
        encoder = self.encoder
        if encoder is None:
            raise StageError(f"{self.path} holds no embeddings.")
        embeddings = table["embedding"].combine_chunks().flatten().to_numpy().reshape(-1, self.dim)
        return StoredEmbeddings(table["item_id"].to_numpy(), embeddings, encoder, self.version)
