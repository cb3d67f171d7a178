"""An event loop whose clock moves only while it would sleep: times are exact, and a second takes none."""

import asyncio
import selectors
from typing import Any


class _Leaping(selectors.SelectSelector):
    """Does not wait: it moves the clock on."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if not ready and timeout is not None:
            self.now += max(0.0, timeout)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.clock = _Leaping()
        super().__init__(self.clock)

    def time(self) -> float:
        return self.clock.now

    def block(self, seconds: float) -> None:
        """As if Python were busy for so long."""
        self.clock.now += seconds


def run(main: Any) -> Any:
    """The result of a coroutine, in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
