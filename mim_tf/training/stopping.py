"""SIGTERM, by which schedulers take machines back: finish the step, save, leave."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType


class StopSignal:
    """Notes a SIGTERM instead of dying of it; in a `with` block.

    Attributes:
        requested: whether one came.
    """

    def __init__(self) -> None:
        self.requested = False

    def __enter__(self) -> StopSignal:
        self._before = signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        signal.signal(signal.SIGTERM, self._before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
