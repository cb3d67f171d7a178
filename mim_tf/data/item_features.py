"""How impressions get the features of their items, and how old the items are."""

from __future__ import annotations

from collections.abc import Sequence

import ibis
import ibis.expr.types as ir

from mim_tf.data.record_schema import ITEM_AGE, ITEM_PREFIX

FEATURE = "__feature_"
"""How the catalogue's checked features begin, whose names may be those of its other columns."""
FIRST_SEEN = "__first_seen"
"""When an item first appeared, in seconds UTC."""


def item_features(items: ir.Table, columns: Sequence[str]) -> ir.Table:
    """The features of the good items.

    Args:
        items: with `item_id`, the features under `FEATURE` and their name, perhaps `FIRST_SEEN`.
        columns: the features' names.

    Returns:
        `item_id`, `item_<column>` for each feature, and `FIRST_SEEN`, null where it is not known.
    """
    first_seen = items[FIRST_SEEN] if FIRST_SEEN in items.columns else ibis.null("int64")
    features = {ITEM_PREFIX + name: items[FEATURE + name] for name in columns}
    return items.select("item_id", **features, **{FIRST_SEEN: first_seen})


def with_item_features(impressions: ir.Table, features: ir.Table) -> ir.Table:
    """Add to each impression the features of its item and the item's age.

    `item_age = max(0, timestamp - first appearance)`, in seconds. Where the catalogue does not know the first
    appearance, it is the item's first impression.

    Args:
        impressions: with `item_id` and `timestamp`.
        features: as `item_features` gives them, of all items there.

    Returns:
        The impressions with `item_<column>` for each feature, and `item_age`.
    """
    # Not by a window: one over an item that half of the impressions show would be one task.
    shown = impressions.group_by("item_id").aggregate(first_impression=impressions.timestamp.min())
    appeared = features.inner_join(shown, "item_id")
    first = ibis.coalesce(appeared[FIRST_SEEN], appeared.first_impression)
    appeared = appeared.mutate(**{FIRST_SEEN: first}).drop("first_impression")
    known = impressions.inner_join(appeared, "item_id")
    age = ibis.greatest(known.timestamp - known[FIRST_SEEN], 0)
    return known.mutate(**{ITEM_AGE: age.cast("int64")}).drop(FIRST_SEEN)
