"""Where events come from."""

from __future__ import annotations

from typing import Protocol

from mim_tf.realtime.event import Message


class Source(Protocol):
    """A log of events, read in order and more than once if need be."""

    def poll(self, most: int, seconds: float) -> list[Message]:
        """The next events, after those polled before.

        Args:
            most: how many.
            seconds: longest wait for the first one.
        """

    def acknowledge(self) -> None:
        """Remember that all polled events were taken in: a process started later goes on after them."""

    def drained(self) -> bool:
        """Whether a poll that gave nothing has shown that nothing is there."""

    def lag(self) -> int:
        """What waits to be read: bytes of files, messages of a topic."""

    def close(self) -> None:
        """Let go of it."""
