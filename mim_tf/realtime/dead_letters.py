"""Events that can never be taken in, kept with the reason."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from mim_tf.realtime.event import Message


class DeadLetters:
    """A file of JSON lines: `reason`, `origin`, `time` (UTC) and the event: `event`, or `event_base64` of bytes.

    Where the process was killed or the disk was full an event may stand there twice.

    Args:
        path: of the file; it is appended to.
    """

    def __init__(self, path: Path):
        self.path = path

    def keep(self, letters: Sequence[tuple[Message, str]]) -> None:
        """Return when events are on the disk, each with the reason.

        Raises:
            OSError: the disk is full, or fails. Part of them may be there: to be called again with the same ones.
        """
        if not letters:
            return
        lines = [_line(message, reason) for message, reason in letters]
        with self.path.open("ab") as file:
            if file.tell() and not self._ends_with_newline():
                file.write(b"\n")  # a killed process, or a full disk, left a part of a line
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())

    def _ends_with_newline(self) -> bool:
        with self.path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read() == b"\n"


def _line(message: Message, reason: str) -> bytes:
    letter = {"reason": reason, "origin": message.origin, "time": datetime.now(UTC).isoformat()}
    try:
        letter["event"] = message.payload.decode()
    except UnicodeDecodeError:
        letter["event_base64"] = base64.b64encode(message.payload).decode()
    return json.dumps(letter).encode() + b"\n"
