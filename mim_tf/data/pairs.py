"""User interest pairs <q, i>: an image somebody searched with, and the item they then chose."""

from __future__ import annotations

from typing import Literal

import ibis
import ibis.expr.types as ir

from mim_tf.data.sources import ROW

SECONDS_PER_DAY = 86_400
Rule = Literal["co_purchase", "same_category"]
RULES: dict[Rule, tuple[str, ...]] = {"co_purchase": ("user_id",), "same_category": ("user_id", "category")}
"""What a mined pair's two choices have in common."""


def logged_pairs(log: ir.Table) -> ir.Table:
    """Pairs of a visual search log.

    Args:
        log: the rows of the log to use, with `ROW` and `item_id`, perhaps `user_id`.

    Returns:
        `key` (tells pairs apart), `query` (the row of the query image), `query_item_id` (no item's: it is a photo),
        `item_id`, and `user_id` if the log has it.
    """
    user = [name for name in log.columns if name == "user_id"]
    nothing = ibis.literal("" if log.item_id.type().is_string() else -1).cast(log.item_id.type())
    return log.select(*user, "item_id", key=log[ROW].cast("string"), query=log[ROW], query_item_id=nothing)


def choices_of(impressions: ir.Table, action: str | None = None) -> ir.Table:
    """What users chose among impressions, each once: `user_id, item_id, category, timestamp`.

    Args:
        impressions: label 1 is a choice.
        action: only choices of this action, where the impressions tell it; None: all.
    """
    chosen = impressions.filter(impressions.label == 1)
    if action is not None and "action" in chosen.columns:
        chosen = chosen.filter(chosen.action == action)
    return chosen.select("user_id", "item_id", "category", "timestamp").distinct()


def chosen_rows(choices: ir.Table, items: ir.Table) -> ir.Table:
    """The rows of the catalogue that each user chose: `user_id, chosen_rows`, a sorted array without repeats.

    Args:
        choices: `user_id, item_id`.
        items: `item_id, item_row`.
    """
    known = choices.inner_join(items.select("item_id", "item_row"), "item_id")
    each = known.select("user_id", "item_row").distinct()
    return each.group_by("user_id").aggregate(chosen_rows=each.item_row.collect().sort())


def mined_pairs(
    choices: ir.Table,
    items: ir.Table,
    *,
    rule: Rule = "co_purchase",
    per_purchase: int,
    window_days: int,
    since: int | None = None,
) -> ir.Table:
    """Pairs out of behaviour: the image of an item chosen before stands for the query that led to the later choice.

    For each choice of item j at t these are the user's latest `per_purchase` choices of another item i with
    `t - window_days * 86400 <= t_i <= t`; of those in the same second the larger item ids count as later. Two items of
    one second, a basket, are queries of each other. Under the rule "same_category" i is of j's category.

    Args:
        choices: as `choices_of` gives them, of the training period only.
        items: with `item_id` and `ROW`.
        rule: what the two choices have in common.
        per_purchase: pairs per choice, at most.
        window_days: how long before the choice the query may lie, in days.
        since: the first second of the choices that make pairs; what the user chose before is still a query. None: all.

    Returns:
        `key` (tells pairs apart), `query` (the row of i in items), `query_item_id` (i), `user_id`, `item_id`.
    """
    within = RULES[rule]
    events = _numbered(choices, within)
    events = events.mutate(until=events.up_to_second, repeats=events.repeats + 1)
    later = events if since is None else events.filter(events.timestamp >= since)
    return _with_queries(later, events, items, within, per_purchase, window_days)


def next_choice_pairs(choices: ir.Table, items: ir.Table, *, since: int, window_days: int) -> ir.Table:
    """Pairs to validate with, next-purchase retrieval: choices from `since` on, and what the user chose before each.

    As `mined_pairs` with one query per choice, under the rule "co_purchase", but the query has to lie strictly before:
    nothing says in which order a basket was filled.

    Args:
        choices: as `choices_of` gives them, of the training period too.
        items: as in `mined_pairs`.
        since: the first second of the validation period.
        window_days: as in `mined_pairs`.

    Returns:
        As `mined_pairs`.
    """
    within = RULES["co_purchase"]
    events = _numbered(choices, within)
    events = events.mutate(until=events.before_second)
    return _with_queries(events.filter(events.timestamp >= since), events, items, within, 1, window_days)


def _numbered(choices: ir.Table, within: tuple[str, ...]) -> ir.Table:
    """Number choices by time among those that have `within` in common.

    `before_second` and `up_to_second` count those before the second of each, and those up to its end; `repeats` those
    of the same item before.
    """
    in_order = ibis.window(group_by=within, order_by=["timestamp", "item_id"])
    numbered = choices.mutate(position=ibis.row_number().over(in_order))
    same_second = ibis.window(group_by=[*within, "timestamp"])
    same_item = ibis.window(group_by=["user_id", "item_id"], order_by="timestamp")
    return numbered.mutate(
        before_second=numbered.position.min().over(same_second),
        up_to_second=numbered.position.max().over(same_second) + 1,
        repeats=ibis.row_number().over(same_item),
    )


def _with_queries(
    events: ir.Table, past: ir.Table, items: ir.Table, within: tuple[str, ...], count: int, window_days: int
) -> ir.Table:
    """Join each event with its latest `count` queries among the positions before its `until`."""
    # Of the positions there `repeats` hold j itself, so so many and `count` more always suffice, and no choice meets
    # the user's whole past.
    oldest = ibis.greatest(events.until - events.repeats - count, 0)
    slots = events.filter(events.until > 0).mutate(place=ibis.range(oldest, events.until).unnest())
    past = past.select(*within, place=past.position, query_item_id=past.item_id, query_time=past.timestamp)
    found = slots.inner_join(past, [*within, "place"])
    since = found.timestamp - window_days * SECONDS_PER_DAY
    found = found.filter(found.query_item_id != found.item_id, found.query_time >= since)
    latest_first = ibis.window(group_by=[*within, "position"], order_by=ibis.desc("place"))
    found = found.mutate(nth=ibis.row_number().over(latest_first))
    found = found.filter(found.nth < count)
    images = items.select(query_item_id="item_id", query=ROW)
    key = _key(found.user_id, found.item_id, found.timestamp, found.place)
    return found.inner_join(images, "query_item_id").select("query", "user_id", "item_id", "query_item_id", key=key)


def _key(*columns: ir.Column) -> ir.Value:
    text: ir.Value = ibis.literal("")
    for column in columns:
        text = text + column.cast("string") + ibis.literal(":")
    return text
