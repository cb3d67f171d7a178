"""When the answer to a call must be there."""

from __future__ import annotations

import time

_LEAST = 1e-6  # seconds


class Deadline:
    """One end for all that a call takes: requests to several servers, their attempts, and the pauses between these.

    Args:
        timeout: From now on, in seconds.

    Raises:
        ValueError: If `timeout` is not positive.
    """

    def __init__(self, timeout: float) -> None:
        if not timeout > 0:
            raise ValueError(f"`timeout` must be positive. Received: {timeout}.")
        self.timeout = timeout
        self._end = time.monotonic() + timeout

    def left(self) -> float:
        """Seconds until then; 0 when it is over."""
        return max(0.0, self._end - time.monotonic())

    def half(self) -> Deadline:
        """For what may be left out: it leaves half of the time to the rest."""
        return Deadline(max(_LEAST, self.left() / 2))
