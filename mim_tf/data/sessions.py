"""The order of each user's impressions: cut into stretches, each a record, and these into sessions."""

from __future__ import annotations

import ibis
import ibis.expr.types as ir
import numpy as np

from mim_tf.data.sources import ROW

IMPRESSIONS_PER_RECORD = 128
SPLIT = "__split"
"""The split that an impression belongs to; null where it is of neither and only history."""
STRETCH = "__stretch"
"""Which of the user's stretches an impression is in; one that two splits share makes a record in each."""
POSITION = "__position"
"""What orders the rows of one user, from 0: impressions among all impressions, behaviours among all behaviours."""
EARLIER = "__earlier"
"""How many of the user's behaviours lie before an impression."""
PAUSED = "__paused"
"""Whether the user paused for longer than a session lasts before an impression."""


def in_order(impressions: ir.Table, session_seconds: int) -> ir.Table:
    """Give each impression its place in a record.

    Impressions of one user lie in the order of time; those of one second in the order of their items and rows.
    `IMPRESSIONS_PER_RECORD` of them make a stretch.

    Args:
        impressions: with `ROW, user_id, item_id, timestamp, label`.
        session_seconds: the longest time between one impression of a session and the next.

    Returns:
        The impressions with `POSITION, STRETCH, EARLIER, PAUSED`.
    """
    # One partition, and orders that begin alike: engines sort the rows once.
    of_user = ibis.window(group_by="user_id", order_by=["timestamp", "item_id", ROW])
    waited = impressions.timestamp - impressions.timestamp.lag().over(of_user)
    rows = impressions.mutate(
        **{
            POSITION: ibis.row_number().over(of_user),
            EARLIER: _behaviours_before(impressions),
            PAUSED: (waited > session_seconds).fill_null(False).cast("int64"),
        }
    )
    return rows.mutate(**{STRETCH: rows[POSITION] // IMPRESSIONS_PER_RECORD})


def session_numbers(paused: np.ndarray, earlier: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Number the sessions of records, each from 0.

    A session ends with a pause, with its record, and where a behaviour lies before an impression that did not lie
    before the last one: its impressions have one history.

    Args:
        paused: `[impressions]`, of records that follow one another, as `in_order` gives it.
        earlier: `[impressions]`, likewise.
        offsets: `[records + 1]`, where each record begins, and the end.

    Returns:
        `[impressions]` int64.
    """
    begins = (paused != 0) | (np.diff(earlier, prepend=-1) != 0)
    starts = offsets[:-1]
    begins[starts] = True
    numbers = np.cumsum(begins)
    return numbers - np.repeat(numbers[starts], np.diff(offsets))


def _behaviours_before(impressions: ir.Table) -> ir.Value:
    """Count the user's rows with label 1 whose timestamp is at least one second earlier."""
    before = ibis.window(group_by="user_id", order_by="timestamp", range=(None, -1))
    # A count is 64 bits wide in every engine; DuckDB would widen a sum to 128.
    return impressions.label.nullif(0).count().over(before)
