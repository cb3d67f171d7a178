"""Rankings where the table is inside the model: one call each."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np

from mim_tf.errors import ServingError
from mim_tf.serving.client.async_client import AsyncClient
from mim_tf.serving.client.call import metadata_call, predict_call
from mim_tf.serving.client.client import Client
from mim_tf.serving.client.deadline import Deadline
from mim_tf.serving.client.flow import Flow
from mim_tf.serving.client.ranking import Inputs, ItemEmbeddings, Outputs
from mim_tf.serving.signature import Signature


class BakedRankings:
    """`Rankings` of a model that `python -m mim_tf.export` wrote in one piece.

    Args:
        client: Of its server.
        model: Its name.
        label: Of the version that is asked; None for the highest.
    """

    def __init__(self, client: Client | AsyncClient, model: str, label: str | None) -> None:
        self._client, self._model, self._label = client, model, label
        self._signatures: Mapping[str, Signature] | None = None

    def check(self, deadline: Deadline) -> Flow[None]:
        """As `Rankings.check`.

        Raises:
            ServingError: If the server does not answer, or the model has no table inside.
        """
        signatures = yield from self.signatures(deadline)
        if "contents" in signatures:
            raise ServingError(
                f'`tables` must be the addresses of the shards, since model "{self._model}" has no table inside. '
                "Received: none."
            )

    def signatures(self, deadline: Deadline) -> Flow[Mapping[str, Signature]]:
        """As `Rankings.signatures`."""
        if self._signatures is None:
            call = metadata_call(self._model, version=None, label=self._label)
            self._signatures = yield partial(self._client.ask, call, deadline)
        return self._signatures

    def answer(self, signature: str, inputs: Inputs, deadline: Deadline) -> Flow[Outputs]:
        """As `Rankings.answer`."""
        call = predict_call(self._model, inputs, signature=signature, version=None, label=self._label, outputs=None)
        return (yield partial(self._client.ask, call, deadline))

    def lookup(self, item_ids: np.ndarray, deadline: Deadline) -> Flow[ItemEmbeddings]:
        """As `Rankings.lookup`."""
        answer = yield from self.answer("lookup", {"item_id": item_ids}, deadline)
        return ItemEmbeddings(answer["embedding"], answer["hit"])
