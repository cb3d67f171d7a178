"""Rows of Arrow batches as serialized examples."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf

from mim_tf.data.chosen_rows import pack
from mim_tf.data.histories import BEHAVIOURS_FROM, HISTORY, IMPRESSIONS
from mim_tf.data.record_schema import HISTORY_END, HISTORY_PREFIX, SESSION
from mim_tf.data.sessions import EARLIER, PAUSED, POSITION, session_numbers

_LIST_OF: Mapping[str, Callable[[tf.train.Feature], Any]] = {
    "bytes": lambda feature: feature.bytes_list,
    "int64": lambda feature: feature.int64_list,
    "float": lambda feature: feature.float_list,
}


class Encoded(NamedTuple):
    """One record."""

    example: bytes
    sessions: Sequence[int]  # the impressions of each session, if the record is of impressions


class _Field(NamedTuple):
    """The values of a field in all rows of a batch, one row's after the other's."""

    name: str
    kind: str
    values: list[int] | list[float] | list[bytes]
    offsets: list[int]  # [rows + 1]


def encode(batch: pa.RecordBatch) -> Iterator[Encoded]:
    """Encode each row of a batch as a serialized `tf.train.Example`, the same row always as the same bytes.

    Args:
        batch: a column per field; lists are packed to bytes. Or records of impressions: `user_id, IMPRESSIONS, HISTORY,
            BEHAVIOURS_FROM`, of which the lists of structs become a field per member.
    """
    columns = dict(zip(batch.schema.names, batch.columns, strict=True))
    sessions: Sequence[Sequence[int]] = [()] * batch.num_rows
    if IMPRESSIONS in columns:
        fields, sessions = _impressions(columns)
    else:
        fields = [_one_value(name, column) for name, column in columns.items()]
    for row in range(batch.num_rows):
        example = tf.train.Example()
        features = example.features.feature
        for name, kind, values, offsets in fields:
            # Touching the list marks its kind even when it stays empty.
            _LIST_OF[kind](features[name]).value.extend(values[offsets[row] : offsets[row + 1]])
        yield Encoded(example.SerializeToString(deterministic=True), sessions[row])


def _impressions(columns: dict[str, pa.Array]) -> tuple[list[_Field], list[list[int]]]:
    """The fields of records of impressions, and the impressions of each session per record."""
    shown, offsets = _members(columns[IMPRESSIONS])
    behaviours, of_behaviours = _members(columns[HISTORY])
    paused, earlier = (shown.pop(name).to_numpy() for name in (PAUSED, EARLIER))
    sessions = session_numbers(paused, earlier, offsets)
    shown[SESSION] = pa.array(sessions)
    shown[HISTORY_END] = pa.array(earlier - np.repeat(columns[BEHAVIOURS_FROM].to_numpy(), np.diff(offsets)))
    fields = [_one_value("user_id", columns["user_id"])]
    fields += [_field(name, column, offsets) for name, column in shown.items()]
    fields += [_field(HISTORY_PREFIX + name, column, of_behaviours) for name, column in behaviours.items()]
    return fields, _sizes(sessions, offsets)


def _members(lists: pa.ListArray) -> tuple[dict[str, pa.Array], np.ndarray]:
    """The members of structs but `POSITION`, of all rows, and where each row's begin; a null list is an empty one."""
    # What `flatten` gives begins with the batch's first row, wherever the batch does.
    structs = lists.flatten()
    members = {field.name: pc.struct_field(structs, field.name) for field in structs.type if field.name != POSITION}
    return members, _offsets(pc.fill_null(pc.list_value_length(lists), 0))


def _one_value(name: str, column: pa.Array) -> _Field:
    column = pack(column) if pa.types.is_list(column.type) else column
    return _field(name, column, np.arange(len(column) + 1))


def _field(name: str, column: pa.Array, offsets: np.ndarray) -> _Field:
    if pa.types.is_list(column.type):  # one embedding per impression
        offsets = _offsets(pc.list_value_length(column))[offsets]
        column = column.flatten()
    if pa.types.is_integer(column.type):
        return _Field(name, "int64", column.to_numpy().tolist(), offsets.tolist())
    if pa.types.is_floating(column.type):
        return _Field(name, "float", column.to_numpy().tolist(), offsets.tolist())
    values = column.cast(pa.large_binary()).to_numpy(zero_copy_only=False).tolist()
    return _Field(name, "bytes", values, offsets.tolist())


def _offsets(lengths: pa.Array) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths.to_numpy(zero_copy_only=False), dtype=np.int64)])


def _sizes(sessions: np.ndarray, offsets: np.ndarray) -> list[list[int]]:
    """The impressions of each session, per record."""
    begins = np.diff(sessions, prepend=-1) != 0
    begins[offsets[:-1]] = True
    first = np.flatnonzero(begins)
    sizes = np.diff(first, append=len(sessions)).tolist()
    cuts = np.searchsorted(first, offsets).tolist()
    return [sizes[begin:end] for begin, end in itertools.pairwise(cuts)]
