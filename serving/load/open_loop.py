"""Requests that are sent when they are due, whether or not earlier ones were answered."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import takewhile
from typing import TypeAlias

import grpc

from mim_tf.errors import ServingError
from mim_tf.serving.client import Tls
from mim_tf.serving.client.channel import open_async_channel
from mim_tf.serving.load.outcomes import OK, Outcome, Outcomes

Send: TypeAlias = Callable[[bytes], Awaitable[bytes]]

_PREDICT = "/tensorflow.serving.PredictionService/Predict"
_WARM_UP = 20  # requests


def event_loop() -> asyncio.AbstractEventLoop:
    """A loop that wakes up in time: epoll, which asyncio would choose, sleeps whole milliseconds."""
    return asyncio.SelectorEventLoop(selectors.SelectSelector())


@asynccontextmanager
async def connected(address: str, timeout: float, tls: Tls | None = None) -> AsyncIterator[Send]:
    """A function that sends a `PredictRequest` and waits for the answer, over one connection.

    Requests and answers stay bytes: what is measured is the server and the way there, not the decoding in Python,
    which would also keep the generator from sending in time. None is tried again, as `AsyncClient` would.

    Args:
        address: `host:port` of the server's gRPC port.
        timeout: longest wait for an answer from when a request is sent, seconds.
        tls: how the connection is encrypted; None for not at all.

    Raises:
        ServingError: a file of `tls` is not what it should be.
    """
    async with open_async_channel(address, tls) as channel:
        predict = channel.unary_unary(_PREDICT)
        yield lambda request: predict(request, timeout=timeout)


async def warm_up(send: Send, requests: Sequence[bytes]) -> None:
    """Send the first requests one by one: the connection is made, and what a server makes at the first of a shape.

    Raises:
        ServingError: the server refuses one; a load of them would say no more.
    """
    for number, request in enumerate(requests[:_WARM_UP]):
        try:
            await send(request)
        except grpc.aio.AioRpcError as error:
            raise ServingError(f"request {number} was refused: {error.code().name}: {error.details()}") from error


class OpenLoop:
    """A generator of load: arrivals do not wait for answers, so a slow server gets no fewer requests.

    Args:
        send: sends a request.
        requests: that are sent, over and over.

    Raises:
        ValueError: there are no requests.
    """

    def __init__(self, send: Send, requests: Sequence[bytes]):
        if not requests:
            raise ValueError("`requests` must hold at least one. Received: none.")
        self._send, self._requests = send, requests

    async def run(self, arrivals: Iterator[float], more: Callable[[float], bool]) -> Outcomes:
        """Send a request at each arrival, and wait for the answers of all.

        Args:
            arrivals: seconds from now, ascending.
            more: whether a request that is due then is still to be sent; the first that is not ends the run.

        Returns:
            What became of them.
        """
        loop = asyncio.get_running_loop()
        begin = loop.time()
        outcomes: list[Outcome] = []  # and no finished tasks: the garbage collector would look through them all
        under_way: set[asyncio.Task[None]] = set()

        async def one(due: float, request: bytes) -> None:
            started = loop.time() - begin
            code = await self._code_of(request)
            outcomes.append(Outcome(due, started, loop.time() - begin, code))

        for number, due in enumerate(takewhile(more, arrivals)):
            # Also where it is late already: the requests begun so far are sent during a sleep of 0.
            await asyncio.sleep(max(0.0, begin + due - loop.time()))
            task = asyncio.create_task(one(due, self._requests[number % len(self._requests)]))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        await asyncio.gather(*under_way)
        return Outcomes.of(outcomes)

    async def _code_of(self, request: bytes) -> str:
        """The gRPC code with which a request ended."""
        try:
            await self._send(request)
        except grpc.aio.AioRpcError as error:
            return error.code().name
        return OK
