"""Sampling and shuffling by a hash of keys, so that a row's fate does not depend on the engine or on luck."""

from __future__ import annotations

import ibis
import ibis.expr.types as ir


def hashed(seed: int | str, *keys: ir.Column) -> ir.StringValue:
    """Hash keys to 32 hexadecimal digits that sort in an order unlike the keys'.

    MD5 over the UTF-8 text `seed:key:key...` is the one hash that DuckDB and Spark spell alike and compute alike, and
    hexadecimal text sorts the same in both; their own 64-bit hashes differ. It need not be secure here, only mixed.

    Args:
        seed: another seed gives another order.
        keys: columns of one table; together they should tell its rows apart.
    """
    text: ir.Value = ibis.literal(str(seed))
    for key in keys:
        text = text + ibis.literal(":") + key.cast("string")
    return text.hexdigest("md5")


def is_held_out(key: ir.Column, share: float) -> ir.BooleanValue:
    """Whether a row is among the `share` of rows that is kept out of training, as `is_sampled` tells."""
    return is_sampled("held_out", key, share)


def is_sampled(purpose: str, key: ir.Column, share: float) -> ir.BooleanValue:
    """Whether a row is in a sample.

    The key alone decides, no seed and no other row: as a table grows, none of its rows changes sides, and a larger
    share takes the rows of a smaller one and more.

    Args:
        purpose: samples for other purposes are other ones.
        key: tells the rows apart.
        share: `0 <= share <= 1`.
    """
    if share >= 1:
        return ibis.literal(True)
    # Hexadecimal digits compare as text as they do as numbers, so no engine needs to read the number.
    first_left_out = f"{int(share * 16**8):08x}"
    return hashed(purpose, key) < first_left_out
