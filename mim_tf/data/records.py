"""Reading training records as `tf.data` datasets of parsed dictionaries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import tensorflow as tf

from mim_tf.data.record_files import Folder, RecordFiles
from mim_tf.data.record_parser import RecordParser
from mim_tf.data.record_schema import HELD_OUT_ITEMS, TRAIN, TRAIN_ITEMS, VALIDATION
from mim_tf.errors import DataError

ITEM_SPLITS = {"train": TRAIN_ITEMS, "held_out": HELD_OUT_ITEMS}
IMPRESSION_SPLITS = {"train": TRAIN, "validation": VALIDATION}
_FILES_AT_ONCE = 4
_PARSED_AT_ONCE = 64


def read_items(
    folder: Folder,
    split: str | None = None,
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
        split: "train" or "held_out"; None reads both, beginning with files of the former.
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
    names = list(ITEM_SPLITS.values()) if split is None else [_split(ITEM_SPLITS, split)]
    return _read(folder, names, batch_size, shuffle, seed, repeat, context, verify)


def read_impressions(
    folder: Folder,
    split: str,
    *,
    batch_size: int | None = None,
    history_length: int | None = None,
    shuffle: int = 0,
    seed: int | None = 0,
    repeat: bool = False,
    context: tf.distribute.InputContext | None = None,
    verify: bool = True,
) -> tf.data.Dataset:
    """Read the impressions: `user_id, item_id, category, timestamp, label` and the behaviour history.

    `history_item_id`, `history_category` and `history_timestamp` are `[batch, history_length]`, oldest first, padded at
    the end with -1 or "" (ids), "" and 0. Features by configuration (`RecordSchema.features`) are `item_<column>` of
    the target and `history_<column>` of behaviours, padded with "" or 0; columns of the log have their own names, and
    `item_age` is in seconds. `query_embedding` is `[batch, query_dim]`. Arguments not named here, and errors, as in
    `read_items`.

    Args:
        folder: what `prepare` wrote.
        split: "train" or "validation".
        batch_size: as in `read_items`.
        history_length: keeps only so many of the latest behaviours; None keeps what was prepared.
        shuffle: as in `read_items`.
        seed: as in `read_items`; None leaves the order to chance.
        repeat: as in `read_items`.
        context: as in `read_items`.
        verify: as in `read_items`.
    """
    names = [_split(IMPRESSION_SPLITS, split)]
    if history_length is not None and history_length < 1:
        raise DataError(f"`history_length` must be at least 1. Received: {history_length}.")
    return _read(folder, names, batch_size, shuffle, seed, repeat, context, verify, history_length)


def _split(splits: Mapping[str, str], split: str) -> str:
    if split not in splits:
        raise DataError(f"`split` must be one of {sorted(splits)}. Received: {split!r}.")
    return splits[split]


def _read(
    folder: Folder,
    names: Sequence[str],
    batch_size: int | None,
    shuffle: int,
    seed: int | None,
    repeat: bool,
    context: tf.distribute.InputContext | None,
    verify: bool,
    history_length: int | None = None,
) -> tf.data.Dataset:
    opened = RecordFiles.open(folder, names, context=context, verify=verify)
    files = tf.data.Dataset.from_tensor_slices(opened.paths)
    if shuffle:
        files = files.shuffle(len(opened.paths), seed=seed)
    records = files.interleave(
        tf.data.TFRecordDataset, cycle_length=_FILES_AT_ONCE, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
    if shuffle:
        records = records.shuffle(shuffle, seed=seed)
    if repeat:
        records = records.repeat()
    if context and batch_size:
        batch_size = context.get_per_replica_batch_size(batch_size)
    parse = RecordParser(opened.schema, names[0], history_length)
    parsed = records.batch(batch_size or _PARSED_AT_ONCE).map(parse, num_parallel_calls=tf.data.AUTOTUNE)
    return (parsed if batch_size else parsed.unbatch()).prefetch(tf.data.AUTOTUNE)
