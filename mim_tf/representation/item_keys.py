"""The integer keys by which the index inside a graph knows items."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from mim_tf.representation.reserved_ids import RESERVED_IDS

_MULTIPLIER = 0x9E3779B97F4A7C15  # 2^64 by the golden ratio, odd: Fibonacci hashing
_HALF = 32  # bits


def item_keys(item_ids: tf.Tensor) -> tf.Tensor:
    """The int64 keys of item ids: int64 ids are their own keys, strings are hashed (FarmHash) to 0 .. 2^63 - 2."""
    if item_ids.dtype == tf.string:
        return tf.strings.to_hash_bucket_fast(item_ids, np.iinfo(np.int64).max)
    return tf.cast(item_ids, tf.int64)


def spread(keys: tf.Tensor) -> tf.Tensor:
    """The keys shuffled, one to one, so that their low bits depend on all of their bits.

    ```
    k1 = k ^ (k >> 32)      k2 = k1 * m      k' = k2 ^ (k2 >> 32)      modulo 2^64
    ```

    `DenseHashTable` takes an integer's low bits for its hash. Ids made of parts (a time or a shop above a number)
    often share theirs; then it looks through half of the table for each, and building it takes the square of its size.

    Args:
        keys: `[...]` int64.

    Returns:
        `[...]` int64.
    """
    product = _folded(tf.bitcast(keys, tf.uint64)) * tf.constant(_MULTIPLIER, tf.uint64)
    return tf.bitcast(_folded(product), tf.int64)


def _folded(bits: tf.Tensor) -> tf.Tensor:
    return tf.bitwise.bitwise_xor(bits, tf.bitwise.right_shift(bits, tf.constant(_HALF, tf.uint64)))


def is_reserved(item_ids: tf.Tensor) -> tf.Tensor:
    """Which ids no item may have, `[...]` bool."""
    if item_ids.dtype == tf.string:
        return tf.equal(item_ids, "")
    return tf.reduce_any(tf.equal(item_ids[..., tf.newaxis], tf.constant(RESERVED_IDS, tf.int64)), axis=-1)


def check_item_ids(item_ids: np.ndarray, keys: np.ndarray) -> None:
    """Refuse ids that an index cannot tell apart.

    Args:
        item_ids: `[items]` int64, or object holding str.
        keys: `[items]` int64, of the ids.

    Raises:
        ValueError: an id that occurs twice, a reserved id, or two string ids with one key.
    """
    integers = np.issubdtype(item_ids.dtype, np.integer)
    reserved = np.flatnonzero(np.isin(keys, RESERVED_IDS) if integers else item_ids == "")
    if reserved.size:
        names = RESERVED_IDS if integers else ("",)
        received = item_ids[reserved[:1]].tolist()[0]
        raise ValueError(f"`item_ids` must not hold the reserved ids {names}. Received: {received!r}.")
    order = np.argsort(keys, kind="stable")
    repeats = np.flatnonzero(keys[order][1:] == keys[order][:-1])
    if repeats.size:
        one, other = item_ids[order[repeats[0] : repeats[0] + 2]].tolist()
        raise ValueError(f"`item_ids` must have keys of their own. Received: {one!r} and {other!r} with the same key.")
