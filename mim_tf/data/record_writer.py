"""Writing training records: Arrow batches in, TFRecord shards of `tf.train.Example` out."""

from __future__ import annotations

import os
import uuid
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa
import tensorflow as tf

from mim_tf.data.record_encoding import Encoded, encode, whole_records
from mim_tf.data.record_schema import Shard

GZIP = "GZIP"
# Of zlib's levels 1 to 9: higher ones take most of a preparation's time and save little.
_LEVEL = 1


def shard_files(name: str, count: int) -> list[str]:
    """The files of a split, as paths in the folder of all records: `<name>-00000-of-0000N.tfrecord`.

    Those of impressions are compressed and end with `.gz`; the others are read by offset.
    """
    ending = ".tfrecord.gz" if compression_of(name) else ".tfrecord"
    return [f"{name}-{number:05d}-of-{count:05d}{ending}" for number in range(count)]


def split_of(file: str) -> str:
    """The split, `<kind>/<split>`, that a file of `shard_files` is of."""
    return file.rsplit("-", 3)[0]


def compression_of(name: str) -> str:
    """How the files of a split, `<kind>/<split>`, are compressed, as TensorFlow spells it."""
    return GZIP if name.startswith("impressions/") else ""


def write_shards(
    folder: Path,
    name: str,
    batches: Iterable[pa.RecordBatch],
    *,
    total: int,
    shards: int,
    progress: Callable[[str, int, int], None],
) -> list[Shard]:
    """Write the records in turn to each shard.

    Args:
        folder: the folder of all records.
        name: `<kind>/<split>`.
        batches: the rows in the order of records, which may go on from one batch to the next.
        total: records in all; there are never more shards than records, so none without records.
        shards: files to write.
        progress: told about the records written.

    Returns:
        The shards.

    Raises:
        RuntimeError: more or fewer records came than there are in all.
    """
    count = min(shards, total)
    done = 0
    with ExitStack() as stack:
        files = shard_files(name, count)
        writers = [stack.enter_context(_ShardFile(folder, file, compression_of(name))) for file in files]
        for batch in whole_records(batches):
            for record in encode(batch):
                writers[done % count].write(record)
                done += 1
            progress(f"write {name}", done, total)
        if done != total:
            raise RuntimeError(f"{name}: {total} records were to be written, {done} came.")  # a row met no image or two
    return [writer.shard for writer in writers]


def write_shard(folder: Path, file: str, batches: Iterable[pa.RecordBatch]) -> Shard:
    """Write all records to one shard, which has its name only when it is complete.

    Args:
        folder: the folder of all records.
        file: its path in the folder.
        batches: as in `write_shards`.

    Returns:
        The shard.
    """
    with _ShardFile(folder, file, compression_of(split_of(file))) as writer:
        for batch in whole_records(batches):
            for record in encode(batch):
                writer.write(record)
    return writer.shard


class _ShardFile:
    """One shard, written in a file of another name, and put in its place when nothing failed.

    Attributes:
        shard: what was written, once it is in its place.
    """

    shard: Shard

    def __init__(self, folder: Path, file: str, compression: str) -> None:
        self._file, self._target = file, folder / file
        self._target.parent.mkdir(parents=True, exist_ok=True)
        # Names are drawn, as a cluster may try a shard a second time while the first try still runs.
        self._path = self._target.with_name(f".{self._target.name}-{uuid.uuid4().hex}")
        options = tf.io.TFRecordOptions(compression_type=compression, compression_level=_LEVEL if compression else None)
        self._writer = tf.io.TFRecordWriter(str(self._path), options)
        self._records, self._sessions = 0, Counter[int]()

    def write(self, record: Encoded) -> None:
        self._writer.write(record.example)
        self._records += 1
        self._sessions.update(record.sessions)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._writer.close()
            if error is None:
                self._put()
        finally:
            self._path.unlink(missing_ok=True)

    def _put(self) -> None:
        size = self._path.stat().st_size
        os.replace(self._path, self._target)
        sessions = {str(length): count for length, count in sorted(self._sessions.items())}
        impressions = sum(length * count for length, count in self._sessions.items())
        self.shard = Shard(self._file, self._records, size, impressions, sessions)
