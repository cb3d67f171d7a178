"""How a table is cut into shards: items are dealt to slots by a hash, and slots to shards.

```
slot   = hash(item) mod S            the store gives an item only rows with row mod S = slot
shard  = slot mod P                  of P shards, P at most S
row in the shard = (row // S) * n + slot // P      n: how many slots the shard has
```

So the row of an item in any shard, of any number of shards, is arithmetic on the row that the store gave it: nothing
has to be kept, and another number of shards needs no new rows.
"""

from __future__ import annotations

import zlib
from typing import NamedTuple

import numpy as np

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2^64 by the golden ratio, odd: Fibonacci hashing
_HALF, _TOP = np.uint64(32), np.uint64(48)  # bits

MOST_SLOTS = 2**16  # as many as the bits of a hash that are used


class Shard(NamedTuple):
    """One of the `total` parts of a table."""

    number: int
    total: int


WHOLE = Shard(0, 1)


def slots_of(item_ids: np.ndarray, slots: int) -> np.ndarray:
    """The slot of each item: high bits of its hash, since the index inside a table goes by the low ones.

    Args:
        item_ids: `[items]` int64, or str.
        slots: how many there are, at most `MOST_SLOTS`.

    Returns:
        `[items]` int64 in 0 .. `slots` - 1.
    """
    if np.issubdtype(item_ids.dtype, np.integer):
        keys = np.ascontiguousarray(item_ids, np.int64).view(np.uint64)
        hashes = ((keys ^ (keys >> _HALF)) * _MULTIPLIER) >> _TOP
    else:
        encoded = (item_id.encode() if isinstance(item_id, str) else item_id for item_id in item_ids)
        hashes = np.fromiter(map(zlib.crc32, encoded), np.uint64, len(item_ids)) >> np.uint64(16)
    return (hashes % np.uint64(slots)).astype(np.int64)


def shards_of(item_ids: np.ndarray, slots: int, count: int) -> np.ndarray:
    """The shard of each item, `[items]` int64 in 0 .. `count` - 1.

    Args:
        item_ids: `[items]` int64, or str.
        slots: of the store.
        count: how many shards there are.
    """
    return slots_of(item_ids, slots) % count


def rows_in_shard(rows: np.ndarray, slots: int, shard: Shard) -> np.ndarray:
    """Where a shard keeps what the store keeps in `rows`.

    Args:
        rows: `[items]` int64, all of the shard.
        slots: of the store.
        shard: which.

    Returns:
        `[items]` int64. Free rows of the store leave gaps.
    """
    return rows // slots * slots_in_shard(slots, shard) + rows % slots // shard.total


def slots_in_shard(slots: int, shard: Shard) -> int:
    """How many slots a shard has: with P shards of S slots, S / P rounded up or down."""
    return len(range(shard.number, slots, shard.total))


def check_shard(shard: Shard, slots: int) -> None:
    """Refuse a shard that a store cannot be cut into.

    Raises:
        ValueError: more shards than slots, or a number that is none of theirs.
    """
    if not 1 <= shard.total <= slots:
        raise ValueError(f"`total` of shards must be 1 to {slots}, the store's slots. Received: {shard.total}.")
    if not 0 <= shard.number < shard.total:
        raise ValueError(f"`number` of a shard must be 0 to {shard.total - 1}. Received: {shard.number}.")


def assigned_rows(item_slots: np.ndarray, free: np.ndarray, used: np.ndarray) -> np.ndarray:
    """Rows for new items: of each slot its free ones, lowest first, and after them new ones.

    Args:
        item_slots: `[items]`, the slot of each.
        free: `[free]` ascending, rows that may be used again.
        used: `[slots]`, how many rows each slot has had so far, free ones included.

    Returns:
        `[items]` int64; within a slot in the order of the items.
    """
    slots = len(used)
    order = np.argsort(item_slots, kind="stable")
    wanted = np.bincount(item_slots, minlength=slots)
    rank = np.arange(len(order)) - np.repeat(np.cumsum(wanted) - wanted, wanted)  # of an item within its slot
    free_by_slot = free[np.argsort(free % slots, kind="stable")]
    frees = np.bincount(free % slots, minlength=slots)
    slot = item_slots[order]
    reused = rank < frees[slot]
    rows = np.empty(len(order), np.int64)
    rows[order[reused]] = free_by_slot[(np.cumsum(frees) - frees)[slot[reused]] + rank[reused]]
    fresh = slot[~reused]
    rows[order[~reused]] = fresh + slots * (used[fresh] + rank[~reused] - frees[fresh])
    return rows
