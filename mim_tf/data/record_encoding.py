"""Rows of Arrow batches as serialized examples."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf

from mim_tf.data.chosen_rows import pack
from mim_tf.data.histories import IS_BEHAVIOUR
from mim_tf.data.record_schema import HISTORY_END, HISTORY_PREFIX, SESSION
from mim_tf.data.sessions import PAUSED, POSITION, session_numbers
from mim_tf.data.workspace import PLACE

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
    """The values of a field in all records of a batch, one record's after the other's."""

    name: str
    kind: str
    values: list[int] | list[float] | list[bytes]
    offsets: list[int]  # [records + 1]


def whole_records(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Cut batches anew where a record is several rows, so that all of them are in one batch."""
    rest: pa.RecordBatch | None = None
    for batch in batches:
        if batch.num_rows == 0 or IS_BEHAVIOUR not in batch.schema.names:
            yield batch
            continue
        rows = batch if rest is None else pa.concat_batches([rest, batch])
        places = rows.column(PLACE).to_numpy()
        cut = int(np.searchsorted(places, places[-1]))  # the last record may go on
        if cut:
            yield rows[:cut]
        rest = rows[cut:]
    if rest is not None:
        yield rest


def encode(batch: pa.RecordBatch) -> Iterator[Encoded]:
    """Encode each record of a batch as a serialized `tf.train.Example`, the same record always as the same bytes.

    Args:
        batch: a row per record, a column per field; lists are packed to bytes. Or rows of impressions and behaviours,
            as `rows_of` gives them: a record is the rows of one `PLACE`.
    """
    columns = dict(zip(batch.schema.names, batch.columns, strict=True))
    places = columns.pop(PLACE, None)
    if places is not None and IS_BEHAVIOUR in columns:
        fields, sessions = _impressions(columns, _starts(places.to_numpy()))
    else:
        fields, sessions = [_one_value(name, column) for name, column in columns.items()], [[]] * batch.num_rows
    for record in range(len(sessions)):
        example = tf.train.Example()
        features = example.features.feature
        for name, kind, values, offsets in fields:
            # Touching the list marks its kind even when it stays empty.
            _LIST_OF[kind](features[name]).value.extend(values[offsets[record] : offsets[record + 1]])
        yield Encoded(example.SerializeToString(deterministic=True), sessions[record])


def _impressions(columns: dict[str, pa.Array], starts: np.ndarray) -> tuple[list[_Field], list[list[int]]]:
    """The fields of records of impressions, and the impressions of each session per record."""
    is_behaviour = columns.pop(IS_BEHAVIOUR).to_numpy().astype(bool)
    del columns[POSITION]
    # The rows of each kind are few runs: taken by their numbers, they cost no copy of the others.
    shown_rows, behaviour_rows = np.flatnonzero(~is_behaviour), np.flatnonzero(is_behaviour)
    of_shown, of_behaviours = (np.searchsorted(rows, starts) for rows in (shown_rows, behaviour_rows))
    users = columns.pop("user_id").take(pa.array(starts[:-1]))
    shown = {name: column.take(pa.array(shown_rows)) for name, column in columns.items() if not _of_history(name)}
    behaviours = {name: column.take(pa.array(behaviour_rows)) for name, column in columns.items() if _of_history(name)}
    sessions = session_numbers(shown.pop(PAUSED).to_numpy(), shown[HISTORY_END].to_numpy(), of_shown)
    shown[SESSION] = pa.array(sessions)
    fields = [_one_value("user_id", users)]
    fields += [_field(name, column, of_shown) for name, column in shown.items()]
    fields += [_field(name, column, of_behaviours) for name, column in behaviours.items()]
    return fields, _sizes(sessions, of_shown)


def _of_history(name: str) -> bool:
    return name.startswith(HISTORY_PREFIX) and name != HISTORY_END


def _starts(numbers: np.ndarray) -> np.ndarray:
    """Where each run of equal numbers begins, and the end: `[runs + 1]`."""
    return np.append(np.flatnonzero(np.diff(numbers, prepend=-1) != 0), len(numbers))


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
