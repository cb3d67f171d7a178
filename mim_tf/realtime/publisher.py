"""Keeps one server at the store's newest version."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque

from mim_tf.errors import MimError
from mim_tf.realtime.metrics import Metrics
from mim_tf.realtime.table_server import TableServer, TableState
from mim_tf.representation import EmbeddingStore

_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.05, 2.0  # seconds between two attempts at a server that does not answer
_NEARLY_FULL = 0.9  # of a table's rows
_REMEMBERED = 10_000  # announced versions that a server has yet to get; of older ones no freshness is told


class Publisher(threading.Thread):
    """Follows the store's versions, whoever commits them, and sends each server what it lacks.

    A server that was down, or was started anew from its SavedModel, tells its version and gets all changes since. One
    publisher per server: two at once could let an older embedding overtake a newer one.

    Args:
        server: whose table is kept up.
        store_path: of the store; the thread opens it for itself.
        metrics: to tell.
        poll_seconds: how often it looks for versions that nobody announced.
    """

    def __init__(self, server: TableServer, store_path: str, metrics: Metrics, poll_seconds: float = 1.0):
        super().__init__(name=f"publisher of {server.address}", daemon=True)
        self._server, self._store = server, EmbeddingStore(store_path)
        self._metrics, self._poll_seconds = metrics, poll_seconds
        self._wanted = threading.Event()
        self._ended = False
        self._announced: deque[tuple[int, list[float]]] = deque(maxlen=_REMEMBERED)  # and when their events came
        self._trouble = ""
        self._warm = False
        self._rows = 0  # highest number that was needed
        self.version = 0  # that the server has
        self.error: Exception | None = None  # what ended it, if it ended by itself

    def announce(self, version: int, arrived: list[float]) -> None:
        """Say that a version is there.

        Args:
            version: of the store.
            arrived: when its events arrived, seconds since 1970 UTC.
        """
        self._announced.append((version, arrived))
        self._wanted.set()

    def stop(self) -> None:
        """End after what is being sent."""
        self._ended = True
        self._wanted.set()

    def run(self) -> None:
        """Until `stop`."""
        pause = _SHORTEST_PAUSE
        try:
            while not self._ended:
                self._wanted.clear()
                if self._caught_up():
                    pause = _SHORTEST_PAUSE
                    self._wanted.wait(self._poll_seconds)
                else:
                    time.sleep(pause)
                    pause = min(2 * pause, _LONGEST_PAUSE)
        except Exception as error:  # whoever started it asks for it
            self.error = error
        finally:
            self._server.close()

    def _caught_up(self) -> bool:
        try:
            if not self._warm:
                self._server.warm_up(self._store)
            state = self._server.catch_up(self._store)
        except (MimError, OSError) as error:
            self._warm = False  # it may be another process when it answers again
            self._metrics.failures.labels("server").inc()
            self._say(str(error))
            return False
        self._warm = True
        self._say("")
        self.version = state.version
        self._tell_of(state)
        now = time.time()
        while self._announced and self._announced[0][0] <= state.version:
            for arrived in self._announced.popleft()[1]:
                self._metrics.freshness.labels(self._server.address).observe(now - arrived)
        return True

    def _tell_of(self, state: TableState) -> None:
        """The server's table in numbers; a word when it is nearly full."""
        address, rows = self._server.address, max(self._rows, state.rows)
        self._metrics.server_version.labels(address).set(state.version)
        self._metrics.server_rows.labels(address).set(rows)
        self._metrics.server_capacity.labels(address).set(state.capacity)
        if self._rows <= _NEARLY_FULL * state.capacity < rows:
            left = state.capacity - rows
            print(f"{address} is nearly full: {left} rows are left. Export the model again soon.", file=sys.stderr)
        self._rows = rows

    def _say(self, trouble: str) -> None:
        """Tell of trouble once, and of its end."""
        if trouble != self._trouble:
            print(trouble or f"{self._server.address} is up to date again.", file=sys.stderr, flush=True)
        self._trouble = trouble
