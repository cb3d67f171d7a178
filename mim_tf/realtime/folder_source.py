"""Events from JSON lines in a watched folder."""

from __future__ import annotations

import hashlib
import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from mim_tf.errors import DataError
from mim_tf.realtime.event import Message
from mim_tf.workdir import write_aside

SUFFIX = ".jsonl"
_PAUSE = 0.02  # seconds between two looks at a folder without news
_LOOKED_AT = 256  # bytes before an offset, by which a file is known again
_LONGEST_LINE = 64 * 2**20  # bytes; what is longer comes in pieces, none of which is JSON


class _Place(NamedTuple):
    """How far a file was read."""

    inode: int  # a file put in its place mostly has another one
    offset: int  # bytes
    before: str  # digest of what stands before the offset: of a file made anew under the same name it differs


class FolderSource:
    """Reads the files `*.jsonl` of a folder in the order of their names, and what is appended to them later.

    A line counts once its newline is there, or once it is a whole JSON object: the last one may lack the newline. Other
    files, and folders in it, are ignored: write there under another name, then rename. Files that were read may be
    deleted.

    Args:
        folder: to watch.
        progress: file that keeps how far each file was taken in.

    Raises:
        DataError: there is no such folder, or the progress file is damaged.
    """

    def __init__(self, folder: Path, progress: Path):
        if not folder.is_dir():
            raise DataError(f"`realtime.source` must be an existing folder, or kafka://... Received: {folder}.")
        self._folder, self._progress = folder, progress
        self._read = _load(progress)

    def poll(self, most: int, seconds: float) -> list[Message]:
        """The next lines."""
        end = time.monotonic() + seconds
        while True:
            messages, trouble = self._look(most)
            if messages:
                return messages
            if trouble:
                raise trouble
            if time.monotonic() >= end:
                return []
            time.sleep(_PAUSE)

    def _look(self, most: int) -> tuple[list[Message], OSError | None]:
        """The next lines, and what has failed: a file that cannot be read holds the others up as little as it may."""
        messages: list[Message] = []
        trouble: OSError | None = None
        for file in self._files():
            try:
                messages += self._lines_of(file, most - len(messages))
            except FileNotFoundError:  # it went since we looked
                continue
            except OSError as error:
                trouble = error
            if len(messages) >= most:
                break
        return messages, trouble

    def acknowledge(self) -> None:
        """Write down how far every file was read, of those that are there."""
        there = {file.name for file in self._files()}
        self._read = {name: place for name, place in self._read.items() if name in there}
        write_aside(self._progress, json.dumps(self._read) + "\n")

    def drained(self) -> bool:
        """Always: a poll looks at every file."""
        return True

    def lag(self) -> int:
        """Bytes that were not read yet."""
        lag = 0
        for file in self._files():
            with suppress(FileNotFoundError):  # it went since we looked
                place = self._read.get(file.name)
                known = place is not None and place.inode == file.inode()
                lag += max(0, file.stat().st_size - (place.offset if place and known else 0))
        return lag

    def close(self) -> None:
        """Nothing is held open."""

    def _files(self) -> list[os.DirEntry[str]]:
        with os.scandir(self._folder) as entries:
            files = [entry for entry in entries if entry.name.endswith(SUFFIX) and not entry.name.startswith(".")]
        return sorted((entry for entry in files if entry.is_file()), key=lambda entry: entry.name)

    def _lines_of(self, file: os.DirEntry[str], most: int) -> list[Message]:
        place = self._read.get(file.name)
        if place and (place.inode, place.offset) == (file.inode(), file.stat().st_size):
            return []
        messages: list[Message] = []
        with open(file.path, "rb") as lines:
            offset = place.offset if place and _goes_on(lines, place) else 0
            lines.seek(offset)
            while len(messages) < most and _is_whole(line := lines.readline(_LONGEST_LINE)):
                if line.strip():
                    messages.append(Message(line, f"{file.name}, byte {offset}", time.time()))
                offset += len(line)
            self._read[file.name] = _Place(os.fstat(lines.fileno()).st_ino, offset, _before(lines, offset))
        return messages


def _goes_on(lines: BinaryIO, place: _Place) -> bool:
    """Whether a file is the one that was read up to a place."""
    return os.fstat(lines.fileno()).st_ino == place.inode and _before(lines, place.offset) == place.before


def _before(lines: BinaryIO, offset: int) -> str:
    """Digest of the bytes before an offset; of a file that is shorter it differs."""
    lines.seek(max(0, offset - _LOOKED_AT))
    return hashlib.sha256(lines.read(min(offset, _LOOKED_AT))).hexdigest()[:16]


def _is_whole(line: bytes) -> bool:
    """Whether nothing more will come: no beginning of a JSON object is one itself."""
    if line.endswith(b"\n") or len(line) == _LONGEST_LINE:
        return True
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _load(progress: Path) -> dict[str, _Place]:
    if not progress.exists():
        return {}
    try:
        return {name: _Place(*place) for name, place in json.loads(progress.read_bytes()).items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{progress} is damaged: {error}. Delete it to read all events again.") from error
