"""What a user had bought before each impression."""

from __future__ import annotations

from collections.abc import Sequence

import ibis
import ibis.expr.types as ir

from mim_tf.data.record_schema import ITEM_PREFIX
from mim_tf.data.sources import ROW

HISTORY_FIELDS = ("item_id", "category", "timestamp")
"""What is kept of each behaviour, beside its position and the features of its item."""
POSITION = "__position"
"""The field of a behaviour that orders it, from 0 for the user's first purchase."""
_EARLIER = "__earlier"


def with_histories(impressions: ir.Table, history_length: int, item_features: Sequence[str] = ()) -> ir.Table:
    """Add each impression's behaviour history.

    The history are the user's rows with label 1 and a strictly earlier timestamp, the latest `history_length` of them,
    oldest first; rows of the same second are ordered by item id.

    Rows of a user that have seen the same number of purchases share one history, so each is put together once, and
    each purchase is joined by its position: the cost is at most `history_length` per history, however long the whole.

    Args:
        impressions: with `ROW, user_id, item_id, category, timestamp, label`, and `item_<name>` for each feature.
        history_length: behaviours kept per row.
        item_features: names of the items' features.

    Returns:
        The impressions with `history`, a sorted array of structs `POSITION, item_id, category, timestamp` and the
        features by their names, null where there is no earlier behaviour.
    """
    bought = impressions.filter(impressions.label == 1)
    in_order = ibis.window(group_by="user_id", order_by=["timestamp", "item_id", ROW])
    columns = {name: name for name in HISTORY_FIELDS} | {name: ITEM_PREFIX + name for name in item_features}
    purchases = bought.select("user_id", *columns.values(), **{POSITION: ibis.row_number().over(in_order)})
    seen = impressions.mutate(**{_EARLIER: _purchases_before(impressions)})
    states = seen.filter(seen[_EARLIER] > 0).select("user_id", _EARLIER).distinct()
    oldest = ibis.greatest(states[_EARLIER] - history_length, 0)
    slots = states.mutate(**{POSITION: ibis.range(oldest, states[_EARLIER]).unnest()})
    behaviours = slots.inner_join(purchases, ["user_id", POSITION])
    # Sorting the collected structs orders them by position, their first field, on DuckDB and on Spark alike.
    fields = {POSITION: behaviours[POSITION]} | {name: behaviours[column] for name, column in columns.items()}
    histories = behaviours.group_by("user_id", _EARLIER).aggregate(history=ibis.struct(fields).collect())
    histories = histories.mutate(history=histories.history.sort())
    return seen.left_join(histories, ["user_id", _EARLIER]).select(*impressions.columns, "history")


def _purchases_before(impressions: ir.Table) -> ir.Value:
    """Count the user's purchases whose timestamp is at least one second earlier."""
    before = ibis.window(group_by="user_id", order_by="timestamp", range=(None, -1))
    # A count is 64 bits wide in every engine; DuckDB would widen a sum to 128.
    return impressions.label.nullif(0).count().over(before)
