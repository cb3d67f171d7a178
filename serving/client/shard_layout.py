"""Which shards of which table are served, and whether they fit together and to the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import grpc
from numpy.typing import ArrayLike

from mim_tf.errors import ServingError
from mim_tf.serving.client.async_client import AsyncClient
from mim_tf.serving.client.call import predict_call, versioned
from mim_tf.serving.client.call_errors import code_of
from mim_tf.serving.client.client import Client
from mim_tf.serving.client.deadline import Deadline
from mim_tf.serving.client.flow import Flow, Step, Together

_QUESTIONS = 8  # to the servers behind one address, of which one at least has the version that is asked about


class Part(NamedTuple):
    """A model of a ranker whose table is cut into shards.

    Args:
        client: Of the server, or the servers, that serve it.
        model: Its name.
        shard: Its number; None of the network.
        label: Of the version that is asked; None for the highest.
    """

    client: Client | AsyncClient
    model: str
    shard: int | None = None
    label: str | None = None

    def step(
        self,
        signature: str,
        inputs: Mapping[str, ArrayLike],
        deadline: Deadline,
        *,
        version: int | None = None,
        outputs: Sequence[str] | None = None,
    ) -> Step:
        """Gets the version that answers, and its outputs."""
        label = self.label if version is None else None
        call = predict_call(self.model, inputs, signature=signature, version=version, label=label, outputs=outputs)
        return partial(self.client.ask, versioned(call), deadline)

    def telling(self, deadline: Deadline, version: int | None = None) -> Step:
        """Gets the version that answers, and what it says of itself."""
        signature = "contents" if self.shard is None else "version"
        return self.step(signature, {"request": [0]}, deadline, version=version)


class ShardLayout(NamedTuple):
    """What was found to fit together.

    Args:
        store: The identity of the store that the table was made of, and the network is for.
        dim: Of the embeddings.
        slots: That items were dealt to.
        shards: How many there are.
        fitting: The names and versions of the models that were asked; others join them.
    """

    store: bytes
    dim: int
    slots: int
    shards: int
    fitting: set[tuple[str, int]]

    def require(self, part: Part, version: int, deadline: Deadline) -> Flow[None]:
        """Makes sure that the version of a model that answered fits, which is asked once.

        Raises:
            MisfitError: If it does not.
            ServingError: If no server answers for it.
        """
        if (part.model, version) not in self.fitting:
            told = yield from _told_of(part, version, deadline)
            self.add(part, version, told)

    def add(self, part: Part, version: int, told: Mapping[str, Any]) -> None:
        """Takes note of a version that fits.

        Raises:
            MisfitError: If it is another part than its place says, or made of another store than the others.
        """
        alone = part.shard is None
        place, made = ("ranker", "a network for") if alone else (f"tables[{part.shard}]", "embeddings of")
        if not alone and (told["shard"], told["shards"]) != (part.shard, self.shards):
            received = f"shard {told['shard']} of {told['shards']}"
            raise MisfitError(f"`{place}` must serve shard {part.shard} of {self.shards}. Received: {received}.")
        for name, wanted in {"store": self.store, "dim": self.dim}.items():
            if told[name] != wanted:
                raise MisfitError(
                    f"`{place}` must serve {made} the {name} that the others have, {wanted}. Received: {told[name]}. "
                    "Export the network and its tables again."
                )
        self.fitting.add((part.model, version))


class MisfitError(ServingError):
    """Models that are served do not fit together, while they are changed perhaps."""


def layout_of(network: Part, tables: Sequence[Part], together: Together, deadline: Deadline) -> Flow[ShardLayout]:
    """Asks all servers what they have.

    Raises:
        ServingError: If one does not answer, or they have not one table in as many shards as there are addresses, and
            a network for it.
    """
    parts = [network, *tables]
    outcomes = yield partial(together, [part.telling(deadline) for part in parts])
    versions, told = zip(*(_answered(outcome) for outcome in outcomes), strict=True)
    layout = ShardLayout(told[0]["store"], told[0]["dim"], told[1]["slots"], len(tables), set())
    for part, version, contents in zip(parts, versions, told, strict=True):
        layout.add(part, version, contents)
    return layout


def _answered(outcome: Any) -> tuple[int, dict[str, Any]]:
    if isinstance(outcome, ServingError):
        raise ServingError(
            "`ranker` and `tables` must serve what `mim_tf.export --shards` writes, the p-th of `tables` the model "
            f"that ends in _table_p. {outcome}"
        ) from outcome
    if isinstance(outcome, Exception):
        raise outcome
    version, outputs = outcome
    return version, _told(outputs)


def _told_of(part: Part, version: int, deadline: Deadline) -> Flow[dict[str, Any]]:
    """What a version says of itself. Servers behind one address take turns, and others may not have it."""
    for question in range(1, _QUESTIONS + 1):
        try:
            _, outputs = yield part.telling(deadline, version)
            break
        except ServingError as error:
            if code_of(error) != grpc.StatusCode.NOT_FOUND or question == _QUESTIONS:
                raise
    return _told(outputs)


def _told(outputs: Mapping[str, Any]) -> dict[str, Any]:
    return {name: values.tolist()[0] for name, values in outputs.items()}
