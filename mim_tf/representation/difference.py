"""What changed between two versions of a store: `python -m mim_tf.representation diff`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from mim_tf.representation.embedding_statistics import blocks, paired_cosines, summary
from mim_tf.representation.inspection import opened, version_time
from mim_tf.representation.store import EmbeddingStore
from mim_tf.representation.store_records import ID_TYPES, IN_USE, places_of


@dataclass(frozen=True)
class Difference:
    """Items of a version that an earlier one lacks, or has with another embedding. Items are never removed."""

    store: str  # its path
    since_version: int
    since_time: str  # ISO 8601, UTC
    since_items: int
    to_version: int
    to_time: str
    to_items: int
    new: int
    changed: int
    new_items: list[int | str]  # the first of them, in the order of rows
    changed_items: list[dict[str, int | str | float]]  # `item_id` and `cosine` of those that turned furthest
    changed_cosines: dict[str, float] | None  # between old and new embeddings; None if nothing changed


def difference_of(store: EmbeddingStore, since: int, to: int | None = None, *, shown: int = 10) -> Difference:
    """Compare two versions. An item whose embedding changed and changed back is the same.

    Args:
        store: which; it is only read.
        since: the earlier version.
        to: the later one; None for the newest.
        shown: how many new and how many changed items are named.

    Raises:
        ValueError: `to` is before `since`, or `shown` is negative.
        StageError: a version does not exist, or no longer.
    """
    to = store.version if to is None else to
    if shown < 0:
        raise ValueError(f"`shown` must be 0 or more. Received: {shown}.")
    (then_ids, then), (now_ids, now) = _items_in(store, since), _items_in(store, to)
    if to < since:
        raise ValueError(f"`to` must not be before `since`, {since}. Received: {to}.")
    places = places_of(pa.chunked_array([then_ids]), now_ids)
    new, known = np.flatnonzero(places < 0), np.flatnonzero(places >= 0)
    changed = known[_differ(then, places[known], now, known)]
    cosines = paired_cosines(then, places[changed], now, changed)
    furthest = np.argsort(cosines, kind="stable")[:shown]
    named = zip(now_ids.take(changed[furthest]).to_pylist(), cosines[furthest].tolist(), strict=True)
    return Difference(
        store=store.path,
        since_version=since,
        since_time=version_time(store, since),
        since_items=len(then),
        to_version=to,
        to_time=version_time(store, to),
        to_items=len(now),
        new=len(new),
        changed=len(changed),
        new_items=now_ids.take(new[:shown]).to_pylist(),
        changed_items=[{"item_id": item_id, "cosine": cosine} for item_id, cosine in named],
        changed_cosines=summary(cosines) if len(cosines) else None,
    )


def _items_in(store: EmbeddingStore, version: int) -> tuple[pa.Array, np.ndarray]:
    """Ids `[items]` and embeddings `[items, dim]` of a version, which may be empty."""
    id_type = ID_TYPES[store.id_type]
    if version in store.versions and not opened(store, version).count_rows(IN_USE):
        return pa.array([], id_type), np.empty((0, store.dim), np.float16)
    stored = store.read(version)
    return pa.array(stored.item_ids, id_type), stored.embeddings


def _differ(one: np.ndarray, one_rows: np.ndarray, other: np.ndarray, other_rows: np.ndarray) -> np.ndarray:
    """Which pairs of rows, each of one matrix with one of another, have other bits: `[pairs]` bool."""
    differ = np.empty(len(one_rows), bool)
    for block in blocks(len(one_rows)):
        first, second = one[one_rows[block]], other[other_rows[block]]
        differ[block] = (first.view(np.uint16) != second.view(np.uint16)).any(axis=1)
    return differ
