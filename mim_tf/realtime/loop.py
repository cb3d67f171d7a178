"""The real-time process: read, embed, commit, acknowledge, announce."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from tqdm import tqdm

from mim_tf.errors import StageError
from mim_tf.realtime.compactor import Compactor
from mim_tf.realtime.event import Message
from mim_tf.realtime.item_embedder import UnavailableError
from mim_tf.realtime.metrics import Metrics
from mim_tf.realtime.publisher import Publisher
from mim_tf.realtime.source import Source
from mim_tf.realtime.window import Window

_LOOK = 0.1  # seconds, longest wait for events before it looks whether it is to end
_LAG_PAUSE = 1.0  # seconds between two looks at what waits to be read
_LONGEST_PAUSE = 5.0  # seconds between two attempts at a commit


class RealTimeLoop:
    """Commits windows of events, one after the other.

    An event is acknowledged after the commit that holds it: whenever the process ends, what was not committed is read
    again, and what was is found to be known. So nothing is lost and nothing counts twice.

    Args:
        source: of events.
        window: takes them.
        publishers: send the commits to the servers.
        compactor: of the store.
        metrics: to tell.
        stopping: whether it is to end.
    """

    def __init__(
        self,
        source: Source,
        window: Window,
        publishers: Sequence[Publisher],
        compactor: Compactor,
        metrics: Metrics,
        stopping: Callable[[], bool],
    ):
        self._source, self._window, self._publishers = source, window, publishers
        self._compactor, self._metrics, self._stopping = compactor, metrics, stopping
        self._version = 0  # of the last commit
        self._lag_told = 0.0
        self.counts: Counter[str] = Counter()  # events by what became of them

    def run(self, *, once: bool = False) -> None:
        """Go on until it is to stop, or with `once` until there is nothing to read; what was read is committed.

        Raises:
            SettingsError: the encoder is another one than the store's.
            StageError: a thread has failed.
        """
        with tqdm(unit="event", disable=None) as bar:
            while not self._stopping():
                messages = self._polled()
                self._take(messages or [])
                drained = once and messages == [] and self._source.drained()
                if drained or self._window.seconds_left == 0:
                    self._commit(bar)
                if drained:
                    return
                self._look_around()
            self._commit(bar)

    def wait_for_servers(self, seconds: float) -> bool:
        """Whether all servers have the last commit, before so long has passed."""
        end = time.monotonic() + seconds
        while any(publisher.version < self._version for publisher in self._publishers):
            if time.monotonic() > end or self._stopping():
                return False
            self._look_around()
            time.sleep(0.01)
        return True

    def _polled(self) -> list[Message] | None:
        """The next messages; None where the source cannot be asked."""
        try:
            return self._source.poll(self._window.room, min(_LOOK, self._window.seconds_left))
        except OSError as error:
            self._failed("source", error)
            time.sleep(_LOOK)
            return None

    def _take(self, messages: list[Message]) -> None:
        """Put messages into the window, which keeps them whatever fails: its commit tries again."""
        with self._failures_told():
            self._window.add(messages)

    def _commit(self, bar: tqdm) -> None:
        arrived = list(self._window.arrived)
        if not arrived:
            return
        begun, pause = time.monotonic(), 0.1
        while (version := self._committed()) is None:
            if self._stopping():  # nothing was acknowledged: all of it is read again
                return
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        self._metrics.commit_seconds.observe(time.monotonic() - begun)
        self._version = version
        try:
            self._source.acknowledge()
        except OSError as error:  # the next time for both
            self._failed("source", error)
        for publisher in self._publishers:
            publisher.announce(version, arrived)
        self._compactor.committed()
        self._tell(bar, len(arrived))

    def _committed(self) -> int | None:
        """The version that holds the window; None where it must be tried again."""
        with self._failures_told(), self._compactor.lock:
            return self._window.commit()
        return None

    def _tell(self, bar: tqdm, events: int) -> None:
        counts = self._window.take_counts()
        self._metrics.count(counts)
        self.counts += counts
        self._metrics.store_version.set(self._version)
        bar.update(events)
        bar.set_postfix(version=self._version, refresh=False)

    def _look_around(self) -> None:
        """Numbers for Prometheus, and whether all threads are alive."""
        self._metrics.window_age.set(self._window.age)
        if time.monotonic() > self._lag_told + _LAG_PAUSE:
            self._metrics.lag.set(self._source.lag())
            self._lag_told = time.monotonic()
        for publisher in self._publishers:
            if publisher.error is not None:
                raise StageError(f"{publisher.name} has failed: {publisher.error}") from publisher.error

    @contextmanager
    def _failures_told(self) -> Iterator[None]:
        try:
            yield
        except UnavailableError as error:
            self._failed("encoder", error)
        except (OSError, StageError) as error:
            self._failed("store", error)

    def _failed(self, part: str, error: Exception) -> None:
        self._metrics.failures.labels(part).inc()
        print(f"{part}: {error} Trying again.", file=sys.stderr, flush=True)
