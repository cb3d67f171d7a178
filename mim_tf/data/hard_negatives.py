"""Space-time negative sample generation, the first half: a hard negative of the positive's own category."""

from __future__ import annotations

from collections.abc import Callable

import ibis
import ibis.expr.types as ir

from mim_tf.data.hashing import hashed

TRIES = 8
"""How many items are looked at before a pair's whole pool is."""


def with_hard_negatives(
    pairs: ir.Table,
    items: ir.Table,
    bought: ir.Table | None,
    *,
    seed: int,
    keep: Callable[[ir.Table], ir.Table],
) -> ir.Table:
    """Draw an item for each pair that the user did not choose.

    It is of the positive's category, neither the positive nor anything the user bought. Where there is none, the
    category is given up, and last what the user bought: any item but the positive will do.

    Pairs and items are numbered in hash order within a category, and pair n tries the items n, n + 1, ... (around the
    end): so each item serves about equally often, and no pair is ever joined with a whole category, except for the few
    that found nothing in `TRIES`.

    Args:
        pairs: with `key, item_id, category`, and `user_id` where `bought` is given.
        items: with `item_id, category`; at least two.
        bought: the distinct `user_id, item_id` to avoid; None where pairs have no user.
        seed: another seed draws other items.
        keep: computes a table once and keeps it.

    Returns:
        `key`, `negative_item_id` and `fallback` (whether a rule had to be given up), one row per pair.
    """
    own, whole = "category", "catalogue"
    pairs = pairs.mutate(catalogue=ibis.literal("all"))
    items = items.mutate(catalogue=ibis.literal("all"))
    rounds = [(pool, bought, tries) for pool in (own, whole) for tries in (TRIES, None)]
    # Of two neighbours one is not the positive, so nothing is left after the last round.
    rounds.append((whole, None, 2))
    drawn: list[ir.Table] = []
    left = pairs
    for pool, avoided, tries in rounds:
        found = keep(_draw(left, items, avoided, pool=pool, tries=tries, seed=seed))
        drawn.append(found.mutate(fallback=ibis.literal(pool == whole)))
        left = keep(left.anti_join(found, "key"))
        if left.count().to_pyarrow().as_py() == 0:
            break
    return ibis.union(*drawn) if len(drawn) > 1 else drawn[0]


def _draw(
    pairs: ir.Table, items: ir.Table, avoided: ir.Table | None, *, pool: str, tries: int | None, seed: int
) -> ir.Table:
    """One round: for each pair the first allowed item of its pool, counted from the pair's own number.

    `tries` None looks at the whole pool.
    """
    in_order = ibis.window(group_by=pool, order_by=hashed(seed, items.item_id))
    candidates = items.select(pool, negative_item_id="item_id", place=ibis.row_number().over(in_order))
    sizes = items.group_by(pool).aggregate(size=items.count())
    turns = ibis.window(group_by=pool, order_by=hashed(seed, pairs.key))
    asking = pairs.mutate(turn=ibis.row_number().over(turns)).inner_join(sizes, pool)
    if tries is None:
        met = asking.inner_join(candidates, pool)
        met = met.mutate(attempt=(met.place - met.turn % met.size + met.size) % met.size)
    else:
        asking = asking.mutate(attempt=ibis.range(0, tries).unnest())
        asking = asking.mutate(place=(asking.turn + asking.attempt) % asking.size)
        met = asking.inner_join(candidates, [pool, "place"])
    allowed = met.filter(met.negative_item_id != met.item_id)
    if avoided is not None:
        mine = avoided.select("user_id", negative_item_id="item_id")
        allowed = allowed.anti_join(mine, ["user_id", "negative_item_id"])
    return allowed.group_by("key").aggregate(negative_item_id=allowed.negative_item_id.argmin(allowed.attempt))
