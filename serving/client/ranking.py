"""What a ranker is asked and what it answers, whether its table is inside or on machines of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike

from mim_tf.serving.client.deadline import Deadline
from mim_tf.serving.client.flow import Flow
from mim_tf.serving.client.item_ids import item_ids_of
from mim_tf.serving.signature import Signature

Inputs = Mapping[str, ArrayLike]
Outputs = dict[str, np.ndarray]

ITEM_IDS = ("item_id", "history_item_id")
_LENGTHS = "history_length"  # of flat histories, which `batch_histories` makes


class Ranking(NamedTuple):
    """The candidates of users, ranked; of one user alone, without the first dimension.

    Args:
        probability: `[users, candidates]` float32, in the order of the candidates; of padding, 0.
        top_item_id: `[users, k]`, the best candidates, best first; int64, or objects of type `bytes`.
        top_probability: `[users, k]` float32, likewise.
        unanswered: Numbers of the shards that had items of the request and did not answer.
    """

    probability: np.ndarray
    top_item_id: np.ndarray
    top_probability: np.ndarray
    unanswered: tuple[int, ...] = ()


class ItemEmbeddings(NamedTuple):
    """What a ranker's table has of items.

    Args:
        embedding: `[items, dim]` float16, zeros where there is none.
        hit: `[items]` bool, whether the table knows the item.
        unanswered: Numbers of the shards that had items of the request and did not answer.
    """

    embedding: np.ndarray
    hit: np.ndarray
    unanswered: tuple[int, ...] = ()


class Rankings(Protocol):
    """The conversations that it takes to get rankings from servers."""

    def check(self, deadline: Deadline) -> Flow[None]:
        """Makes sure that what is served fits together."""

    def signatures(self, deadline: Deadline) -> Flow[Mapping[str, Signature]]:
        """Gets the model's signatures; asks once, since versions of a model take the same types."""

    def answer(self, signature: str, inputs: Inputs, deadline: Deadline) -> Flow[Outputs]:
        """Gets a signature's outputs for the inputs of a model with its table inside, item ids as `item_ids_of`."""

    def lookup(self, item_ids: np.ndarray, deadline: Deadline) -> Flow[ItemEmbeddings]:
        """Gets the embeddings of items `[items]`."""


def predicted(rankings: Rankings, inputs: Inputs, deadline: Deadline) -> Flow[Outputs]:
    """Scores rows of a target and a history, as `RankerClient.predict` documents."""
    signature = _signature("predict", inputs)
    given = yield from _typed(rankings, signature, inputs, deadline)
    return (yield from rankings.answer(signature, given, deadline))


def ranked(rankings: Rankings, inputs: Inputs, top_k: ArrayLike, deadline: Deadline) -> Flow[Ranking]:
    """Ranks users' candidates, as `RankerClient.rank` documents."""
    if "item_id" not in inputs or "top_k" in inputs:
        raise ValueError(
            f"`inputs` must hold item_id, and not top_k, which is an argument. Received: {', '.join(inputs)}."
        )
    signature = _signature("rank", inputs)
    given = yield from _typed(rankings, signature, inputs, deadline)
    item_ids = np.asarray(given["item_id"])
    if item_ids.ndim not in (1, 2):
        raise ValueError(
            '`inputs["item_id"]` must have the shape [users, candidates], or [candidates] of one user. '
            f"Received: {list(item_ids.shape)}."
        )
    one_user = item_ids.ndim == 1
    if one_user:
        given = {name: value if _is_flat(name, inputs) else _one_row(value) for name, value in given.items()}
    wanted = _top_k(top_k, 1 if one_user else len(item_ids))
    answer = yield from rankings.answer(signature, {**given, "top_k": wanted}, deadline)
    best = slice(wanted.max(initial=0))  # a server that joined this request with others gives the most of any
    outputs = answer["probability"], answer["top_item_id"][:, best], answer["top_probability"][:, best]
    probability, top_item_id, top_probability = (output[0] if one_user else output for output in outputs)
    return Ranking(probability, top_item_id, top_probability, _unanswered(answer))


def embeddings_of(rankings: Rankings, item_ids: ArrayLike, deadline: Deadline) -> Flow[ItemEmbeddings]:
    """Looks items up, as `RankerClient.lookup` documents."""
    if _is_untold(item_ids):
        typed = yield from _typed(rankings, "predict", {"item_id": item_ids}, deadline)
        item_ids = typed["item_id"]
    wanted = item_ids_of("item_ids", item_ids)
    if wanted.ndim != 1:
        raise ValueError(f"`item_ids` must have the shape [items]. Received: {list(wanted.shape)}.")
    return (yield from rankings.lookup(wanted, deadline))


def _typed(rankings: Rankings, signature: str, inputs: Inputs, deadline: Deadline) -> Flow[dict[str, ArrayLike]]:
    """Inputs with item ids as `item_ids_of` makes them, and empty lists as arrays of the type that the model takes."""
    given = dict(inputs)
    untold = [name for name, value in inputs.items() if _is_untold(value)]
    if untold:
        signatures = yield from rankings.signatures(deadline)
        specs = signatures[signature].inputs if signature in signatures else {}  # the server will say so
        dtypes = {name: specs[name].dtype.as_numpy_dtype for name in untold if name in specs}
        given |= {name: np.zeros(np.shape(inputs[name]), dtype) for name, dtype in dtypes.items()}
    return given | {name: item_ids_of(f'inputs["{name}"]', given[name]) for name in ITEM_IDS if name in given}


def _is_untold(value: Any) -> bool:
    """Whether it is a list, or lists, of nothing, such as the history of a user who is new: it has no type."""
    return isinstance(value, list | tuple) and all(map(_is_untold, value))


def _unanswered(answer: Mapping[str, np.ndarray]) -> tuple[int, ...]:
    """The shards that an answer of `Rankings` says did not answer."""
    return tuple(answer["unanswered"].tolist()) if "unanswered" in answer else ()


def _signature(name: str, inputs: Inputs) -> str:
    return f"{name}_ragged" if _LENGTHS in inputs else name


def _is_flat(name: str, inputs: Inputs) -> bool:
    """Whether an input holds the behaviours of all users one after the other, and so has no dimension of users."""
    return _LENGTHS in inputs and name.startswith("history_") and name != _LENGTHS


def _one_row(value: Any) -> ArrayLike:
    """A value with a first dimension of 1; plain lists stay some, which tells how their numbers are sent."""
    return np.asarray(value)[np.newaxis] if hasattr(value, "dtype") else [value]


def _top_k(top_k: ArrayLike, users: int) -> np.ndarray:
    """`[users]` int64."""
    wanted = np.asarray(top_k)
    if wanted.dtype.kind not in "iu" or wanted.shape not in ((), (users,)) or wanted.min(initial=0) < 0:
        raise ValueError(
            f"`top_k` must be an integer of 0 or more, or one for each of {users} users. Received: {top_k!r}."
        )
    return np.broadcast_to(wanted, [users]).astype(np.int64)
