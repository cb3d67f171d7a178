"""The data contract: which columns the shop's tables must have, checked before anything else is done with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import ibis
import ibis.expr.types as ir

from mim_tf.data.column_checks import ColumnChecks
from mim_tf.data.feature_checks import check_features
from mim_tf.data.feature_columns import FeatureColumns
from mim_tf.data.sources import Source
from mim_tf.errors import DataError

_NO_FEATURES = FeatureColumns()


@dataclass(frozen=True)
class Checked:
    """One table after the check.

    Attributes:
        source: where it comes from; image bytes are still there only.
        rows: the columns preparation uses, with the types of the contract, and `FILE` and `ROW`.
    """

    source: Source
    rows: ir.Table


@dataclass(frozen=True)
class Contract:
    """The tables after the check.

    Attributes:
        items: `item_id, title, category`, perhaps `neighbours`, and `image_path` where the images are files of their
            own; the features under `FEATURE` and their name, perhaps `FIRST_SEEN`.
        impressions: `user_id, item_id, timestamp, label`, perhaps `action` and `query_embedding`, and the features by
            their names, if the shop has such a log.
        pairs: `item_id, action`, perhaps `user_id`, `timestamp` and `query_image_path`, if the shop has such a log.
        validation_pairs: likewise.
        query_dim: the length of the queries' embeddings; None where the impressions have none.
    """

    items: Checked
    impressions: Checked | None
    pairs: Checked | None
    validation_pairs: Checked | None
    query_dim: int | None

    @property
    def tables(self) -> list[Checked]:
        """All tables that there are."""
        tables = (self.items, self.impressions, self.pairs, self.validation_pairs)
        return [table for table in tables if table is not None]


def check_contract(
    items: Source,
    impressions: Source | None,
    pairs: Source | None,
    validation_pairs: Source | None = None,
    *,
    title_columns: Sequence[str] = ("title",),
    neighbours: str | None = None,
    features: FeatureColumns = _NO_FEATURES,
) -> Contract:
    """Check all tables against the contract.

    Args:
        items: `item_id` (int64 or string), the title columns, `category`, and `image` (bytes) or `image_path`.
        impressions: `user_id`, `item_id`, `timestamp` (int64, seconds) and `label` (0 or 1), and perhaps `action`
            and `query_embedding` (a list of floats, or null).
        pairs: `query_image` (bytes) or `query_image_path`, `item_id`, `action`, and perhaps `user_id` and `timestamp`.
        validation_pairs: as `pairs`.
        title_columns: the columns of items that make its title, joined by ". ", empty ones left out.
        neighbours: the column of items that holds broader categories, as strings or int64.
        features: the columns of items and impressions that become features: int64, float or string.

    Returns:
        The tables as preparation reads them.

    Raises:
        DataError: the tables break the contract; the message lists every violation.
    """
    if not title_columns:
        raise DataError("`data.title` must name at least one column. Received: none.")
    check = ColumnChecks()
    _check_items(check, items, title_columns, neighbours)
    searches = [source for source in (pairs, validation_pairs) if source]
    check.ids("item_id", items, [*([impressions] if impressions else []), *searches])
    if impressions:
        check.ids("user_id", impressions, [source for source in searches if "user_id" in source.columns])
        check.column(impressions, "timestamp", "int64")
        check.column(impressions, "label", "int64")
        check.perhaps(impressions, "action", "string")
    for source in searches:
        check.column(source, "action", "string")
        check.image(source, "query_image")
        check.perhaps(source, "timestamp", "int64")
        if not impressions:
            check.perhaps(source, "user_id", "int64", "string")
    query_dim = check_features(check, features, items, impressions)
    check.raise_violations()
    catalogue = check.table(items)
    if neighbours:
        catalogue = catalogue.mutate(neighbours=catalogue[neighbours].cast("string").fill_null("").strip())
    return Contract(
        Checked(items, catalogue.mutate(title=_title(catalogue, title_columns))),
        _checked(check, impressions),
        _checked(check, pairs),
        _checked(check, validation_pairs),
        query_dim,
    )


def _checked(check: ColumnChecks, log: Source | None) -> Checked | None:
    return Checked(log, check.table(log)) if log else None


def _check_items(check: ColumnChecks, items: Source, title_columns: Sequence[str], neighbours: str | None) -> None:
    for name in title_columns:
        check.column(items, name, "string")
    check.column(items, "category", "string", "int64")
    if neighbours:
        check.column(items, neighbours, "string", "int64")
    check.image(items, "image")


def _title(items: ir.Table, columns: Sequence[str]) -> ir.Value:
    title: ir.Value = ibis.literal("")
    for name in columns:
        part = items[name].fill_null("").strip()
        joined = ibis.ifelse(title == "", part, title + ibis.literal(". ") + part)
        title = ibis.ifelse(part == "", title, joined)
    return title
