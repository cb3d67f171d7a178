"""The signatures of a served ranker: rows, many candidates of one user, and users' kept states."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping

import tensorflow as tf

from mim_tf.export.flat_histories import flat_specs, padded
from mim_tf.export.input_checks import all_finite, not_too_many, same_sizes, states_of
from mim_tf.interest import UserState
from mim_tf.ranking import Ranker, behaviour_mask
from mim_tf.ranking.ranker import CONTENT_FIELDS
from mim_tf.representation import StoredEmbeddings
from mim_tf.representation.signatures import ConcreteFunction

Tensors = dict[str, tf.Tensor]
Specs = dict[str, tf.TensorSpec]

STATE = ("state_content", "state_fusion", "state_model")


def ranker_signatures(
    ranker: Ranker, dtypes: Mapping[str, tf.DType], stored: StoredEmbeddings | None, most_pairs: int
) -> dict[str, ConcreteFunction]:
    """What a SavedModel needs so that a ranker can be asked.

    ```
    predict          targets [batch], histories [batch, length], impression [batch]    -> probability [batch]
    rank             targets [users, candidates], histories [users, length], impression [users], top_k [users] int64
                                     -> probability [users, candidates], top_item_id, top_probability [users, k]
    user_state       histories [users, length], state      -> the state after these behaviours
    rank_with_state  as rank, and a state, which content and fusion interest are of
    predict_ragged, rank_ragged      histories [behaviours], one row's after the other's, and history_length [batch]
    ```

    Targets, histories and impression are the fields of `RankingNetwork` of these names, contents among them where the
    ranker has no table. Ids are int64 or strings; histories are oldest first and padded at the end with -1 or "", as
    candidates are; what other columns hold there does not matter, if it is finite. Probabilities are float32.

    - `predict` is also `serving_default`.
    - `rank`: what depends on the user alone is computed once. The k best come best first; k is the largest `top_k`, but
      no more than there are candidates. A padding candidate has probability 0 and comes last.
    - A state is `state_content` `[users, mm_dim, mm_dim]` and `state_fusion` `[users, dim, mm_dim]`, float64, and
      `state_model` `[users]` string. It begins as zeros and "", and grows by any number of behaviours at a time. It
      belongs to one training and one store, which `state_model` names: another model refuses it. With a state,
      histories serve the ID interest alone. A network without content and fusion interest has no such signatures.
    - What does not fit is refused with INVALID_ARGUMENT and a sentence: columns of different sizes, numbers that are
      not finite, lengths that do not add up, more than `most_pairs` pairs of candidate and behaviour.

    Args:
        ranker: network, weights and perhaps a table.
        dtypes: of the fields.
        stored: what the table was made of, or contents are to come from; None where the network uses none.
        most_pairs: of candidate and behaviour in one request, padding included; each may take some kB for a while.

    Returns:
        Functions of stock TensorFlow ops, by signature name.
    """
    return _RankerSignatures(ranker, dtypes, stored, most_pairs).all()


class _RankerSignatures:
    def __init__(
        self, ranker: Ranker, dtypes: Mapping[str, tf.DType], stored: StoredEmbeddings | None, most_pairs: int
    ):
        self._ranker, self._dtypes, self._most_pairs = ranker, dtypes, most_pairs
        self._dim = None if stored is None else stored.embeddings.shape[1]
        network, given = ranker.network, set(ranker.fields)
        self._targets = [name for name in network.target_fields if name in given]
        self._histories = [name for name in network.history_fields if name in given]
        self._impression = list(network.impression_fields)
        self._has_state = network.content or network.fusion
        self._model = state_model(ranker, stored)

    def all(self) -> dict[str, ConcreteFunction]:
        histories, impression = self._specs(self._histories, 2), self._specs(self._impression, 1)
        rows = self._specs(self._targets, 1) | histories | impression
        many = self._specs(self._targets, 2) | histories | impression | {"top_k": _spec("top_k", tf.int64)}
        signatures = {"predict": _traced(self._predict, rows), "rank": _traced(self._rank, many)}
        for name, body, specs in (("predict_ragged", self._predict, rows), ("rank_ragged", self._rank, many)):
            signatures[name] = _traced(self._of_flat(body), flat_specs(specs, self._histories))
        if self._has_state:
            state = self._state_specs()
            summed = {name: spec for name, spec in histories.items() if name != "history_timestamp"}
            newest = {name: spec for name, spec in many.items() if name != "history_content"}
            signatures["user_state"] = _traced(self._user_state, summed | state)
            signatures["rank_with_state"] = _traced(self._rank_with_state, newest | state)
        return signatures | {"serving_default": signatures["predict"]}

    def _predict(self, inputs: Tensors) -> Tensors:
        inputs = _after(self._checks(inputs, candidates=1), inputs)
        return {"probability": self._ranker.probabilities(inputs)}

    def _rank(self, inputs: Tensors, state: UserState | None = None) -> Tensors:
        candidates = tf.shape(inputs["item_id"])[1]
        inputs = _after(self._checks(inputs, candidates), inputs)
        return _best(inputs["item_id"], self._ranker.probabilities(inputs, state), inputs["top_k"])

    def _rank_with_state(self, inputs: Tensors) -> Tensors:
        inputs, state = _split_state(_after(self._state_checks(inputs, "item_id"), inputs))
        return self._rank(inputs, state)

    def _user_state(self, inputs: Tensors) -> Tensors:
        histories = [name for name in self._histories if name in inputs]
        rows, length = tf.unstack(tf.shape(inputs["history_item_id"]))
        checks = same_sizes(inputs, histories, "history_item_id", [0, 1])
        checks.append(not_too_many(rows, 1, length, self._most_pairs))
        inputs = _after([*checks, *all_finite(inputs), *self._state_checks(inputs, "history_item_id")], inputs)
        behaviours, before = _split_state(inputs)
        state = self._ranker.user_state(behaviours, before)
        return dict(zip(STATE, (*state, tf.fill(tf.shape(inputs["state_model"]), self._model)), strict=True))

    def _of_flat(self, body: Callable[[Tensors], Tensors]) -> Callable[[Tensors], Tensors]:
        return lambda inputs: body(padded(inputs, self._histories, self._most_pairs))

    def _checks(self, inputs: Tensors, candidates: int | tf.Tensor) -> list[tf.Operation]:
        axes = range(inputs["item_id"].shape.rank)
        histories = [name for name in self._histories if name in inputs]
        of_rows = [name for name in (*self._impression, "history_item_id", "top_k") if name in inputs]
        rows, behaviours = tf.unstack(tf.shape(inputs["history_item_id"]))
        return [
            *same_sizes(inputs, self._targets, "item_id", axes),
            *same_sizes(inputs, histories, "history_item_id", [0, 1]),
            *same_sizes(inputs, of_rows, "item_id", [0]),
            *all_finite(inputs),
            not_too_many(rows, candidates, behaviours, self._most_pairs),
        ]

    def _state_checks(self, inputs: Tensors, like: str) -> list[tf.Operation]:
        numbers = {name: inputs[name] for name in STATE[:2]}
        known = states_of(self._model, inputs["state_model"], list(numbers.values()))
        return [*same_sizes(inputs, STATE, like, [0]), *all_finite(numbers), known]

    def _specs(self, names: Iterable[str], rank: int) -> Specs:
        specs = {}
        for name in names:
            of_embeddings = name in CONTENT_FIELDS or name == "query_embedding"
            shape = [*[None] * rank, self._dim] if of_embeddings else [None] * rank
            specs[name] = _spec(name, tf.float16 if name in CONTENT_FIELDS else self._dtypes[name], *shape[1:])
        return specs

    def _state_specs(self) -> Specs:
        nobody = {name: tf.zeros([1, 0], self._dtypes[name]) for name in self._histories if name in self._dtypes}
        state = self._ranker.user_state(nobody | {"history_content": tf.zeros([1, 0, self._dim])})
        specs = {name: _spec(name, part.dtype, *part.shape[1:]) for name, part in zip(STATE, state, strict=False)}
        return specs | {STATE[-1]: _spec(STATE[-1], tf.string)}


def _best(item_ids: tf.Tensor, probabilities: tf.Tensor, top_k: tf.Tensor) -> Tensors:
    """The answer of `rank`."""
    real = behaviour_mask(item_ids)  # what is padding of behaviours is padding of candidates
    wanted = tf.reduce_max(tf.concat([top_k, [0]], axis=0))
    count = tf.minimum(wanted, tf.shape(item_ids, tf.int64)[1])
    best = tf.math.top_k(tf.where(real, probabilities, -1.0), tf.cast(count, tf.int32))
    return {
        "probability": tf.where(real, probabilities, 0.0),
        "top_item_id": tf.gather(item_ids, best.indices, batch_dims=1),
        "top_probability": tf.maximum(best.values, 0.0),
    }


def _split_state(inputs: Tensors) -> tuple[Tensors, UserState]:
    others = {name: values for name, values in inputs.items() if name not in STATE}
    return others, UserState(*(inputs[name] for name in STATE[:2]))


def _after(checks: list[tf.Operation], inputs: Tensors) -> Tensors:
    """The inputs, which are there only when the checks have passed."""
    with tf.control_dependencies(checks):
        return {name: tf.identity(values) for name, values in inputs.items()}


def _traced(body: Callable[[Tensors], Tensors], specs: Specs) -> ConcreteFunction:
    @tf.function
    def signature(**inputs: tf.Tensor) -> Tensors:
        return body(inputs)

    return signature.get_concrete_function(**specs)


def _spec(name: str, dtype: tf.DType, *shape: int | None) -> tf.TensorSpec:
    """Of an input `[batch, *shape]`."""
    return tf.TensorSpec([None, *shape], dtype, name)


def state_model(ranker: Ranker, stored: StoredEmbeddings | None) -> str:
    """A name of weights and store: two models with one name sum a history up alike."""
    digest = hashlib.sha256(b"" if stored is None else stored.store.encode())
    for variable in ranker.network.variables:
        digest.update(variable.numpy().tobytes())
    return digest.hexdigest()[:16]
