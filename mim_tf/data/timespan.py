"""Times as messages give them."""

from __future__ import annotations

from datetime import UTC, datetime

import ibis.expr.types as ir


def readable(seconds: int) -> str:
    """Give a time in seconds UTC also as a date."""
    try:
        return f"{seconds} ({datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S})"
    except (OverflowError, ValueError, OSError):
        return f"{seconds} (no date: is it in seconds?)"


def span(rows: ir.Table) -> str:
    """Name the first and the last `timestamp` of rows."""
    ends = rows.aggregate(first=rows.timestamp.min(), last=rows.timestamp.max()).to_pyarrow().to_pylist()[0]
    if ends["first"] is None:
        return "no timestamps"
    return f"timestamps from {readable(ends['first'])} to {readable(ends['last'])}"
