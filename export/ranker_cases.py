"""Requests of real rows, and what the training model answers: an export is checked and warmed up with them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from mim_tf.data.record_schema import TRAIN, VALIDATION, RecordSchema
from mim_tf.data.records import read_impressions
from mim_tf.export.flat_histories import LENGTHS
from mim_tf.export.gate import Case
from mim_tf.export.ranker_signatures import STATE, state_model
from mim_tf.ranking import Ranker
from mim_tf.representation import StoredEmbeddings

Rows = dict[str, np.ndarray]

_TOP_K = 5
_MIXED = 4096  # impressions that the rows are taken from
_EMPTY = 3  # the row without a history
_CLOSE = 1e-6  # probabilities, whose order rounding may change
_PADDING = {"i": -1, "O": b""}  # by kind of dtype
_UNKNOWN = {"i": 2**62, "O": b"no item of the shop"}


def real_rows(records: Path, count: int = 32) -> Rows:
    """Impressions by field; an unknown item, an unknown behaviour and an empty history are put among them.

    Args:
        records: what `prepare` wrote.
        count: how many; where there are fewer, they are repeated.

    Raises:
        DataError: the records are damaged.
    """
    splits = [name for name in (VALIDATION, TRAIN) if RecordSchema.load(records).counts.get(name)]
    split = splits[0].rpartition("/")[2]
    # Shuffled, since the impressions of one user lie side by side.
    batch = next(iter(read_impressions(records, split, batch_size=count, shuffle=_MIXED, verify=False)))
    rows = {name: np.resize(values, [count, *values.shape[1:]]) for name, values in batch.items()}
    kind = rows["item_id"].dtype.kind
    rows["item_id"][1:2] = _UNKNOWN[kind]
    rows["history_item_id"][2:3, :1] = _UNKNOWN[kind]
    rows["history_item_id"][_EMPTY : _EMPTY + 1] = _PADDING[kind]
    return rows


def ranker_cases(trained: Ranker, rows: Rows, stored: StoredEmbeddings | None, *, contents: bool) -> list[Case]:
    """Cases of all signatures of `ranker_signatures`.

    What is expected of `rank` comes from single rows, the history repeated for each candidate, and what is expected of
    `rank_with_state` from rows with the whole history.

    Args:
        trained: the training model, with its table where the network uses content.
        rows: `real_rows`.
        stored: what the table was made of; None where there is none.
        contents: whether the exported model is given contents, having no table.
    """
    if contents and trained.table is not None:
        rows = rows | {
            f"{kind}_content": trained.table.lookup(tf.constant(rows[ids])).numpy()
            for kind, ids in (("item", "item_id"), ("history", "history_item_id"))
        }
    fields = trained.network.fields if contents else trained.fields
    rows = {name: rows[name] for name in fields}
    ranking = _Requests(trained, rows, state_model(trained, stored))
    return [*ranking.of_rows(), *ranking.of_users(), *ranking.of_states()]


class _Requests:
    def __init__(self, trained: Ranker, rows: Rows, model: str):
        self._trained, self._rows, self._model = trained, rows, np.array([model.encode()], object)
        network = trained.network
        self._targets = [name for name in network.target_fields if name in rows]
        self._histories = [name for name in network.history_fields if name in rows]
        self._has_state = network.content or network.fusion

    def of_rows(self) -> Iterator[Case]:
        expected = {"probability": self._scores(self._rows)}
        yield Case("predict", _taken(self._rows, [0]), _taken(expected, [0]))
        for signature in ("predict", "serving_default"):
            yield Case(signature, self._rows, expected)
        yield Case("predict_ragged", self._flat(self._rows), expected)
        single = self._with_one_behaviour()
        yield Case("predict_ragged", self._flat(single), {"probability": self._scores(single)})

    def of_users(self) -> Iterator[Case]:
        for users in ([0], self._users()):
            request, expected = self._ranking(self._rows, users)
            yield Case("rank", request, expected)
            yield Case("rank_ragged", self._flat(request), expected)
        request, expected = self._ranking(self._with_one_behaviour(), [0])
        yield Case("rank_ragged", self._flat(request), expected)

    def of_states(self) -> Iterator[Case]:
        if not self._has_state:
            return
        for users in ([0], self._users()):
            request, expected = self._ranking(self._rows, users)
            summed = {name: request[name] for name in self._histories if name != "history_timestamp"}
            state = self._state(summed)
            nothing = {name: np.zeros_like(part) for name, part in state.items() if name != STATE[-1]}
            nothing[STATE[-1]] = np.full(len(users), b"", object)
            yield Case("user_state", summed | nothing, state)
            halves = [{name: values[:, part] for name, values in summed.items()} for part in (slice(2), slice(2, None))]
            yield Case("user_state", halves[1] | self._state(halves[0]), state)
            newest = {name: values for name, values in request.items() if name != "history_content"}
            yield Case("rank_with_state", newest | state, expected)

    def _users(self) -> list[int]:
        """Rows whose users are asked for together: the first, one without a history, the last."""
        count = len(self._rows["item_id"])
        return sorted({0, min(_EMPTY, count - 1), count - 1})

    def _state(self, histories: Rows) -> Rows:
        state = self._trained.user_state({name: tf.constant(values) for name, values in histories.items()})
        parts = (*(part.numpy() for part in state), np.repeat(self._model, len(state.content)))
        return dict(zip(STATE, parts, strict=True))

    def _ranking(self, rows: Rows, users: list[int]) -> tuple[Rows, Rows]:
        """A request of some rows' users, with the items of all rows and one of padding as candidates; its answer.

        Each item is one candidate: equal ones would tie, and the order of the best mean nothing.
        """
        _, distinct = np.unique(rows["item_id"], return_index=True)
        candidates = {name: rows[name][np.sort(distinct)] for name in self._targets}
        targets = {name: np.stack([_one_more(values)] * len(users)) for name, values in candidates.items()}
        of_users = _taken({name: values for name, values in rows.items() if name not in targets}, users)
        scores = np.stack([self._scores(_of_one_user(rows, user, candidates)) for user in users])
        request = targets | of_users | {"top_k": np.full(len(users), _TOP_K)}
        order = np.argsort(-scores, axis=1, kind="stable")
        best = np.take_along_axis(scores, order, axis=1)
        count = min(_TOP_K, best.shape[1] + 1)
        padded = [np.pad(part, [(0, 0), (0, 1)]) for part in (scores, best)]
        expected = {"probability": padded[0], "top_probability": padded[1][:, :count]}
        if (np.diff(best[:, : count + 1]) < -_CLOSE).all() and count <= best.shape[1]:
            expected["top_item_id"] = np.take_along_axis(targets["item_id"], order[:, :count], axis=1)
        return request, expected

    def _with_one_behaviour(self) -> Rows:
        """One row with one behaviour: its flat history is as long as the batch, as servers that join requests ask."""
        ids = self._rows["history_item_id"]
        row = int(np.argmax(ids[:, 0] != _PADDING[ids.dtype.kind])) if ids.shape[1] else 0
        single = _taken(self._rows, [row])
        return single | {name: single[name][:, :1] for name in self._histories}

    def _scores(self, rows: Rows) -> np.ndarray:
        return self._trained.probabilities({name: tf.constant(values) for name, values in rows.items()}).numpy()

    def _flat(self, request: Rows) -> Rows:
        """The request with flat histories: what stands before the padding."""
        ids = request["history_item_id"]
        real = ids != _PADDING[ids.dtype.kind]
        places = np.arange(1, ids.shape[1] + 1)
        lengths = np.max(real * places, axis=1, initial=0)
        kept = places <= lengths[:, np.newaxis]
        return request | {name: request[name][kept] for name in self._histories} | {LENGTHS: lengths}


def _of_one_user(rows: Rows, user: int, candidates: Rows) -> Rows:
    """Rows of the candidates, each with the history and the impression of one user's row."""
    count = len(candidates["item_id"])
    return candidates | {
        name: np.repeat(values[user : user + 1], count, axis=0)
        for name, values in rows.items()
        if name not in candidates
    }


def _taken(rows: Rows, places: list[int]) -> Rows:
    return {name: values[places] for name, values in rows.items()}


def _one_more(values: np.ndarray) -> np.ndarray:
    """With padding at the end: for ids it is told apart, for the rest anything goes."""
    return np.concatenate([values, np.full_like(values[:1], _PADDING.get(values.dtype.kind, 0))])
