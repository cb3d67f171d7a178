"""The folder of one preparation's records: which columns each kind gets, in which order its rows lie."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import ibis.expr.types as ir

from mim_tf.data.hashing import hashed
from mim_tf.data.images import IMAGE
from mim_tf.data.record_schema import FIELDS, HELD_OUT_ITEMS, PAIRS, TRAIN, TRAIN_ITEMS, VALIDATION, RecordSchema, Shard
from mim_tf.data.record_writer import write_shards
from mim_tf.data.sources import ROW
from mim_tf.data.workspace import Workspace

# Up to three images a row: few rows at a time keep memory small. An impression is a few hundred bytes.
_ROWS_WITH_IMAGES, _ROWS = 256, 8192


class RecordFolder:
    """Writes the records of each kind; the rows of what trains are shuffled by a hash of their keys."""

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
        self._folder, self._workspace, self._progress = folder, workspace, progress
        self._shards, self._seed = shards, seed

    def items(self, train: ir.Table, held_out: ir.Table, images: ir.Table) -> None:
        """Write both splits of the catalogue: `ROW, item_id, title, category`, and the images by `ROW`."""
        for name, items in ((TRAIN_ITEMS, train), (HELD_OUT_ITEMS, held_out)):
            rows = items.inner_join(images, ROW)
            rows = rows.order_by(hashed(self._seed, rows.item_id)).select(*FIELDS["items"])
            self._write(name, rows, self._workspace.count(items), _ROWS_WITH_IMAGES)

    def pairs(self, pairs: ir.Table, items: ir.Table, images: ir.Table, queries: ir.Table) -> None:
        """Write the pairs: `key, query, query_item_id, item_id, negative_item_id`; `query` is its image's `ROW`."""
        shown = items.inner_join(images, ROW).select("item_id", "title", IMAGE)
        negatives = shown.rename({f"negative_{name}": name for name in shown.columns})
        asked = queries.select(query=ROW, query_image=IMAGE)
        rows = pairs.inner_join(asked, "query").inner_join(shown, "item_id").inner_join(negatives, "negative_item_id")
        rows = rows.order_by(hashed(self._seed, rows.key)).select(*FIELDS["pairs"])
        self._write(PAIRS, rows, self._workspace.count(pairs), _ROWS_WITH_IMAGES)

    def impressions(self, train: ir.Table, validation: ir.Table) -> None:
        """Write both splits of the impressions with their `history`; validation stays in the order of time."""
        keys = (train.user_id, train.item_id, train.timestamp, train[ROW])
        for name, rows in (
            (TRAIN, train.order_by(hashed(self._seed, *keys))),
            (VALIDATION, validation.order_by("timestamp", ROW)),
        ):
            fields = [field for field in FIELDS["impressions"] if field in rows.columns]
            self._write(name, rows.select(*fields, "history"), self._workspace.count(rows), _ROWS)

    def save_schema(self, item_id: str, user_id: str | None, history_length: int | None) -> None:
        """Write down what was written."""
        counts = {name: sum(shard.records for shard in shards) for name, shards in self._written.items()}
        RecordSchema(item_id, user_id, history_length, counts, self._written).save(str(self._folder))

    def _write(self, name: str, rows: ir.Table, total: int, at_once: int) -> None:
        batches = self._workspace.stream(rows, at_once)
        self._written[name] = write_shards(
            self._folder, name, batches, total=total, shards=self._shards, progress=self._progress
        )
