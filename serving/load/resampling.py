"""Requests of other sizes, drawn from the rows of recorded ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from mim_tf.errors import ServingError

Columns: TypeAlias = dict[str, np.ndarray]

_ITEM, _HISTORY, _LENGTH = "item_id", "history_", "history_length"
_BEHAVIOUR = f"{_HISTORY}{_ITEM}"
_STATE = "state_"  # a user's matrices, which may by chance be as large as a list of candidates


class Sizes(NamedTuple):
    """How large a request is to be; None: as the first recorded one, or as its longest history."""

    users: int | None = None  # rows of the batch
    candidates: int | None = None  # of each user, where a signature has them
    history: int | None = None  # behaviours of each user, where a signature has them


class _User(NamedTuple):
    """A row of a recorded request."""

    own: Columns  # [...], what there is once
    behaviours: Columns  # [behaviours, ...], without padding


class Resampler:
    """Draws requests of a given size from recorded ones.

    Every part of a drawn request was recorded: a user's columns stay together, a candidate's as well, and so do a
    behaviour's, which stay in their order and with their user. Users (of those with behaviours, where the signature has
    histories) and behaviours are drawn with replacement, and candidates from those of all records. So ids are known
    ones, as often as they are in the records: a load of random ids would miss the embedding table and never meet a
    popular item.

    Args:
        recorded: requests of one signature of the contract: inputs `history_*` are `[users, length, ...]`, or flat
            where there is `history_length`; where `item_id` is `[users, candidates]`, inputs that begin with this shape
            belong to candidates; all others have one row per user.
        sizes: of the requests to be drawn.
        seed: of the draws.

    Raises:
        ServingError: a size is not positive, or of what the requests do not have, or an input fits into none of these.
    """

    def __init__(self, recorded: Sequence[predict_pb2.PredictRequest], sizes: Sizes, seed: int):
        self._spec = recorded[0].model_spec
        self._generator = np.random.default_rng(seed)
        inputs = [{name: tf.make_ndarray(proto) for name, proto in request.inputs.items()} for request in recorded]
        self._ragged = _LENGTH in inputs[0]
        self._users = [user for columns in inputs for user in _users(columns)]
        self._candidates = _joined([_candidates(columns) for columns in inputs])
        self._sizes = _completed(sizes, inputs[0])
        if self._sizes.history:
            self._users = [user for user in self._users if len(user.behaviours[_BEHAVIOUR])]
        if not self._users or (self._candidates and not len(self._candidates[_ITEM])):
            raise ServingError("sizes must be left out where all that was recorded is padding.")

    def draw(self) -> predict_pb2.PredictRequest:
        """One request."""
        users = [self._users[place] for place in self._generator.integers(0, len(self._users), self._sizes.users)]
        columns = {name: np.stack([user.own[name] for user in users]) for name in users[0].own}
        inputs = columns | self._drawn_candidates() | self._drawn_histories(users)
        protos = {name: tf.make_tensor_proto(column) for name, column in inputs.items()}
        return predict_pb2.PredictRequest(model_spec=self._spec, inputs=protos)

    def _drawn_candidates(self) -> Columns:
        """`[users, candidates, ...]` of each column."""
        if not self._candidates:
            return {}
        shape = self._sizes.users or 1, self._sizes.candidates or 1
        places = self._generator.integers(0, len(self._candidates[_ITEM]), shape)
        return {name: column[places] for name, column in self._candidates.items()}

    def _drawn_histories(self, users: Sequence[_User]) -> Columns:
        """`[users, length, ...]` of each column, or flat with lengths."""
        if not users[0].behaviours:
            return {}
        length = self._sizes.history or 0
        places = [np.sort(self._generator.integers(0, len(user.behaviours[_BEHAVIOUR]), length)) for user in users]
        join = np.concatenate if self._ragged else np.stack
        drawn = {
            name: join([user.behaviours[name][place] for user, place in zip(users, places, strict=True)])
            for name in users[0].behaviours
        }
        return drawn | ({_LENGTH: np.full(len(users), length)} if self._ragged else {})


def _users(inputs: Mapping[str, np.ndarray]) -> list[_User]:
    """The rows of a request."""
    behaviours = {name: column for name, column in inputs.items() if name.startswith(_HISTORY) and name != _LENGTH}
    own = {name: column for name, column in inputs.items() if not _is_part(name, column, inputs)}
    if _LENGTH in inputs:
        ends = np.cumsum(inputs[_LENGTH])
        pieces = [slice(end - length, end) for end, length in zip(ends, inputs[_LENGTH], strict=True)]
        histories = [{name: column[piece] for name, column in behaviours.items()} for piece in pieces]
    else:
        rows = len(inputs[_BEHAVIOUR]) if behaviours else _rows(inputs)
        histories = [{name: column[row] for name, column in behaviours.items()} for row in range(rows)]
    rows = len(histories)
    for name, column in own.items():
        if column.ndim == 0 or len(column) != rows:
            raise ServingError(f"{name!r} must have a row for each of {rows} users. Received: {list(column.shape)}.")
    return [
        _User({name: column[row] for name, column in own.items()}, _without_padding(history, _BEHAVIOUR))
        for row, history in enumerate(histories)
    ]


def _candidates(inputs: Mapping[str, np.ndarray]) -> Columns:
    """`[candidates, ...]` of all users of a request, without padding; nothing where it has no lists of candidates."""
    columns = {name: column for name, column in inputs.items() if _is_of_candidates(name, column, inputs)}
    flat = {name: column.reshape(-1, *column.shape[2:]) for name, column in columns.items()}
    return _without_padding(flat, _ITEM)


def _joined(parts: Sequence[Columns]) -> Columns:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _without_padding(columns: Columns, ids: str) -> Columns:
    if not columns:
        return {}
    padding = b"" if columns[ids].dtype == object else -1
    return {name: column[columns[ids] != padding] for name, column in columns.items()}


def _is_part(name: str, column: np.ndarray, inputs: Mapping[str, np.ndarray]) -> bool:
    return name.startswith(_HISTORY) or _is_of_candidates(name, column, inputs)


def _is_of_candidates(name: str, column: np.ndarray, inputs: Mapping[str, np.ndarray]) -> bool:
    if name.startswith((_HISTORY, _STATE)) or not _lists_candidates(inputs):
        return False
    return column.shape[:2] == inputs[_ITEM].shape


def _lists_candidates(inputs: Mapping[str, np.ndarray]) -> bool:
    return _ITEM in inputs and inputs[_ITEM].ndim == 2


def _rows(inputs: Mapping[str, np.ndarray]) -> int:
    first = inputs[_ITEM if _ITEM in inputs else min(inputs)]
    return len(first) if first.ndim else 0


def _completed(sizes: Sizes, inputs: Mapping[str, np.ndarray]) -> Sizes:
    """All sizes; those that the requests do not have stay None."""
    lengths = inputs.get(_LENGTH)
    if lengths is None and _BEHAVIOUR in inputs:
        lengths = np.array(inputs[_BEHAVIOUR].shape[1:2])
    there = Sizes(
        users=max(1, len(inputs[_LENGTH]) if _LENGTH in inputs else _rows(inputs)),
        candidates=inputs[_ITEM].shape[1] if _lists_candidates(inputs) else None,
        history=None if lengths is None else int(max(lengths, default=0)),
    )
    for name, wanted, now in zip(Sizes._fields, sizes, there, strict=True):
        if wanted is not None and wanted < 1:
            raise ServingError(f"`{name}` must be 1 or more. Received: {wanted}.")
        if wanted is not None and now is None:
            raise ServingError(f"`{name}` must be left out: the recorded requests have none. Received: {wanted}.")
    return Sizes(*(now if wanted is None else wanted for wanted, now in zip(sizes, there, strict=True)))
