"""Reading training records as `tf.data` datasets of parsed dictionaries."""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from mim_tf.data.record_files import Folder, RecordFiles, Records
from mim_tf.data.record_parser import RecordParser
from mim_tf.data.record_schema import HELD_OUT_ITEMS, IMPRESSION_SPLITS, TRAIN_ITEMS
from mim_tf.data.session_batches import SessionBatches
from mim_tf.errors import DataError

ITEM_SPLITS = {"train": TRAIN_ITEMS, "held_out": HELD_OUT_ITEMS}
_SINGLE_AT_ONCE = 64


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
    files = RecordFiles.open(folder, names, context=context, verify=verify)
    records = files.read(shuffle, seed)
    parse = RecordParser(files.schema, names[0])
    examples = (records.repeat() if repeat else records).batch(_of_replica(batch_size, context) or _SINGLE_AT_ONCE)
    parsed = examples.map(parse, num_parallel_calls=tf.data.AUTOTUNE)
    return (parsed if batch_size else parsed.unbatch()).prefetch(tf.data.AUTOTUNE)


def read_impressions(
    folder: Records,
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
    files = RecordFiles.open(folder, [_split(IMPRESSION_SPLITS, split)], context=context, verify=verify)
    rows = SessionBatches(_of_replica(batch_size, context) or _SINGLE_AT_ONCE, _length(files, history_length))
    batches = rows.of(files, shuffle=shuffle, seed=seed, repeat=repeat)
    return (batches if batch_size else batches.unbatch()).prefetch(tf.data.AUTOTUNE)


def read_sessions(
    folder: Records,
    split: str,
    *,
    candidates: int,
    rows: int,
    history_length: int | None = None,
    shuffle: int = 0,
    seed: int | None = 0,
    negatives_kept: float = 1.0,
    context: tf.distribute.InputContext | None = None,
    verify: bool = True,
) -> tf.data.Dataset:
    """Read one epoch of the impressions by sessions: a row is one, or a part of one that has more than `candidates`.

    Impressions of a session share their history. `user_id` is `[rows]`, `timestamp` that of the row's first impression,
    `[rows]`; behaviours are `[rows, history_length]`, as in `read_impressions`. What belongs to an impression is
    `[rows, candidates]`, padded at the end with -1 or "" (ids), "" and 0: `item_id`, `category`, `label`, `item_age`,
    features of targets, columns of the log; `query_embedding` is `[rows, candidates, query_dim]`. `is_shown`
    `[rows, candidates]` is False for padding. Arguments not named here, and errors, as in `read_impressions`.

    Args:
        folder: what `prepare` wrote, perhaps in several runs.
        split: "train" or "validation".
        candidates: impressions per row, at most.
        rows: per batch, of this worker; the last batch may be smaller.
        history_length: as in `read_impressions`.
        shuffle: impressions to shuffle among, by rows; 0 keeps the order of the files.
        seed: of the order, and of what is left out.
        negatives_kept: the share of impressions without a click to keep, drawn one by one.
        context: reads only this worker's share of the files.
        verify: as in `read_items`.
    """
    for name, value in (("candidates", candidates), ("rows", rows)):
        if value < 1:
            raise DataError(f"`{name}` must be at least 1. Received: {value}.")
    if not 0 <= negatives_kept <= 1:
        raise DataError(f"`negatives_kept` must be from 0 to 1. Received: {negatives_kept}.")
    files = RecordFiles.open(folder, [_split(IMPRESSION_SPLITS, split)], context=context, verify=verify)
    batches = SessionBatches(rows, _length(files, history_length), candidates, negatives_kept)
    return batches.of(files, shuffle=shuffle, seed=seed).prefetch(tf.data.AUTOTUNE)


def _split(splits: Mapping[str, str], split: str) -> str:
    if split not in splits:
        raise DataError(f"`split` must be one of {sorted(splits)}. Received: {split!r}.")
    return splits[split]


def _of_replica(batch_size: int | None, context: tf.distribute.InputContext | None) -> int | None:
    return context.get_per_replica_batch_size(batch_size) if context and batch_size else batch_size


def _length(files: RecordFiles, history_length: int | None) -> int:
    if history_length is not None and history_length < 1:
        raise DataError(f"`history_length` must be at least 1. Received: {history_length}.")
    return history_length or files.schema.history_length or 0
