"""The record files that one worker reads: found, shared among the workers, checked."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import tensorflow as tf

from mim_tf.data.record_schema import (
    HELD_OUT_ITEMS,
    PAIRS,
    TRAIN,
    TRAIN_ITEMS,
    VALIDATION,
    VALIDATION_PAIRS,
    RecordSchema,
    Shard,
)
from mim_tf.errors import DataError

Folder = str | os.PathLike[str]
_MADE_FROM = {
    TRAIN_ITEMS: "data.items",
    HELD_OUT_ITEMS: "data.held_out",
    PAIRS: "data.pairs` or `data.impressions",
    VALIDATION_PAIRS: "data.validation_pairs` or `data.validation_from",
    TRAIN: "data.impressions",
    VALIDATION: "data.impressions",
}
_READ_AT_ONCE, _READ_BUFFER_BYTES = 256, 8 * 2**20


@dataclass(frozen=True)
class RecordFiles:
    """One worker's files of one or more splits.

    Attributes:
        schema: of the folder.
        paths: of the files.
        records: in all of them.
    """

    schema: RecordSchema
    paths: list[str]
    records: int

    @classmethod
    def open(
        cls, folder: Folder, names: Sequence[str], *, context: tf.distribute.InputContext | None, verify: bool
    ) -> Self:
        """Find and check them.

        Args:
            folder: what `prepare` wrote.
            names: `<kind>/<split>`, one or more of the same kind; some may be empty.
            context: leaves only this worker's share, every n-th file.
            verify: read the files once, so that damage shows now, with the name of the file, and not hours later.

        Raises:
            DataError: the folder holds no such records, there are more workers than files, or a file is missing,
                truncated or corrupt.
        """
        path = os.fspath(folder)
        schema = RecordSchema.load(path)
        shards = _share(_shards(schema, path, names), names, path, context)
        return cls(schema, [_checked(path, shard, verify) for shard in shards], sum(shard.records for shard in shards))


def _shards(schema: RecordSchema, folder: str, names: Sequence[str]) -> list[Shard]:
    for name in names:
        if name not in _MADE_FROM:
            raise DataError(f"`name` must be one of {sorted(_MADE_FROM)}. Received: {name!r}.")
    shards = [shard for name in names for shard in schema.shards.get(name, [])]
    if not shards:
        held = sorted(name for name, of in schema.shards.items() if of)
        raise DataError(
            f"`folder` must hold {names[0]} records: set `{_MADE_FROM[names[0]]}` and prepare again. "
            f"Received: {folder}, with {held}."
        )
    return shards


def _share(
    shards: list[Shard], names: Sequence[str], folder: str, context: tf.distribute.InputContext | None
) -> list[Shard]:
    """The shards of one worker: every n-th of those there are."""
    if context is None:
        return shards
    if len(shards) < context.num_input_pipelines:
        raise DataError(
            f"`data.shards` must be at least the number of workers, {context.num_input_pipelines}. "
            f"Received: {len(shards)} shards of {', '.join(names)} in {folder}."
        )
    return shards[context.input_pipeline_id :: context.num_input_pipelines]


def _checked(folder: str, shard: Shard, verify: bool) -> str:
    """Check one file: always its size, and when asked to also the checksum of each record."""
    path = posixpath.join(folder, shard.file)
    try:
        size = tf.io.gfile.stat(path).length
        if size != shard.bytes:
            raise DataError(f"`{path}` must have {shard.bytes} bytes, as written. Received: {size} bytes.")
        if verify:
            # TensorFlow's own error, later and inside of training, would not say which file is damaged.
            _read_through(path)
    except tf.errors.NotFoundError as error:
        raise DataError(f"`{path}` must exist, as `schema.json` lists it. Received: no such file.") from error
    except tf.errors.DataLossError as error:
        raise DataError(f"`{path}` must be an intact TFRecord file. Received: {error.message}") from error
    return path


def _read_through(path: str) -> None:
    # Batches keep the Python loop short; `reduce` would trace a function for every file.
    for _ in tf.data.TFRecordDataset(path, buffer_size=_READ_BUFFER_BYTES).batch(_READ_AT_ONCE):
        pass
