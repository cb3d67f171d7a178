"""Numbering rows in the order of a hash, with no task that sees all of them."""

from __future__ import annotations

from collections.abc import Sequence

import ibis
import ibis.expr.types as ir

_BUCKET, _BEFORE, _SIZE = "__bucket", "__before", "__size"
_DIGITS = 2  # hexadecimal: 256 buckets


def numbered(
    rows: ir.Table,
    name: str,
    digest: str,
    *,
    within: Sequence[str] = (),
    first_by: Sequence[str] = (),
    counted: ir.Table | None = None,
) -> ir.Table:
    """Number rows from 0, as a window over all of them would.

    The first digits of the digest are a row's bucket. Buckets are counted, and the counts cumulated; a row's number is
    how many lie in the buckets before, and its number in its own, which is one task's.

    Args:
        rows: computed already, since they are read twice, or `counted` is.
        name: of the column with the numbers.
        digest: the column with a hash, as `hashed` gives it, that tells apart the rows that are numbered together.
        within: columns whose every combination of values is numbered for itself.
        first_by: columns of few values that come before the digest in the order.
        counted: what `rows` was made of, with as many rows and the same columns named here, computed already.

    Returns:
        The rows with their numbers.
    """
    counted = rows if counted is None else counted
    rows, counted = (table.mutate(**{_BUCKET: table[digest].left(_DIGITS)}) for table in (rows, counted))
    bucket = [*within, *first_by, _BUCKET]
    sizes = counted.group_by(bucket).aggregate(**{_SIZE: counted.count()})
    before = ibis.window(group_by=list(within), order_by=[*first_by, _BUCKET], rows=(None, -1))
    offsets = sizes.mutate(**{_BEFORE: sizes[_SIZE].sum().over(before).fill_null(0)}).drop(_SIZE)
    in_bucket = ibis.window(group_by=bucket, order_by=digest)
    joined = rows.mutate(**{name: ibis.row_number().over(in_bucket)}).inner_join(offsets, bucket)
    return joined.mutate(**{name: (joined[name] + joined[_BEFORE]).cast("int64")}).drop(_BUCKET, _BEFORE)
