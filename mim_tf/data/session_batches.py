"""Batches of rows out of records of impressions: a row is one impression, or what a session showed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import tensorflow as tf

from mim_tf.data.impression_parser import ImpressionParser, Impressions
from mim_tf.data.record_files import RecordFiles
from mim_tf.data.record_schema import Shard

Tensors = dict[str, tf.Tensor]
# Impressions parsed at once where nothing is shuffled: enough to make parsing cheap, few enough for memory.
_PARSED_AT_ONCE = 4096


class _Rows(NamedTuple):
    """Rows of impressions that follow one another: where each begins, and how many it has."""

    first: tf.Tensor  # [rows] int64
    count: tf.Tensor  # [rows] int64


@dataclass(frozen=True)
class SessionBatches:
    """Makes batches of rows.

    Attributes:
        rows: per batch.
        history_length: behaviours per row.
        candidates: impressions of a session per row, at most; None: a row is one impression, and has no dimension of
            candidates.
        negatives_kept: the share of impressions without a click to keep.
    """

    rows: int
    history_length: int
    candidates: int | None = None
    negatives_kept: float = 1.0

    def of(self, files: RecordFiles, *, shuffle: int, seed: int | None, repeat: bool = False) -> tf.data.Dataset:
        """The batches of files.

        Impressions that are parsed together are mixed with one another, and records are before: as many of both as
        `shuffle` says. Only then are they filled up with their histories, batch by batch.

        Args:
            files: records of impressions.
            shuffle: impressions to shuffle among; 0 keeps the order of the files.
            seed: of the order and of what is left out; None leaves both to chance.
            repeat: go on for ever; otherwise one epoch, the last batch perhaps smaller.
        """
        impressions = sum(shard.impressions for shard in files.shards)
        at_once = max(1, (shuffle or _PARSED_AT_ONCE) * files.records // max(impressions, 1))
        records = files.read(at_once if shuffle else 0, seed).batch(at_once)
        seeds = tf.data.Dataset.random(seed, rerandomize_each_iteration=True).batch(4, drop_remainder=True)
        parse = ImpressionParser(files.schema)

        def prepared(examples: tf.Tensor, seeds: tf.Tensor) -> tuple[Impressions, _Rows]:
            impressions = self._kept(parse(examples), seeds[:2])
            rows = self._rows(impressions)
            return impressions, _shuffled(rows, seeds[2:]) if shuffle else rows

        groups = tf.data.Dataset.zip((records, seeds)).map(prepared, tf.data.AUTOTUNE, deterministic=True)
        # A record may hold behaviours that lie further back than what was prepared for an impression.
        looks_back = min(self.history_length, files.schema.history_length or 0)
        batches = groups.prefetch(1).flat_map(lambda impressions, rows: self._batches(impressions, rows, looks_back))
        return (batches.repeat() if repeat else batches).rebatch(self.rows)

    def _kept(self, impressions: Impressions, seed: tf.Tensor) -> Impressions:
        """Leave out some of those without a click."""
        if self.negatives_kept == 1:
            return impressions
        labels = impressions.shown["label"][:-1]
        drawn = tf.random.stateless_uniform(tf.shape(labels), seed) < self.negatives_kept
        kept = tf.where((labels == 1) | drawn)[:, 0]
        with_padding = tf.concat([kept, [tf.size(labels, tf.int64)]], axis=0)
        of_each = (tf.gather(values, kept) for values in impressions[2:])
        shown = {name: tf.gather(values, with_padding) for name, values in impressions.shown.items()}
        return Impressions(shown, impressions.behaviours, *of_each)

    def _rows(self, impressions: Impressions) -> _Rows:
        """Cut sessions into rows."""
        count = tf.size(impressions.sessions, tf.int64)
        place = tf.range(count)
        if self.candidates is None:
            return _Rows(place, tf.ones_like(place))
        begins = tf.concat([[True], impressions.sessions[1:] != impressions.sessions[:-1]], axis=0)[:count]
        starts = tf.where(begins)[:, 0]
        in_session = place - tf.gather(starts, tf.cumsum(tf.cast(begins, tf.int64)) - 1)
        first = tf.where(in_session % self.candidates == 0)[:, 0]
        return _Rows(first, tf.concat([first[1:], [count]], axis=0) - first)

    def _batches(self, impressions: Impressions, rows: _Rows, looks_back: int) -> tf.data.Dataset:
        """The rows in batches, the last one smaller."""
        size = tf.constant(self.rows, tf.int64)
        count = (tf.size(rows.first, tf.int64) + size - 1) // size

        def batch(number: tf.Tensor) -> Tensors:
            part = slice(number * size, (number + 1) * size)
            return self._filled(impressions, _Rows(rows.first[part], rows.count[part]), looks_back)

        return tf.data.Dataset.range(count).map(batch, tf.data.AUTOTUNE, deterministic=True)

    def _filled(self, impressions: Impressions, rows: _Rows, looks_back: int) -> Tensors:
        first = rows.first
        end = tf.gather(impressions.end, first)
        begin = tf.maximum(tf.gather(impressions.first, first), end - looks_back)
        users = {"user_id": tf.gather(impressions.users, first)}
        histories = _taken(impressions.behaviours, begin, end - begin, self.history_length)
        if self.candidates is None:
            return users | {name: tf.gather(values, first) for name, values in impressions.shown.items()} | histories
        shown = _taken(impressions.shown, first, rows.count, self.candidates)
        of_session = {"timestamp": tf.gather(impressions.shown["timestamp"], first)}
        is_shown = tf.sequence_mask(rows.count, self.candidates)
        return users | shown | of_session | histories | {"is_shown": is_shown}


def rows_in(shards: Iterable[Shard], candidates: int) -> int:
    """How many rows the sessions of files make, with at most so many candidates in each."""
    sizes = ((int(size), count) for shard in shards for size, count in shard.sessions.items())
    return sum(-(-size // candidates) * count for size, count in sizes)


def _shuffled(rows: _Rows, seed: tf.Tensor) -> _Rows:
    order = tf.random.experimental.stateless_shuffle(tf.range(tf.size(rows.first)), seed)
    return _Rows(tf.gather(rows.first, order), tf.gather(rows.count, order))


def _taken(columns: Tensors, first: tf.Tensor, count: tf.Tensor, length: int) -> Tensors:
    """`[rows, length]` of each column: `count` values from `first` on, then its last value, the padding."""
    place = tf.range(length, dtype=tf.int64)
    is_there = place < count[:, tf.newaxis]
    padding = tf.size(next(iter(columns.values())), tf.int64) - 1
    index = tf.where(is_there, first[:, tf.newaxis] + place, padding)
    return {name: tf.gather(values, index) for name, values in columns.items()}
