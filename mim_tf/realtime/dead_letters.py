"""Events that can never be taken in, kept with the reason."""

from __future__ import annotations

import base64
import json
import os
from datetime import UTC, datetime
from pathlib import Path

from mim_tf.realtime.event import Message


class DeadLetters:
    """A file of JSON lines: `reason`, `origin`, `time` (UTC) and the event: `event`, or `event_base64` of bytes.

    Where the process was killed an event may stand there twice.

    Args:
        path: of the file; it is appended to.
    """

    def __init__(self, path: Path):
        self.path = path
        self._file = path.open("ab")
        if self._file.tell() and not self._ends_with_newline():
            self._file.write(b"\n")  # a killed process left a part of a line

    def add(self, message: Message, reason: str) -> None:
        """Keep an event."""
        letter = {"reason": reason, "origin": message.origin, "time": datetime.now(UTC).isoformat()}
        try:
            letter["event"] = message.payload.decode()
        except UnicodeDecodeError:
            letter["event_base64"] = base64.b64encode(message.payload).decode()
        self._file.write(json.dumps(letter).encode() + b"\n")

    def flush(self) -> None:
        """Return when all of them are on disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _ends_with_newline(self) -> bool:
        with self.path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read() == b"\n"
