"""Records that lie in an object store: put there file by file, and fetched into a local folder as they are read."""

from __future__ import annotations

import json
import os
import posixpath
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import fsspec
import tensorflow as tf

from mim_tf.data.record_schema import SCHEMA_FILE, Shard
from mim_tf.errors import DataError

ELSEWHERE_FILE = "elsewhere.json"
"""Lies in a folder of records in place of the record files: where they are, and where they are fetched to."""
_OWNER_FILE = "prepared_by.txt"
_PUT_AT_ONCE, _TRIES = 8, 3


@dataclass(frozen=True)
class RecordCache:
    """Where the record files of a folder come from, and where they are read.

    Attributes:
        uri: the folder in the object store.
        folder: the local one, which holds those that were fetched.
    """

    uri: str
    folder: str

    @classmethod
    def of(cls, records: str) -> Self | None:
        """The cache of a folder of records; None if its files lie there themselves.

        Raises:
            DataError: `ELSEWHERE_FILE` is damaged.
        """
        path = posixpath.join(records, ELSEWHERE_FILE)
        try:
            held = json.loads(Path(path).read_text(encoding="utf-8"))
            return cls(held["records"], held["cache"] or records)
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"`{path}` must be as `prepare` wrote it: prepare again. Received: {error}") from error

    def path(self, file: str) -> str:
        """Where a file is read."""
        return posixpath.join(self.folder, file)

    def holds(self, shard: Shard) -> bool:
        """Whether a file was fetched."""
        path = self.path(shard.file)
        return os.path.exists(path) and os.path.getsize(path) == shard.bytes

    def fetch(self, shard: Shard) -> None:
        """Fetch a file unless it is there; any number of processes may at once.

        It has its name only when it is whole, so what an interrupted process leaves is not taken for it.

        Raises:
            DataError: it cannot be read, or is not as it was written.
        """
        if self.holds(shard):
            return
        path, source = self.path(shard.file), posixpath.join(self.uri, shard.file)
        aside = f"{path}.{uuid.uuid4().hex}.partial"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        try:
            filesystem, location = fsspec.core.url_to_fs(source)
            filesystem.get_file(location, aside)
            size = os.path.getsize(aside)
            if size != shard.bytes:
                raise DataError(f"`{source}` must have {shard.bytes} bytes, as written. Received: {size} bytes.")
            os.replace(aside, path)
        except DataError:
            raise
        except FileNotFoundError as error:
            raise DataError(f"`{source}` must exist, as `{SCHEMA_FILE}` lists it. Received: no such file.") from error
        except Exception as error:  # every object store has errors of its own
            raise DataError(
                f"`{source}` must be readable. Received: {type(error).__name__}: {error}. Run the same command again: "
                "files that were fetched are kept."
            ) from error
        finally:
            Path(aside).unlink(missing_ok=True)


def record_path(records: str, file: str) -> str:
    """Where a file of a folder of records is read."""
    cache = RecordCache.of(records)
    return posixpath.join(records, file) if cache is None else cache.path(file)


@contextmanager
def transfers_explained() -> Iterator[None]:
    """Say what could not be fetched: an error inside of an input reaches its reader as one of TensorFlow's.

    Raises:
        DataError: in place of TensorFlow's error.
    """
    try:
        yield
    except tf.errors.OpError as error:
        explained = re.search(r"DataError: (.*)", error.message)
        if explained is None:
            raise
        raise DataError(explained.group(1)) from error


def claim(uri: str, owner: str) -> None:
    """Take an empty folder of an object store for the records of one preparation.

    What an interrupted preparation of the same owner left there is removed; anything else is refused.

    Args:
        uri: the folder, of any file system that fsspec knows.
        owner: tells preparations apart; drawn anew for each, and kept until it has ended.

    Raises:
        DataError: it holds files of another, or cannot be written.
    """
    filesystem, location = _filesystem(uri)
    held = [name for name in filesystem.find(location) if name != location] if filesystem.exists(location) else []
    if held and _owner(filesystem, location) != owner:
        raise DataError(
            f"`data.records` must be an empty folder, or one that does not exist. Received: {uri}, with {len(held)} "
            f"files: {held[0]} ..."
        )
    if held:
        filesystem.rm(held)
    _write(filesystem, location, owner)


def move(records: Path, uri: str, cache: str | None) -> None:
    """Move the record files of a prepared folder to the object store, `schema.json` last.

    Small files, such as the schema, are in both places afterwards.

    Args:
        records: what `prepare` wrote.
        uri: the folder that was claimed.
        cache: local folder that the files are fetched to; None for `records` itself.

    Raises:
        DataError: a file cannot be written.
    """
    filesystem, location = _filesystem(uri)
    files = sorted(path.relative_to(records).as_posix() for path in records.rglob("*") if path.is_file())

    def put(file: str) -> None:
        try:
            target = posixpath.join(location, file)
            filesystem.makedirs(posixpath.dirname(target), exist_ok=True)
            _tried(lambda: filesystem.put_file(str(records / file), target))
        except Exception as error:  # every object store has errors of its own
            raise DataError(
                f"`data.records` must be writable. Received: {uri}/{file}: {type(error).__name__}: {error}"
            ) from error

    with ThreadPoolExecutor(_PUT_AT_ONCE) as pool:
        list(pool.map(put, [file for file in files if file != SCHEMA_FILE]))
    put(SCHEMA_FILE)
    for folder in {records / file.split("/")[0] for file in files if "/" in file}:
        shutil.rmtree(folder)
    # Each preparation has a cache of its own, so that no file of an earlier one is read.
    own = None if cache is None else posixpath.join(os.path.abspath(cache), _owner(filesystem, location))
    (records / ELSEWHERE_FILE).write_text(json.dumps({"records": uri, "cache": own}) + "\n", encoding="utf-8")


def _tried(put: Callable[[], object]) -> None:
    """Put a file, once more where it fails: of many transfers some do."""
    for attempt in range(1, _TRIES):
        try:
            put()
            return
        except OSError:
            time.sleep(attempt)
    put()


def _filesystem(uri: str) -> tuple[Any, str]:
    try:
        filesystem, location = fsspec.core.url_to_fs(uri)
    except (ImportError, ValueError) as error:
        raise DataError(
            f"`data.records` must be a folder's URI that can be opened. Received: {uri}: {error}"
        ) from error
    return filesystem, str(location)


def _owner(filesystem: Any, location: str) -> str:
    path = posixpath.join(location, _OWNER_FILE)
    return str(filesystem.cat_file(path).decode()) if filesystem.exists(path) else ""


def _write(filesystem: Any, location: str, owner: str) -> None:
    try:
        filesystem.makedirs(location, exist_ok=True)
        filesystem.pipe_file(posixpath.join(location, _OWNER_FILE), owner.encode())
    except Exception as error:  # every object store has errors of its own
        raise DataError(
            f"`data.records` must be writable. Received: {location}: {type(error).__name__}: {error}"
        ) from error
