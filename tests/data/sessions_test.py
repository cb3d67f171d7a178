"""Sessions: where one ends, by hand."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from mim_tf.data.sessions import in_order, session_numbers

Tabled = Callable[[pd.DataFrame], Any]


def sessions_of(tabled: Tabled, rows: list[tuple[int, int, int]]) -> list[int]:
    """The session of each row `user_id, timestamp, label`; rows are in order."""
    frame = pd.DataFrame(rows, columns=["user_id", "timestamp", "label"])
    found = in_order(tabled(frame.assign(__row=range(len(rows)), item_id=5)), session_seconds=30)
    ordered = found.order_by("__row").to_pandas()
    ends = np.flatnonzero(np.diff(ordered.user_id * 1000 + ordered["__stretch"], append=-1)) + 1
    numbers = session_numbers(
        ordered["__paused"].to_numpy(), ordered["__earlier"].to_numpy(), np.concatenate([[0], ends])
    )
    return numbers.tolist()


def test_a_longer_pause_begins_a_session(tabled: Tabled) -> None:
    # Pauses of 30, 30, 31 and 0 seconds: the limit is 30.
    assert sessions_of(tabled, [(1, 0, 0), (1, 30, 0), (1, 60, 0), (1, 91, 0), (1, 91, 0)]) == [0, 0, 0, 1, 1]


def test_a_behaviour_before_it_begins_a_session(tabled: Tabled) -> None:
    # The purchase lies before the row of the next second, not before those of its own.
    assert sessions_of(tabled, [(1, 0, 0), (1, 5, 1), (1, 5, 0), (1, 6, 0), (1, 7, 0)]) == [0, 0, 0, 1, 1]


def test_users_have_sessions_of_their_own(tabled: Tabled) -> None:
    assert sessions_of(tabled, [(1, 0, 0), (1, 2, 0), (2, 1, 0), (2, 90, 0), (3, 5, 0)]) == [0, 0, 0, 1, 0]


def test_sessions_end_with_their_record_and_are_numbered_anew(tabled: Tabled) -> None:
    assert sessions_of(tabled, [(1, 100 * row, 0) for row in range(130)]) == [*range(128), 0, 1]
    assert sessions_of(tabled, [(1, 0, 0)] * 130) == [0] * 130
