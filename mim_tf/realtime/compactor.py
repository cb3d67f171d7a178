"""Compacts the store from time to time, beside the commits."""

from __future__ import annotations

import sys
import threading
from datetime import timedelta

from mim_tf.errors import StageError
from mim_tf.representation import EmbeddingStore


class Compactor:
    """Puts the windows' small files together and removes old versions, in a thread of its own.

    The process's own commits wait for it (`lock`): one that came between would make it begin again.

    Args:
        store_path: of the store.
        every: commits between two compactions.
        keep: age from which versions are removed; tagged ones stay.
    """

    def __init__(self, store_path: str, every: int, keep: timedelta):
        self._path, self._every, self._keep = store_path, every, keep
        self.lock = threading.Lock()
        self._commits = 0
        self._thread: threading.Thread | None = None

    def committed(self) -> None:
        """Count a commit; begin a compaction when it is time and none runs."""
        self._commits += 1
        if self._commits >= self._every and not (self._thread and self._thread.is_alive()):
            self._commits = 0
            self._thread = threading.Thread(target=self._compact, name="compaction", daemon=True)
            self._thread.start()

    def wait(self, seconds: float) -> None:
        """Give a compaction that runs so long to end; a store is whole without it, too."""
        if self._thread:
            self._thread.join(seconds)

    def _compact(self) -> None:
        try:
            with self.lock:
                EmbeddingStore(self._path).compact(older_than=self._keep, small_files_only=True)
        except (StageError, OSError) as error:  # the next one may do better
            print(f"The store was not compacted: {error}", file=sys.stderr, flush=True)
