"""Reading training records as `tf.data` datasets of parsed dictionaries."""

from __future__ import annotations

import os
import posixpath

import tensorflow as tf

from mim_tf.data.record_schema import HISTORY_PREFIX, ITEMS, PAIRS, TRAIN, VALIDATION, RecordSchema, Shard
from mim_tf.errors import DataError

Folder = str | os.PathLike[str]
SPLITS = {"train": TRAIN, "validation": VALIDATION}
_MADE_FROM = {
    ITEMS: "data.items",
    PAIRS: "data.pairs` or `data.impressions",
    TRAIN: "data.impressions",
    VALIDATION: "data.impressions",
}
_FILES_AT_ONCE = 4
_PARSED_AT_ONCE = 64
_READ_AT_ONCE, _READ_BUFFER_BYTES = 256, 8 * 2**20


def read_items(
    folder: Folder,
    *,
    batch_size: int | None = None,
    shuffle: int = 0,
    seed: int = 0,
    repeat: bool = False,
    context: tf.distribute.InputContext | None = None,
    verify: bool = True,
) -> tf.data.Dataset:
    """Read the items: `item_id, title, category, image` (encoded bytes).

    Args:
        folder: what `prepare` wrote.
        batch_size: records per batch, over all replicas; None gives single records.
        shuffle: records to shuffle among; 0 keeps the order of the files.
        seed: of the shuffling, which differs from epoch to epoch.
        repeat: go on for ever; otherwise one epoch, the last batch perhaps smaller.
        context: reads only this worker's share of the files, and only its share of a batch.
        verify: read the files once before, so that damage shows now, with the name of the file, and not hours later.

    Returns:
        The dataset.

    Raises:
        DataError: the folder holds no such records, or a file of them is missing, truncated or corrupt.
    """
    return _read(folder, ITEMS, batch_size, shuffle, seed, repeat, context, verify)


def read_pairs(
    folder: Folder,
    *,
    batch_size: int | None = None,
    shuffle: int = 0,
    seed: int = 0,
    repeat: bool = False,
    context: tf.distribute.InputContext | None = None,
    verify: bool = True,
) -> tf.data.Dataset:
    """Read the interest pairs: `query_image`, and of the item and its hard negative id, image and title.

    The negative's fields begin with `negative_`; images are encoded bytes. Arguments, and errors, as in `read_items`.
    """
    return _read(folder, PAIRS, batch_size, shuffle, seed, repeat, context, verify)


def read_impressions(
    folder: Folder,
    split: str,
    *,
    batch_size: int | None = None,
    history_length: int | None = None,
    shuffle: int = 0,
    seed: int = 0,
    repeat: bool = False,
    context: tf.distribute.InputContext | None = None,
    verify: bool = True,
) -> tf.data.Dataset:
    """Read the impressions: `user_id, item_id, category, timestamp, label` and the behaviour history.

    `history_item_id`, `history_category` and `history_timestamp` are `[batch, history_length]`, oldest first, padded at
    the end with -1 or "" (ids), "" and 0. Arguments not named here, and errors, as in `read_items`.

    Args:
        folder: what `prepare` wrote.
        split: "train" or "validation".
        batch_size: as in `read_items`.
        history_length: keeps only so many of the latest behaviours; None keeps what was prepared.
        shuffle: as in `read_items`.
        seed: as in `read_items`.
        repeat: as in `read_items`.
        context: as in `read_items`.
        verify: as in `read_items`.
    """
    if split not in SPLITS:
        raise DataError(f"`split` must be one of {sorted(SPLITS)}. Received: {split!r}.")
    if history_length is not None and history_length < 1:
        raise DataError(f"`history_length` must be at least 1. Received: {history_length}.")
    return _read(folder, SPLITS[split], batch_size, shuffle, seed, repeat, context, verify, history_length)


def _read(
    folder: Folder,
    name: str,
    batch_size: int | None,
    shuffle: int,
    seed: int,
    repeat: bool,
    context: tf.distribute.InputContext | None,
    verify: bool,
    history_length: int | None = None,
) -> tf.data.Dataset:
    schema = RecordSchema.load(os.fspath(folder))
    shards = _share(schema, os.fspath(folder), name, context)
    paths = [_checked(os.fspath(folder), shard, verify) for shard in shards]
    files = tf.data.Dataset.from_tensor_slices(paths)
    if shuffle:
        files = files.shuffle(len(paths), seed=seed)
    records = files.interleave(
        tf.data.TFRecordDataset, cycle_length=_FILES_AT_ONCE, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
    if shuffle:
        records = records.shuffle(shuffle, seed=seed)
    if repeat:
        records = records.repeat()
    if context and batch_size:
        batch_size = context.get_per_replica_batch_size(batch_size)
    parse = _Parser(schema, name.split("/")[0], history_length)
    parsed = records.batch(batch_size or _PARSED_AT_ONCE).map(parse, num_parallel_calls=tf.data.AUTOTUNE)
    return (parsed if batch_size else parsed.unbatch()).prefetch(tf.data.AUTOTUNE)


def _share(schema: RecordSchema, folder: str, name: str, context: tf.distribute.InputContext | None) -> list[Shard]:
    """The shards of one worker: every n-th of those there are."""
    shards = schema.shards.get(name, [])
    if not shards:
        raise DataError(
            f"`folder` must hold {name} records: set `{_MADE_FROM[name]}` and prepare again. "
            f"Received: {folder}, with {sorted(schema.shards)}."
        )
    if context is None:
        return shards
    if len(shards) < context.num_input_pipelines:
        raise DataError(
            f"`data.shards` must be at least the number of workers, {context.num_input_pipelines}. "
            f"Received: {len(shards)} shards of {name} in {folder}."
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


class _Parser:
    """Parses a batch of serialized examples at once."""

    def __init__(self, schema: RecordSchema, kind: str, history_length: int | None) -> None:
        self._length = history_length or schema.history_length or 0
        self._features = {
            name: tf.io.RaggedFeature(dtype) if name.startswith(HISTORY_PREFIX) else tf.io.FixedLenFeature([], dtype)
            for name, dtype in schema.fields(kind).items()
        }

    def __call__(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        parsed = tf.io.parse_example(examples, self._features)
        return {name: self._dense(name, value) for name, value in parsed.items()}

    def _dense(self, name: str, value: tf.Tensor | tf.RaggedTensor) -> tf.Tensor:
        if not name.startswith(HISTORY_PREFIX):
            return value
        padding = "" if value.dtype == tf.string else -1 if name.endswith("_id") else 0
        latest = value[:, -self._length :]
        return latest.to_tensor(padding, shape=[None, self._length])
