"""Records of impressions: a stretch of one user's impressions, and the behaviours before them, each once."""

from __future__ import annotations

from collections.abc import Sequence

import ibis
import ibis.expr.types as ir

from mim_tf.data.record_schema import HISTORY_END, HISTORY_PREFIX, IMPRESSION_SPLITS, ITEM_PREFIX
from mim_tf.data.sessions import EARLIER, PAUSED, POSITION, SPLIT, STRETCH
from mim_tf.data.sources import ROW
from mim_tf.data.workspace import PLACE, SPLIT_NUMBER

IS_BEHAVIOUR = "__is_behaviour"
"""Which rows of a record are its behaviours, 1, and which its impressions, 0."""
BEHAVIOURS_FROM, BEHAVIOURS_UNTIL = "__behaviours_from", "__behaviours_until"
"""The positions of the behaviours that a record needs, the last exclusive."""
COUNT, WITHOUT_HISTORY = "__count", "__without_history"
_HISTORY_FIELDS = ("item_id", "category", "timestamp")
_BLOCK, _PER_BLOCK = "__block", 32
RECORD = ["user_id", SPLIT, STRETCH]
"""What tells records apart."""
ROWS_OF_RECORD = [PLACE, IS_BEHAVIOUR, POSITION]
"""The order of `rows_of`."""


def records_of(impressions: ir.Table, history_length: int) -> ir.Table:
    """The records that impressions make.

    Args:
        impressions: as `in_order` gives them, those of a split.
        history_length: behaviours that each looks back on.

    Returns:
        `user_id, SPLIT, STRETCH, SPLIT_NUMBER, BEHAVIOURS_FROM, BEHAVIOURS_UNTIL`; `COUNT` impressions, of which
        `WITHOUT_HISTORY` have no behaviour before them.
    """
    records = impressions.group_by(RECORD).aggregate(
        **{
            BEHAVIOURS_FROM: ibis.greatest(impressions[EARLIER].min() - history_length, 0),
            BEHAVIOURS_UNTIL: impressions[EARLIER].max(),
            COUNT: impressions.count(),
            WITHOUT_HISTORY: impressions.count(where=impressions[EARLIER] == 0),
        }
    )
    numbers = {split: number for number, split in enumerate(IMPRESSION_SPLITS)}
    return records.mutate(**{SPLIT_NUMBER: records[SPLIT].cases(*numbers.items()).cast("int8")})


def behaviours_of(impressions: ir.Table, item_features: Sequence[str] = ()) -> ir.Table:
    """What users chose: the rows with label 1, numbered per user in the order of time, then of items, from 0.

    Args:
        impressions: of both splits, with `ROW, user_id, item_id, category, timestamp, label`, and `item_<name>` for
            each feature.
        item_features: names of the items' features.

    Returns:
        `user_id, history_item_id, history_category, history_timestamp`, `history_<name>` for each feature, `POSITION`.
    """
    chosen = impressions.filter(impressions.label == 1)
    in_order = ibis.window(group_by="user_id", order_by=["timestamp", "item_id", ROW])
    fields = {HISTORY_PREFIX + name: chosen[name] for name in _HISTORY_FIELDS}
    fields |= {HISTORY_PREFIX + name: chosen[ITEM_PREFIX + name] for name in item_features}
    return chosen.select("user_id", **fields, **{POSITION: ibis.row_number().over(in_order)})


def rows_of(records: ir.Table, impressions: ir.Table, fields: Sequence[str], behaviours: ir.Table) -> ir.Table:
    """The rows that records are written from: one for each impression, and one for each behaviour.

    Sorted by `ROWS_OF_RECORD`, a record is a run of rows, first its impressions. So no engine has to hold a record, or
    lists of anything.

    Args:
        records: as `records_of` gives them, with `PLACE`.
        impressions: as in `records_of`.
        fields: what is kept of each impression.
        behaviours: as `behaviours_of` gives them.

    Returns:
        `SPLIT_NUMBER, PLACE, IS_BEHAVIOUR, POSITION, user_id`; of impressions `fields, HISTORY_END, PAUSED`, and of
        behaviours the fields that begin with `history_`, null on the others' rows.
    """
    kept = records.select(*RECORD, SPLIT_NUMBER, PLACE, BEHAVIOURS_FROM)
    shown = impressions.inner_join(kept, RECORD)
    ends = {HISTORY_END: shown[EARLIER] - shown[BEHAVIOURS_FROM]}
    is_none = {IS_BEHAVIOUR: ibis.literal(0, "int8")}
    shown = shown.select(SPLIT_NUMBER, PLACE, POSITION, "user_id", *fields, PAUSED, **ends, **is_none)
    needed = _needed(records, behaviours).mutate(**{IS_BEHAVIOUR: ibis.literal(1, "int8")})
    return ibis.union(_filled(shown, needed), _filled(needed, shown))


def _needed(records: ir.Table, behaviours: ir.Table) -> ir.Table:
    """The behaviours of each record, with its `PLACE`.

    Both sides are joined by blocks of positions, so that a behaviour meets the few records that need it and not all
    of its user's, however many these are.
    """
    first, until = records[BEHAVIOURS_FROM], records[BEHAVIOURS_UNTIL]
    blocks = ibis.range(first // _PER_BLOCK, (until + _PER_BLOCK - 1) // _PER_BLOCK)
    columns = ("user_id", SPLIT_NUMBER, PLACE, BEHAVIOURS_FROM, BEHAVIOURS_UNTIL)
    needs = records.select(*columns, **{_BLOCK: blocks.unnest()})
    behaviours = behaviours.mutate(**{_BLOCK: behaviours[POSITION] // _PER_BLOCK})
    met = needs.inner_join(behaviours, ["user_id", _BLOCK])
    met = met.filter((met[POSITION] >= met[BEHAVIOURS_FROM]) & (met[POSITION] < met[BEHAVIOURS_UNTIL]))
    return met.drop(_BLOCK, BEHAVIOURS_FROM, BEHAVIOURS_UNTIL)


def _filled(rows: ir.Table, others: ir.Table) -> ir.Table:
    """The rows with the columns of others too, null there, all in one order."""
    missing = {name: ibis.null(others[name].type()) for name in others.columns if name not in rows.columns}
    rows = rows.mutate(**missing)
    return rows.select(sorted(rows.columns))
