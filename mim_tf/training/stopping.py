"""SIGTERM, by which schedulers take machines back, and Ctrl-C: finish the step, save, leave."""

from __future__ import annotations

import signal
import sys
from types import FrameType, TracebackType

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopSignal:
    """Notes SIGTERM and SIGINT instead of ending by them, in a `with` block; a second Ctrl-C ends at once.

    Attributes:
        requested: whether one came.
    """

    def __init__(self) -> None:
        self.requested = False

    def __enter__(self) -> StopSignal:
        self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number in _SIGNALS:
            signal.signal(number, self._before[number])

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        signal.signal(signal.SIGINT, self._before[signal.SIGINT])
        print("stopping after this step, with a checkpoint; Ctrl-C once more stops at once.", file=sys.stderr)
