"""The folder of one preparation's records: which columns each kind gets, in which order its rows lie."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import ibis
import ibis.expr.types as ir
import pyarrow as pa

from mim_tf.data.catalogue_writer import write_catalogue
from mim_tf.data.chosen_rows import pack
from mim_tf.data.hashing import hashed
from mim_tf.data.images import IMAGE
from mim_tf.data.record_schema import (
    FIELDS,
    HELD_OUT_ITEMS,
    QUERY_EMBEDDING,
    TRAIN,
    TRAIN_ITEMS,
    VALIDATION,
    RecordSchema,
    Shard,
)
from mim_tf.data.record_writer import write_shards
from mim_tf.data.sources import ROW
from mim_tf.data.workspace import Workspace

# Up to two images a row: few rows at a time keep memory small. An impression is a few hundred bytes.
_ROWS_WITH_IMAGES, _ROWS = 256, 8192


class RecordFolder:
    """Writes the records of each kind; the rows of what trains are shuffled by a hash of their keys.

    Attributes:
        folder: where they are.
    """

    def __init__(
        self,
        folder: Path,
        workspace: Workspace,
        *,
        shards: int,
        seed: int,
        progress: Callable[[str, int, int], None],
    ) -> None:
        self._written: dict[str, list[Shard]] = {}
        self._features: dict[str, str] = {}
        self.folder = folder
        self._workspace, self._progress = workspace, progress
        self._shards, self._seed = shards, seed

    def items(self, items: ir.Table, images: ir.Table) -> None:
        """Write both splits of the catalogue and its index.

        Args:
            items: `ROW, item_id, item_row, title, category, held_out`, perhaps `neighbours`.
            images: by `ROW`.
        """
        in_split = ibis.window(group_by="held_out", order_by=hashed(self._seed, items.item_id))
        items = self._workspace.keep(items.mutate(position=ibis.row_number().over(in_split)))
        for name, wanted in ((TRAIN_ITEMS, ~items.held_out), (HELD_OUT_ITEMS, items.held_out)):
            split = items.filter(wanted)
            rows = split.inner_join(images, ROW).order_by("position").select(*FIELDS["items"])
            self._write(name, rows, self._workspace.count(split), _ROWS_WITH_IMAGES)
        listed = items.order_by("item_row").drop(ROW, "title", "item_row").to_pyarrow()
        write_catalogue(self.folder, listed, self._written[TRAIN_ITEMS], self._written[HELD_OUT_ITEMS])

    def pairs(self, name: str, pairs: ir.Table, items: ir.Table, images: ir.Table, queries: ir.Table) -> None:
        """Write one split of the pairs.

        Args:
            name: `<kind>/<split>`.
            pairs: `key, query, query_item_id, item_id, chosen_rows`; `query` is its image's `ROW`.
            items: `ROW, item_id, item_row, title`.
            images: the items', by `ROW`.
            queries: the queries' images, by `ROW`.
        """
        shown = items.inner_join(images, ROW).select("item_id", "item_row", "title", IMAGE)
        asked = queries.select(query=ROW, query_image=IMAGE)
        rows = pairs.inner_join(asked, "query").inner_join(shown, "item_id")
        rows = rows.order_by(hashed(self._seed, rows.key)).select(*FIELDS["pairs"])
        self._write(name, rows, self._workspace.count(pairs), _ROWS_WITH_IMAGES)

    def impressions(self, train: ir.Table, validation: ir.Table, features: dict[str, str]) -> None:
        """Write both splits of the impressions; validation stays in the order of time.

        Args:
            train: with the fields that all have, those of features, perhaps `query_embedding`, and `history`.
            validation: likewise.
            features: the fields of features and their types.
        """
        self._features = features
        wanted = {*FIELDS["impressions"], *features, QUERY_EMBEDDING}
        keys = (train.user_id, train.item_id, train.timestamp, train[ROW])
        for name, rows in (
            (TRAIN, train.order_by(hashed(self._seed, *keys))),
            (VALIDATION, validation.order_by("timestamp", ROW)),
        ):
            fields = [field for field in rows.columns if field in wanted]
            self._write(name, rows.select(*fields, "history"), self._workspace.count(rows), _ROWS)

    def save_schema(self, item_id: str, user_id: str | None, history_length: int | None, query_dim: int | None) -> None:
        """Write down what was written."""
        counts = {name: sum(shard.records for shard in shards) for name, shards in self._written.items()}
        schema = RecordSchema(item_id, user_id, history_length, counts, self._written, self._features, query_dim)
        schema.save(str(self.folder))

    def _write(self, name: str, rows: ir.Table, total: int, at_once: int) -> None:
        batches = map(_packed, self._workspace.stream(rows, at_once))
        self._written[name] = write_shards(
            self.folder, name, batches, total=total, shards=self._shards, progress=self._progress
        )


def _packed(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Batches of pairs hold lists of rows; records hold one value per field."""
    place = batch.schema.get_field_index("chosen_rows")
    return batch if place < 0 else batch.set_column(place, "chosen_rows", pack(batch.column(place)))
