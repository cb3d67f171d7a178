"""Records of impressions: a stretch of one user's impressions, and the behaviours before them, each once."""

from __future__ import annotations

from collections.abc import Sequence

import ibis
import ibis.expr.types as ir

from mim_tf.data.record_schema import ITEM_PREFIX
from mim_tf.data.sessions import EARLIER, PAUSED, POSITION, SPLIT, STRETCH
from mim_tf.data.sources import ROW

IMPRESSIONS, HISTORY = "impressions", "history"
"""The columns of a record's impressions and behaviours, sorted arrays of structs that begin with `POSITION`."""
BEHAVIOURS_FROM, BEHAVIOURS_UNTIL = "__behaviours_from", "__behaviours_until"
"""The positions of the behaviours that a record needs, the last exclusive."""
COUNT, WITHOUT_HISTORY = "__count", "__without_history"
_HISTORY_FIELDS = ("item_id", "category", "timestamp")
_BLOCK, _PER_BLOCK = "__block", 32
RECORD = ["user_id", SPLIT, STRETCH]
"""What tells records apart."""


def gathered(impressions: ir.Table, fields: Sequence[str], history_length: int) -> ir.Table:
    """Gather the impressions of each record.

    Args:
        impressions: as `in_order` gives them, those of a split.
        fields: what is kept of each, beside what orders it and parts sessions.
        history_length: behaviours that each looks back on.

    Returns:
        `user_id, SPLIT, STRETCH, IMPRESSIONS, BEHAVIOURS_FROM, BEHAVIOURS_UNTIL`; `COUNT` impressions, of which
        `WITHOUT_HISTORY` have no behaviour before them.
    """
    # Sorting the collected structs orders them by position, their first field, on DuckDB and on Spark alike.
    each = ibis.struct({name: impressions[name] for name in (POSITION, *fields, EARLIER, PAUSED)})
    records = impressions.group_by(RECORD).aggregate(
        **{
            IMPRESSIONS: each.collect(),
            BEHAVIOURS_FROM: ibis.greatest(impressions[EARLIER].min() - history_length, 0),
            BEHAVIOURS_UNTIL: impressions[EARLIER].max(),
            COUNT: impressions.count(),
            WITHOUT_HISTORY: impressions.count(where=impressions[EARLIER] == 0),
        }
    )
    return records.mutate(**{IMPRESSIONS: records[IMPRESSIONS].sort()})


def behaviours_of(impressions: ir.Table, item_features: Sequence[str] = ()) -> ir.Table:
    """What users chose: the rows with label 1, numbered per user in the order of time, then of items, from 0.

    Args:
        impressions: of both splits, with `ROW, user_id, item_id, category, timestamp, label`, and `item_<name>` for
            each feature.
        item_features: names of the items' features.

    Returns:
        `user_id, item_id, category, timestamp`, `item_<name>` for each feature, and `POSITION`.
    """
    chosen = impressions.filter(impressions.label == 1)
    in_order = ibis.window(group_by="user_id", order_by=["timestamp", "item_id", ROW])
    features = [ITEM_PREFIX + name for name in item_features]
    return chosen.select("user_id", *_HISTORY_FIELDS, *features, **{POSITION: ibis.row_number().over(in_order)})


def with_histories(records: ir.Table, behaviours: ir.Table) -> ir.Table:
    """Add to each record the behaviours it needs.

    Both sides are joined by blocks of positions, so that a behaviour meets the few records that need it and not all
    of its user's, however many these are.

    Args:
        records: with `user_id, SPLIT, STRETCH, BEHAVIOURS_FROM, BEHAVIOURS_UNTIL`.
        behaviours: as `behaviours_of` gives them.

    Returns:
        The records with `HISTORY`, the features by their names, null where there is no behaviour.
    """
    first, until = records[BEHAVIOURS_FROM], records[BEHAVIOURS_UNTIL]
    blocks = ibis.range(first // _PER_BLOCK, (until + _PER_BLOCK - 1) // _PER_BLOCK)
    needs = records.select(*RECORD, BEHAVIOURS_FROM, BEHAVIOURS_UNTIL, **{_BLOCK: blocks.unnest()})
    behaviours = behaviours.mutate(**{_BLOCK: behaviours[POSITION] // _PER_BLOCK})
    met = needs.inner_join(behaviours, ["user_id", _BLOCK])
    met = met.filter((met[POSITION] >= met[BEHAVIOURS_FROM]) & (met[POSITION] < met[BEHAVIOURS_UNTIL]))
    fields = {POSITION: met[POSITION]} | {name: met[name] for name in _HISTORY_FIELDS}
    features = (name for name in behaviours.columns if name not in {"user_id", _BLOCK, *fields})
    fields |= {name.removeprefix(ITEM_PREFIX): met[name] for name in features}
    histories = met.group_by(RECORD).aggregate(**{HISTORY: ibis.struct(fields).collect()})
    histories = histories.mutate(**{HISTORY: histories[HISTORY].sort()})
    return records.left_join(histories, RECORD).select(*records.columns, HISTORY)
