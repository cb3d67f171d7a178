"""Rankings where the table lies on machines of its own: rows are fetched from them, and given to the network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import grpc
import numpy as np

from mim_tf.errors import ServingError

# Loads Lance along with the table: 31 MB and a fraction of a second, beside TensorFlow's 700 MB and some seconds.
from mim_tf.representation.slots import shards_of
from mim_tf.serving.client.call import metadata_call
from mim_tf.serving.client.call_errors import code_of
from mim_tf.serving.client.deadline import Deadline
from mim_tf.serving.client.flow import Flow, Result, Together
from mim_tf.serving.client.item_ids import distinct
from mim_tf.serving.client.ranking import ITEM_IDS, Inputs, ItemEmbeddings, Outputs
from mim_tf.serving.client.shard_layout import MisfitError, Part, ShardLayout, layout_of
from mim_tf.serving.signature import Signature

_ROUNDS = 5  # of a request, while what is served changes
_SILENT = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED}


class ShardedRankings:
    """`Rankings` of a network, and of tables that `python -m mim_tf.export --shards P` wrote apart from it.

    Each item of a request is asked for once, of the one shard that has it, all shards at the same time.

    Servers behind one address may have different versions of a model, as while they are updated one after the other:
    whichever is asked answers. Each answer names its version; what one that is new says of itself is asked before its
    answer counts, and where it does not fit, all are asked anew. So a table cut otherwise never answers for this one,
    nor does a network get embeddings of a store that it does not know, which nothing else would tell from its own.

    Args:
        network: The model that is given embeddings.
        tables: The shards, in their order.
        zeros: Whether items of a shard that does not answer are as unknown ones; else that is an error.
        together: Does several steps at the same time.
    """

    def __init__(self, network: Part, tables: Sequence[Part], *, zeros: bool, together: Together) -> None:
        self._network, self._tables, self._zeros, self._together = network, tables, zeros, together
        self._layout: ShardLayout | None = None
        self._signatures: Mapping[str, Signature] | None = None

    def check(self, deadline: Deadline) -> Flow[None]:
        """As `Rankings.check`.

        Raises:
            ServingError: If one does not answer, or does not fit the others.
        """
        yield from self._checked(deadline)

    def signatures(self, deadline: Deadline) -> Flow[Mapping[str, Signature]]:
        """As `Rankings.signatures`."""
        if self._signatures is None:
            call = metadata_call(self._network.model, version=None, label=self._network.label)
            self._signatures = yield partial(self._network.client.ask, call, deadline)
        return self._signatures

    def answer(self, signature: str, inputs: Inputs, deadline: Deadline) -> Flow[Outputs]:
        """As `Rankings.answer`; with `zeros` also `unanswered`, `[n]` int64, the numbers of silent shards.

        Raises:
            ServingError: If a server does not answer, or answers with an error.
            ValueError: If ids are missing, or not of one type.
        """
        missing = [name for name in ITEM_IDS if name not in inputs]
        if missing:
            raise ValueError(f"`inputs` must hold {' and '.join(ITEM_IDS)}. Received: {', '.join(inputs)}.")
        target, history = (np.asarray(inputs[name]) for name in ITEM_IDS)
        if target.dtype.kind != history.dtype.kind:
            raise ValueError(
                f"{' and '.join(ITEM_IDS)} must be of one type. Received: {target.dtype} and {history.dtype}."
            )
        return (yield from self._with_layout(partial(self._answer, signature, inputs, deadline), deadline))

    def lookup(self, item_ids: np.ndarray, deadline: Deadline) -> Flow[ItemEmbeddings]:
        """As `Rankings.lookup`.

        Raises:
            ServingError: If a server does not answer, or answers with an error.
        """
        items, places = distinct(item_ids)
        fetched = yield from self._with_layout(partial(self._fetch, items, deadline), deadline)
        return ItemEmbeddings(fetched.rows[places], fetched.hits[places], tuple(fetched.unanswered))

    def _with_layout(self, ask: Callable[[ShardLayout], Flow[Result]], deadline: Deadline) -> Flow[Result]:
        """Asks, and again where what is served does not fit (any more): servers may be half through an update."""
        rounds = 1
        while True:
            try:
                layout = self._layout or (yield from self._checked(deadline))
                return (yield from ask(layout))
            except ServingError as error:
                changing = isinstance(error, MisfitError) or code_of(error) == grpc.StatusCode.NOT_FOUND
                if not changing or rounds == _ROUNDS:
                    raise
            self._layout = None
            rounds += 1

    def _checked(self, deadline: Deadline) -> Flow[ShardLayout]:
        self._layout = layout = yield from layout_of(self._network, self._tables, self._together, deadline)
        return layout

    def _answer(self, signature: str, inputs: Inputs, deadline: Deadline, layout: ShardLayout) -> Flow[Outputs]:
        target, history = (np.asarray(inputs[name]) for name in ITEM_IDS)
        items, places = distinct(target, history)
        fetched = yield from self._fetch(items, deadline, layout)
        of_target, of_history = np.split(fetched.rows[places], [target.size])
        contents = {
            "item_content": of_target.reshape(*target.shape, layout.dim),
            "history_content": of_history.reshape(*history.shape, layout.dim),
        }
        version, answer = yield self._network.step(signature, {**inputs, **contents}, deadline)
        yield from layout.require(self._network, version, deadline)
        return answer | {"unanswered": np.array(fetched.unanswered, np.int64)} if self._zeros else answer

    def _fetch(self, items: np.ndarray, deadline: Deadline, layout: ShardLayout) -> Flow[_Fetched]:
        """Gets the rows of distinct items."""
        fetched = _Fetched(np.zeros([len(items) + 1, layout.dim], np.float16), np.zeros(len(items) + 1, bool), [])
        shards = shards_of(items, layout.slots, layout.shards)
        places = {int(shard): np.flatnonzero(shards == shard) for shard in np.unique(shards)}
        until = deadline.half() if self._zeros else deadline
        lookups = [
            self._tables[shard].step("lookup", {"item_id": items[place]}, until, outputs=["embedding", "hit"])
            for shard, place in places.items()
        ]
        answers = yield partial(self._together, lookups)
        for (shard, place), answer in zip(places.items(), answers, strict=True):
            if not isinstance(answer, Exception):
                version, outputs = answer
                yield from layout.require(self._tables[shard], version, deadline)
                fetched.rows[place], fetched.hits[place] = outputs["embedding"], outputs["hit"]
            elif self._zeros and code_of(answer) in _SILENT:
                fetched.unanswered.append(shard)
            else:
                raise answer
        return fetched


class _Fetched(NamedTuple):
    """Rows `[items + 1, dim]` float16 of items and whether there are any, at the end those of padding: zeros, no."""

    rows: np.ndarray
    hits: np.ndarray
    unanswered: list[int]  # numbers of shards
