"""`RankerClient` for asyncio: the same calls, awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from mim_tf.serving.client.async_client import AsyncClient
from mim_tf.serving.client.deadline import Deadline
from mim_tf.serving.client.flow import Step, Together, run_async
from mim_tf.serving.client.ranking import ItemEmbeddings, Ranking, Rankings, embeddings_of, predicted, ranked


class AsyncRankerClient:
    """Ranks items for users. `open_async_ranker` makes one, for the event loop that runs.

    Args:
        clients: As the others, as in `RankerClient`.
    """

    def __init__(
        self, clients: Sequence[AsyncClient], rankings: Callable[[Together], Rankings], timeout: float
    ) -> None:
        self._clients, self._timeout = clients, timeout
        self._rankings = rankings(_together)

    async def predict(self, inputs: Mapping[str, ArrayLike], *, timeout: float | None = None) -> dict[str, np.ndarray]:
        """As `RankerClient.predict`."""
        return await run_async(predicted(self._rankings, inputs, self._deadline(timeout)))

    async def rank(
        self, inputs: Mapping[str, ArrayLike], top_k: ArrayLike = 10, *, timeout: float | None = None
    ) -> Ranking:
        """As `RankerClient.rank`."""
        return await run_async(ranked(self._rankings, inputs, top_k, self._deadline(timeout)))

    async def lookup(self, item_ids: ArrayLike, *, timeout: float | None = None) -> ItemEmbeddings:
        """As `RankerClient.lookup`."""
        return await run_async(embeddings_of(self._rankings, item_ids, self._deadline(timeout)))

    async def close(self) -> None:
        """Closes the connections; calls under way end with a `ServingError`."""
        await asyncio.gather(*(client.close() for client in self._clients))

    async def __aenter__(self) -> Self:
        """Makes sure that the servers can be asked."""
        try:
            await run_async(self._rankings.check(Deadline(self._timeout)))
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def _deadline(self, timeout: float | None) -> Deadline:
        return Deadline(self._timeout if timeout is None else timeout)


async def _together(steps: Sequence[Step]) -> list[Any]:
    """Does steps at the same time; of those that fail, returns the exception."""
    return await asyncio.gather(*(step() for step in steps), return_exceptions=True)
