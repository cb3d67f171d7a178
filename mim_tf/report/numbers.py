"""Numbers as the page writes them."""

from __future__ import annotations

import math
from datetime import UTC, datetime

from mim_tf.metrics import Interval


def interval_text(interval: Interval, sign: str = "") -> str:
    """`+0.0123 (0.0042 to 0.0204)`; without an interval the number alone.

    Args:
        interval: a number with its ends, which are NaN where it has none.
        sign: `+` shows the number's sign in any case.
    """
    number = f"{interval.estimate:{sign}.4f}"
    return number if math.isnan(interval.lower) else f"{number} ({interval.lower:.4f} to {interval.upper:.4f})"


def number_text(value: float) -> str:
    """Counts with thousands apart, all else to four significant digits."""
    return f"{int(value):,}" if float(value).is_integer() and abs(value) < 1e15 else f"{value:.4g}"


def duration_text(seconds: float) -> str:
    """`4.2 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def time_text(seconds: float) -> str:
    """Seconds since 1970 as a date and a time, UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")


def age_text(seconds: float) -> str:
    """`3.5 days`, and hours below one day."""
    return f"{seconds / 86_400:.1f} days" if seconds >= 86_400 else f"{seconds / 3600:.1f} hours"
