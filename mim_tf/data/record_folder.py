"""The folder of one preparation's records: which columns each kind gets, in which order its rows lie."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import ibis
import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.compute as pc

from mim_tf.data.catalogue_writer import in_catalogue_order, write_catalogue
from mim_tf.data.hashing import hashed
from mim_tf.data.histories import (
    COUNT,
    RECORD,
    ROWS_OF_RECORD,
    WITHOUT_HISTORY,
    records_of,
    rows_of,
)
from mim_tf.data.images import IMAGE
from mim_tf.data.numbering import numbered
from mim_tf.data.record_schema import (
    FIELDS,
    HELD_OUT_ITEMS,
    IMPRESSION_SPLITS,
    QUERY_EMBEDDING,
    TRAIN_ITEMS,
    RecordSchema,
    Shard,
)
from mim_tf.data.sessions import SPLIT
from mim_tf.data.sources import ROW
from mim_tf.data.workspace import PLACE, SPLIT_NUMBER, Workspace

# Up to two images a row: few rows at a time keep memory small. An impression is a hundred bytes.
_AT_ONCE, _IMPRESSIONS_AT_ONCE = 256, 32_768
_DIGEST = "__digest"


class RecordFolder:
    """Writes the records of each kind; their order is that of a hash of their keys.

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

    def placed_items(self, items: ir.Table) -> ir.Table:
        """Number the items, in the order of the catalogue and in that of the records of each split, and keep them.

        Args:
            items: computed already: `item_id, category, held_out`, perhaps `neighbours`, and more.

        Returns:
            The items with `item_row` and `PLACE`.
        """
        in_order = self._digested(in_catalogue_order(items, self._seed), "item_id")
        counted = self._digested(items, "item_id")
        placed = numbered(in_order, PLACE, _DIGEST, within=["held_out"], counted=counted)
        return self._workspace.keep(placed.drop(_DIGEST))

    def items(self, items: ir.Table, images: ir.Table, listed: pa.Table) -> None:
        """Write both splits of the catalogue and its index.

        Args:
            items: as `placed_items` gives them: `ROW, item_id, item_row, title, category, held_out, PLACE`.
            images: by `ROW`.
            listed: the items as `write_catalogue` takes them.
        """
        rows = items.inner_join(images, ROW)
        rows = rows.select(*FIELDS["items"], PLACE, **{SPLIT_NUMBER: rows.held_out.cast("int8")})
        held_out = pc.sum(listed["held_out"]).as_py()
        self._write(rows, {TRAIN_ITEMS: len(listed) - held_out, HELD_OUT_ITEMS: held_out})
        write_catalogue(self.folder, listed, self._written[TRAIN_ITEMS], self._written[HELD_OUT_ITEMS])

    def pairs(
        self, name: str, pairs: ir.Table, items: ir.Table, images: ir.Table, queries: ir.Table, *, total: int
    ) -> None:
        """Write one split of the pairs.

        Args:
            name: `<kind>/<split>`.
            pairs: `key, query, query_item_id, item_id, chosen_rows`; `query` is its image's `ROW`.
            items: `ROW, item_id, item_row, title`.
            images: the items', by `ROW`.
            queries: the queries' images, by `ROW`.
            total: how many pairs there are.
        """
        pairs = self._workspace.keep(self._digested(pairs, "key"))
        shown = items.inner_join(images, ROW).select("item_id", "item_row", "title", IMAGE)
        asked = queries.select(query=ROW, query_image=IMAGE)
        rows = numbered(pairs, PLACE, _DIGEST).inner_join(asked, "query").inner_join(shown, "item_id")
        rows = rows.select(*FIELDS["pairs"], PLACE, **{SPLIT_NUMBER: ibis.literal(0, "int8")})
        self._write(rows, {name: total})

    def impressions(
        self,
        impressions: ir.Table,
        behaviours: ir.Table,
        features: dict[str, str],
        history_length: int,
    ) -> dict[str, float]:
        """Write both splits of the impressions.

        Args:
            impressions: as `in_order` gives them, computed already: with `SPLIT`, the fields that all have, those of
                features, perhaps `query_embedding`.
            behaviours: as `behaviours_of` gives them, computed already.
            features: the fields of features and their types.
            history_length: behaviours per impression, at most.

        Returns:
            Figures of each split: its impressions, and the share of them that have no history.
        """
        self._features = features
        wanted = {*FIELDS["impressions"], *features, QUERY_EMBEDDING} - {"user_id"}
        fields = [field for field in impressions.columns if field in wanted]
        records = self._workspace.keep(self._digested(records_of(impressions, history_length), *RECORD))
        records = self._workspace.keep(numbered(records, PLACE, _DIGEST, within=[SPLIT]).drop(_DIGEST))
        counted = _counted(records)
        totals = {name: counted[split]["records"] for split, name in IMPRESSION_SPLITS.items()}
        rows = rows_of(records, impressions, fields, behaviours)
        self._write(rows, totals, ROWS_OF_RECORD, _IMPRESSIONS_AT_ONCE)
        return _figures(counted)

    def save_schema(self, item_id: str, user_id: str | None, history_length: int | None, query_dim: int | None) -> None:
        """Write down what was written."""
        counts = {name: sum(shard.examples for shard in shards) for name, shards in self._written.items()}
        schema = RecordSchema(item_id, user_id, history_length, counts, self._written, self._features, query_dim)
        schema.save(str(self.folder))

    def _digested(self, rows: ir.Table, *keys: str) -> ir.Table:
        return rows.mutate(**{_DIGEST: hashed(self._seed, *(rows[key] for key in keys))})

    def _write(
        self, rows: ir.Table, totals: dict[str, int], order: Sequence[str] = (PLACE,), at_once: int = _AT_ONCE
    ) -> None:
        self._written |= self._workspace.write_records(
            rows,
            self.folder,
            totals,
            order=order,
            shards=self._shards,
            at_once=at_once,
            progress=self._progress,
        )


def _counted(records: ir.Table) -> dict[str, dict[str, int]]:
    """Of each split the records, their impressions, and how many of these are without a history."""
    counts = {name: records[of].sum().cast("int64") for name, of in (("all", COUNT), ("without", WITHOUT_HISTORY))}
    counted = records.group_by(SPLIT).aggregate(records=records.count(), **counts)
    return {row.pop(SPLIT): row for row in counted.to_pyarrow().to_pylist()}


def _figures(counted: dict[str, dict[str, int]]) -> dict[str, float]:
    figures: dict[str, float] = {}
    for split, counts in counted.items():
        figures[f"impressions_{split}"] = counts["all"]
        figures[f"empty_history_share_{split}"] = counts["without"] / counts["all"]
    return figures
