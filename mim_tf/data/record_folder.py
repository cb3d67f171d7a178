"""The folder of one preparation's records: which columns each kind gets, in which order its rows lie."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import ibis.expr.types as ir

from mim_tf.data.catalogue_writer import write_catalogue
from mim_tf.data.hashing import hashed
from mim_tf.data.histories import (
    COUNT,
    RECORD,
    ROWS_OF_RECORD,
    WITHOUT_HISTORY,
    behaviours_of,
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
from mim_tf.data.sessions import SPLIT, in_order
from mim_tf.data.sources import ROW
from mim_tf.data.workspace import PLACE, Workspace

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

    def items(self, items: ir.Table, images: ir.Table) -> None:
        """Write both splits of the catalogue and its index.

        Args:
            items: `ROW, item_id, item_row, title, category, held_out`, perhaps `neighbours`.
            images: by `ROW`.
        """
        items = items.mutate(**{_DIGEST: hashed(self._seed, items.item_id)})
        items = self._workspace.keep(numbered(items, PLACE, _DIGEST, within=["held_out"]).drop(_DIGEST))
        for name, wanted in ((TRAIN_ITEMS, ~items.held_out), (HELD_OUT_ITEMS, items.held_out)):
            split = items.filter(wanted)
            rows = split.inner_join(images, ROW).select(*FIELDS["items"], PLACE)
            self._write(name, rows, self._workspace.count(split))
        listed = items.order_by("item_row").drop(ROW, "title", "item_row").rename(position=PLACE).to_pyarrow()
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
        pairs = self._workspace.keep(pairs.mutate(**{_DIGEST: hashed(self._seed, pairs.key)}))
        shown = items.inner_join(images, ROW).select("item_id", "item_row", "title", IMAGE)
        asked = queries.select(query=ROW, query_image=IMAGE)
        rows = numbered(pairs, PLACE, _DIGEST).inner_join(asked, "query").inner_join(shown, "item_id")
        self._write(name, rows.select(*FIELDS["pairs"], PLACE), self._workspace.count(pairs))

    def impressions(
        self,
        impressions: ir.Table,
        features: dict[str, str],
        item_features: Sequence[str],
        *,
        history_length: int,
        session_seconds: int,
    ) -> dict[str, float]:
        """Write both splits of the impressions.

        Args:
            impressions: with `SPLIT`, the fields that all have, those of features, perhaps `query_embedding`.
            features: the fields of features and their types.
            item_features: names of the items' features.
            history_length: behaviours per impression, at most.
            session_seconds: the longest time between one impression of a session and the next.

        Returns:
            Figures of each split: its impressions, and the share of them that have no history.
        """
        self._features = features
        wanted = {*FIELDS["impressions"], *features, QUERY_EMBEDDING} - {"user_id"}
        fields = [field for field in impressions.columns if field in wanted]
        ordered = in_order(impressions, session_seconds)
        ordered = self._workspace.keep(ordered.filter(ordered[SPLIT].notnull()))
        records = self._workspace.keep(records_of(ordered, history_length))
        behaviours = self._workspace.keep(behaviours_of(impressions, item_features))
        digests = records.select(*RECORD, **{_DIGEST: hashed(self._seed, *(records[key] for key in RECORD))})
        places = numbered(self._workspace.keep(digests), PLACE, _DIGEST, within=[SPLIT]).drop(_DIGEST)
        records = self._workspace.keep(records.inner_join(places, RECORD))
        for split, name in IMPRESSION_SPLITS.items():
            of_split = records.filter(records[SPLIT] == split)
            rows = rows_of(of_split, ordered.filter(ordered[SPLIT] == split), fields, behaviours)
            self._write(name, rows, self._workspace.count(of_split), ROWS_OF_RECORD, _IMPRESSIONS_AT_ONCE)
        return _figures(records)

    def save_schema(self, item_id: str, user_id: str | None, history_length: int | None, query_dim: int | None) -> None:
        """Write down what was written."""
        counts = {name: sum(shard.examples for shard in shards) for name, shards in self._written.items()}
        schema = RecordSchema(item_id, user_id, history_length, counts, self._written, self._features, query_dim)
        schema.save(str(self.folder))

    def _write(
        self, name: str, rows: ir.Table, total: int, order: Sequence[str] = (PLACE,), at_once: int = _AT_ONCE
    ) -> None:
        self._written[name] = self._workspace.write_records(
            rows,
            self.folder,
            name,
            order=order,
            total=total,
            shards=self._shards,
            at_once=at_once,
            progress=self._progress,
        )


def _figures(records: ir.Table) -> dict[str, float]:
    counted = records.group_by(SPLIT).aggregate(
        all=records[COUNT].sum().cast("int64"), without=records[WITHOUT_HISTORY].sum().cast("int64")
    )
    figures = {}
    for row in counted.to_pyarrow().to_pylist():
        figures[f"impressions_{row[SPLIT]}"] = row["all"]
        figures[f"empty_history_share_{row[SPLIT]}"] = row["without"] / row["all"]
    return figures
