"""User interest pairs <q, i>: an image somebody searched with, and the item they then chose."""

from __future__ import annotations

import ibis
import ibis.expr.types as ir

from mim_tf.data.sources import ROW

SECONDS_PER_DAY = 86_400


def logged_pairs(log: ir.Table, items: ir.Table) -> ir.Table:
    """Pairs of a visual search log.

    Args:
        log: the rows of the log to use, with `ROW` and `item_id`.
        items: with `item_id` and `category`.

    Returns:
        `key` (tells pairs apart), `query` (the row of the query image), `query_item_id` (no item's: it is a photo),
        `item_id`, `category`.
    """
    known = log.inner_join(items.select("item_id", "category"), "item_id")
    nothing = ibis.literal("" if known.item_id.type().is_string() else -1).cast(known.item_id.type())
    return known.select("item_id", "category", key=known[ROW].cast("string"), query=known[ROW], query_item_id=nothing)


def purchases_of(impressions: ir.Table) -> ir.Table:
    """The purchases among impressions, each once: `user_id, item_id, category, timestamp`."""
    bought = impressions.filter(impressions.label == 1)
    return bought.select("user_id", "item_id", "category", "timestamp").distinct()


def mined_pairs(purchases: ir.Table, items: ir.Table, *, per_purchase: int, window_days: int) -> ir.Table:
    """Pairs out of behaviour: the image of an earlier purchase stands for the query that led to the later one.

    For each purchase of item j at t these are the user's latest `per_purchase` purchases of another item i with
    `t - window_days * 86400 <= t_i < t`; of those in the same second the larger item ids count as later.

    Args:
        purchases: as `purchases_of` gives them, of the training period only.
        items: with `item_id` and `ROW`.
        per_purchase: pairs per purchase, at most.
        window_days: how long before the purchase the query may lie, in days.

    Returns:
        `key` (tells pairs apart), `query` (the row of i in items), `query_item_id` (i), `user_id`, `item_id`,
        `category`.
    """
    events = _numbered(purchases)
    # At most `repeats` of the positions before a purchase hold j itself, so this many positions always suffice, and
    # no purchase meets the user's whole past.
    oldest = ibis.greatest(events.earlier - events.repeats - per_purchase, 0)
    slots = events.filter(events.earlier > 0).mutate(place=ibis.range(oldest, events.earlier).unnest())
    past = events.select("user_id", place=events.position, query_item=events.item_id, query_time=events.timestamp)
    found = slots.inner_join(past, ["user_id", "place"])
    since = found.timestamp - window_days * SECONDS_PER_DAY
    found = found.filter(found.query_item != found.item_id, found.query_time >= since)
    latest_first = ibis.window(group_by=["user_id", "position"], order_by=ibis.desc("place"))
    found = found.mutate(nth=ibis.row_number().over(latest_first))
    found = found.filter(found.nth < per_purchase)
    images = items.select(query_item="item_id", query=ROW)
    return found.inner_join(images, "query_item").select(
        "query",
        "user_id",
        "item_id",
        "category",
        key=_key(found.user_id, found.position, found.place),
        query_item_id="query_item",
    )


def _numbered(purchases: ir.Table) -> ir.Table:
    """Number each user's purchases by time, and count those before the second of each, in all and of the same item."""
    in_order = ibis.window(group_by="user_id", order_by=["timestamp", "item_id"])
    numbered = purchases.mutate(position=ibis.row_number().over(in_order))
    same_second = ibis.window(group_by=["user_id", "timestamp"])
    same_item = ibis.window(group_by=["user_id", "item_id"], order_by="timestamp")
    return numbered.mutate(earlier=numbered.position.min().over(same_second), repeats=ibis.row_number().over(same_item))


def _key(*columns: ir.Column) -> ir.Value:
    text: ir.Value = ibis.literal("")
    for column in columns:
        text = text + column.cast("string") + ibis.literal(":")
    return text
