"""Slots and shards: the rows of any number of shards are those of the store, dealt out without a gap of their own."""

import numpy as np
import pytest

from mim_tf.representation.slots import (
    Shard,
    assigned_rows,
    check_shard,
    rows_in_shard,
    shards_of,
    slots_in_shard,
    slots_of,
)

MASK = 2**64 - 1


def slot_by_hand(item_id: int, slots: int) -> int:
    key = item_id & MASK
    return (((key ^ (key >> 32)) * 0x9E3779B97F4A7C15 & MASK) >> 48) % slots


def test_slots_of_integers_by_hand() -> None:
    ids = np.array([0, 1, -7, 2**60 + 1, np.iinfo(np.int64).max, np.iinfo(np.int64).min])
    assert slots_of(ids, 64).tolist() == [slot_by_hand(int(item), 64) for item in ids]
    assert slots_of(ids, 1).tolist() == [0] * 6


def test_strings_and_their_bytes_have_one_slot() -> None:
    ids = ["123456789", "ü", "x" * 1000]
    slots = slots_of(np.array(ids, object), 64).tolist()
    assert slots == slots_of(np.array([item.encode() for item in ids], object), 64).tolist()
    assert slots[0] == 52  # the check value of CRC-32 is 0xCBF43926, and 0xCBF4 = 52,212 = 64 * 815 + 52


@pytest.mark.parametrize("shift", [0, 20, 40], ids=lambda shift: f"n << {shift}")
def test_slots_are_even_whichever_bits_the_ids_differ_in(shift: int) -> None:
    """64 slots of 64,000 items: no less even than fair dice, of which chi-squared(63) < 115 in all but 1 of 10^4."""
    counts = np.bincount(slots_of(np.arange(64_000) << shift, 64), minlength=64)
    assert ((counts - 1000) ** 2 / 1000).sum() < 115


@pytest.mark.parametrize(("slots", "total"), [(1, 1), (7, 3), (64, 1), (64, 5), (64, 64)])
def test_every_row_has_one_place_in_one_shard(slots: int, total: int) -> None:
    rows = np.arange(slots * 9)  # nine in each slot
    for number in range(total):
        shard = Shard(number, total)
        there = rows_in_shard(rows[rows % slots % total == number], slots, shard)
        assert sorted(there) == list(range(9 * slots_in_shard(slots, shard)))  # all places, each once
    assert sum(slots_in_shard(slots, Shard(number, total)) for number in range(total)) == slots


def test_a_shard_by_hand() -> None:
    # Slots 0 .. 6 over three shards: 0 has 0, 3, 6; 1 has 1, 4; 2 has 2, 5. Row 7 * 2 + 4 = 18 is of slot 4: shard 1,
    # which has two slots, of which 4 is the second: 2 * 2 + 1.
    assert rows_in_shard(np.array([18]), 7, Shard(1, 3)).tolist() == [5]
    assert shards_of(np.arange(100), 7, 3).tolist() == [slot_by_hand(item, 7) % 3 for item in range(100)]


def test_free_rows_of_a_slot_come_first() -> None:
    # Four slots with 3, 2, 1, 0 rows. Free: rows 0 and 8 of slot 0, row 1 of slot 1.
    rows = assigned_rows(np.array([0, 3, 0, 1, 0, 1, 3, 2]), np.array([0, 1, 8]), np.array([3, 2, 1, 0]))
    assert rows.tolist() == [0, 3, 8, 1, 12, 9, 7, 6]


def test_rows_against_one_at_a_time() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        slots = int(rng.integers(1, 6))
        used = rng.integers(0, 4, slots)
        there = np.array([slot + slots * turn for slot in range(slots) for turn in range(used[slot])], np.int64)
        free = np.sort(there[rng.random(len(there)) < 0.5])
        wanted = rng.integers(0, slots, int(rng.integers(0, 12)))
        left, ends, expected = free.tolist(), used.copy(), []
        for slot in wanted.tolist():
            candidates = [row for row in left if row % slots == slot]
            if candidates:
                left.remove(candidates[0])
                expected.append(candidates[0])
            else:
                expected.append(slot + slots * int(ends[slot]))
                ends[slot] += 1
        assert assigned_rows(wanted, free, used).tolist() == expected


@pytest.mark.parametrize(
    ("shard", "message"),
    [
        (Shard(0, 8), r"`total` of shards must be 1 to 7, the store's slots\. Received: 8"),
        (Shard(0, 0), r"`total` of shards must be 1 to 7, the store's slots\. Received: 0"),
        (Shard(3, 3), r"`number` of a shard must be 0 to 2\. Received: 3"),
    ],
)
def test_shards_that_cannot_be_are_refused(shard: Shard, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_shard(shard, 7)
