"""What a user had bought before each impression."""

from __future__ import annotations

import ibis
import ibis.expr.types as ir

from mim_tf.data.sources import ROW

HISTORY_FIELDS = ("item_id", "category", "timestamp")
"""What is kept of each behaviour, beside its position."""


def with_histories(impressions: ir.Table, history_length: int) -> ir.Table:
    """Add each impression's behaviour history.

    The history are the user's rows with label 1 and a strictly earlier timestamp, the latest `history_length` of them,
    oldest first; rows of the same second are ordered by item id.

    Rows of a user that have seen the same number of purchases share one history, so each is put together once, and
    each purchase is joined by its position: the cost is at most `history_length` per history, however long the whole.

    Args:
        impressions: with `ROW, user_id, item_id, category, timestamp, label`.
        history_length: behaviours kept per row.

    Returns:
        The impressions with `history`, a sorted array of structs `position, item_id, category, timestamp`, null where
        there is no earlier behaviour.
    """
    bought = impressions.filter(impressions.label == 1)
    in_order = ibis.window(group_by="user_id", order_by=["timestamp", "item_id", ROW])
    purchases = bought.select("user_id", *HISTORY_FIELDS, position=ibis.row_number().over(in_order))
    seen = impressions.mutate(earlier=_purchases_before(impressions))
    states = seen.filter(seen.earlier > 0).select("user_id", "earlier").distinct()
    oldest = ibis.greatest(states.earlier - history_length, 0)
    slots = states.mutate(position=ibis.range(oldest, states.earlier).unnest())
    behaviours = slots.inner_join(purchases, ["user_id", "position"])
    # Sorting the collected structs orders them by position, their first field, on DuckDB and on Spark alike.
    behaviour = ibis.struct({name: behaviours[name] for name in ("position", *HISTORY_FIELDS)})
    histories = behaviours.group_by("user_id", "earlier").aggregate(history=behaviour.collect())
    histories = histories.mutate(history=histories.history.sort())
    return seen.left_join(histories, ["user_id", "earlier"]).select(*impressions.columns, "history")


def _purchases_before(impressions: ir.Table) -> ir.Value:
    """Count the user's purchases whose timestamp is at least one second earlier."""
    before = ibis.window(group_by="user_id", order_by="timestamp", range=(None, -1))
    # A count is 64 bits wide in every engine; DuckDB would widen a sum to 128.
    return impressions.label.nullif(0).count().over(before)
