"""Files that are brought in the background, while those that are there are read."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future

_AT_ONCE = 4


class Arrivals:
    """Brings files in their order, several at once; one that is waited for comes before its turn.

    Nothing begins before the first wait. The threads end with the process, in the middle of a file if need be.

    Args:
        fetching: by path, what brings a file; nothing for files that are there.
    """

    def __init__(self, fetching: Mapping[str, Callable[[], None]]) -> None:
        self._fetching = dict(fetching)
        self._futures: dict[str, Future[None]] = {path: Future() for path in fetching}
        self._next: Iterator[str] = iter(self._fetching)
        self._lock = threading.Lock()
        self._began = False

    def __len__(self) -> int:
        """How many files were not there."""
        return len(self._futures)

    def __contains__(self, path: str) -> bool:
        """Whether a file was not there."""
        return path in self._futures

    def wait(self, path: str) -> None:
        """Come back when a file is there.

        Raises:
            DataError: it cannot be brought.
        """
        if path not in self._futures:
            return
        self._begin()
        if self._futures[path].cancel():  # its turn has not come
            self._fetching[path]()
        else:
            self._futures[path].result()

    def wait_for_all(self) -> None:
        """Come back when all files are there; errors as in `wait`."""
        for path in self._futures:
            self.wait(path)

    def _begin(self) -> None:
        with self._lock:
            began, self._began = self._began, True
        for _ in range(0 if began else min(_AT_ONCE, len(self))):
            threading.Thread(target=self._bring, daemon=True).start()

    def _bring(self) -> None:
        while True:
            with self._lock:
                path = next(self._next, None)
            if path is None:
                return
            future = self._futures[path]
            if future.set_running_or_notify_cancel():
                try:
                    self._fetching[path]()
                    future.set_result(None)
                except Exception as error:  # for who waits
                    future.set_exception(error)
