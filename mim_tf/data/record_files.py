"""The record files that one worker reads: found, shared among the workers, checked."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Self

import tensorflow as tf

from mim_tf.data.arrivals import Arrivals
from mim_tf.data.mixed_records import MixedRecords
from mim_tf.data.record_cache import RecordCache, record_path
from mim_tf.data.record_schema import (
    HELD_OUT_ITEMS,
    IMPRESSION_SPLITS,
    PAIRS,
    TRAIN,
    TRAIN_ITEMS,
    VALIDATION,
    VALIDATION_PAIRS,
    RecordSchema,
    Shard,
)
from mim_tf.data.record_writer import compression_of
from mim_tf.errors import DataError

Folder = str | os.PathLike[str]
Records = Folder | MixedRecords
_MADE_FROM = {
    TRAIN_ITEMS: "data.items",
    HELD_OUT_ITEMS: "data.held_out",
    PAIRS: "data.pairs` or `data.impressions",
    VALIDATION_PAIRS: "data.validation_pairs` or `data.validation_from",
    TRAIN: "data.impressions",
    VALIDATION: "data.impressions",
}
_READ_AT_ONCE, _READ_BUFFER_BYTES = 256, 8 * 2**20
FILES_AT_ONCE = 4
"""Files of each day that are read in turns, a record of each."""


@dataclass(frozen=True)
class RecordFiles:
    """One worker's files of one or more splits.

    Attributes:
        schema: of the folder, or of the first of several.
        paths: of the files.
        shards: what lies in each of them.
        compression: of all of them, as TensorFlow spells it.
        days: from how many folders they are.
        arrivals: those that are still in an object store.
    """

    schema: RecordSchema
    paths: list[str]
    shards: list[Shard]
    compression: str
    days: int
    arrivals: Arrivals

    @classmethod
    def open(
        cls, folder: Records, names: Sequence[str], *, context: tf.distribute.InputContext | None, verify: bool
    ) -> Self:
        """Find and check them.

        Files of an object store are fetched first, but for impressions: those come while `read` gives the ones before.

        Args:
            folder: what `prepare` wrote, perhaps in several runs.
            names: `<kind>/<split>`, one or more of the same kind; some may be empty.
            context: leaves only this worker's share, every n-th file.
            verify: read the files once, so that damage shows now, with the name of the file, and not hours later. Of
                those that are yet to come the size is checked then.

        Raises:
            DataError: the folder holds no such records, there are more workers than files, or a file is missing,
                truncated or corrupt.
        """
        mixed = folder if isinstance(folder, MixedRecords) else MixedRecords(folder)
        schema = RecordSchema.load(mixed.folder)
        files = _share(_found(mixed, schema, names), names, mixed, context)
        compression, arrivals = compression_of(names[0]), _arrivals(files)
        if not names[0].startswith("impressions/"):
            arrivals.wait_for_all()
            arrivals = Arrivals({})
        paths = [record_path(records, shard.file) for records, shard in files]
        for path, (_, shard) in zip(paths, files, strict=True):
            if path not in arrivals:
                _check(path, shard, compression, verify)
        days = len({records for records, _ in files})
        return cls(schema, paths, [shard for _, shard in files], compression, days, arrivals)

    @property
    def records(self) -> int:
        """Records in all files."""
        return sum(shard.records for shard in self.shards)

    def read(self, shuffle: int, seed: int | None) -> tf.data.Dataset:
        """One epoch of serialized records, from several files in turn.

        Args:
            shuffle: records to shuffle among, and the files too; 0 keeps their order.
            seed: of the shuffling, which differs from epoch to epoch; None leaves it to chance.
        """
        files = tf.data.Dataset.from_tensor_slices(self.paths)
        if shuffle:
            files = files.shuffle(len(self.paths), seed=seed)
        records = self._arriving(files).interleave(
            lambda path: tf.data.TFRecordDataset(path, self.compression, _READ_BUFFER_BYTES),
            cycle_length=FILES_AT_ONCE * self.days,
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        return records.shuffle(shuffle, seed=seed) if shuffle else records

    def fetch(self) -> None:
        """Bring all files that are still in an object store, for processes that cannot.

        Raises:
            DataError: a file cannot be read, or is not as it was written.
        """
        self.arrivals.wait_for_all()

    def _arriving(self, files: tf.data.Dataset) -> tf.data.Dataset:
        """Paths of files, each as soon as it is there."""
        if not self.arrivals:
            return files

        def wait(path: bytes) -> bytes:
            self.arrivals.wait(path.decode())
            return path

        return files.map(lambda path: tf.ensure_shape(tf.numpy_function(wait, [path], tf.string), []))


_File = tuple[str, Shard]  # and its folder


def _found(mixed: MixedRecords, schema: RecordSchema, names: Sequence[str]) -> list[_File]:
    for name in names:
        if name not in _MADE_FROM:
            raise DataError(f"`name` must be one of {sorted(_MADE_FROM)}. Received: {name!r}.")
    files = [file for name in names for file in mixed.files(name)]
    if not files:
        held = sorted(name for name, of in schema.shards.items() if of)
        raise DataError(
            f"`folder` must hold {names[0]} records: set `{_MADE_FROM[names[0]]}` and prepare again. "
            f"Received: {os.fspath(mixed.folder)}, with {held}."
        )
    if names[0] in IMPRESSION_SPLITS.values() and not all(shard.impressions for _, shard in files):
        raise DataError(
            "`folder` must hold impressions that lie by users and sessions: prepare again. "
            f"Received: {os.fspath(mixed.folder)}, with older ones."
        )
    return files


def _share(
    files: list[_File], names: Sequence[str], mixed: MixedRecords, context: tf.distribute.InputContext | None
) -> list[_File]:
    """The files of one worker: every n-th of those there are."""
    if context is None:
        return files
    if len(files) < context.num_input_pipelines:
        raise DataError(
            f"`data.shards` must be at least the number of workers, {context.num_input_pipelines}. "
            f"Received: {len(files)} shards of {', '.join(names)} in {os.fspath(mixed.folder)}."
        )
    return files[context.input_pipeline_id :: context.num_input_pipelines]


def _arrivals(files: list[_File]) -> Arrivals:
    """The files that are still in an object store."""
    caches = ((RecordCache.of(records), shard) for records, shard in files)
    return Arrivals(
        {
            cache.path(shard.file): partial(cache.fetch, shard)
            for cache, shard in caches
            if cache is not None and not cache.holds(shard)
        }
    )


def _check(path: str, shard: Shard, compression: str, verify: bool) -> None:
    """Check one file: always its size, and when asked to also the checksum of each record."""
    try:
        size = tf.io.gfile.stat(path).length
        if size != shard.bytes:
            raise DataError(f"`{path}` must have {shard.bytes} bytes, as written. Received: {size} bytes.")
        if verify:
            # TensorFlow's own error, later and inside of training, would not say which file is damaged.
            _read_through(path, compression)
    except tf.errors.NotFoundError as error:
        raise DataError(f"`{path}` must exist, as `schema.json` lists it. Received: no such file.") from error
    except tf.errors.DataLossError as error:
        raise DataError(f"`{path}` must be an intact TFRecord file. Received: {error.message}") from error


def _read_through(path: str, compression: str) -> None:
    # Batches keep the Python loop short; `reduce` would trace a function for every file.
    for _ in tf.data.TFRecordDataset(path, compression, _READ_BUFFER_BYTES).batch(_READ_AT_ONCE):
        pass
