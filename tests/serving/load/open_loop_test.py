"""Requests are sent when they are due, and their latency counts from then."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import grpc
import numpy as np
import pytest

from mim_tf.errors import ServingError
from mim_tf.serving.load.open_loop import OpenLoop, connected, event_loop, warm_up
from mim_tf.serving.load.outcomes import Outcomes
from tests.serving.load.virtual_time import VirtualLoop, run

RATE = 100  # requests per second


def arrivals(count: int) -> list[float]:
    return [number / RATE for number in range(count)]


def until(end: float) -> Callable[[float], bool]:
    return lambda due: due < end


def test_a_stall_shows_in_all_requests_that_were_due_meanwhile() -> None:
    """The server answers in 2 ms, but from 1 s to 2 s it stands still.

    A generator that waited for answers would send one request in the stall and see one latency of a second.
    """

    async def send(request: bytes) -> bytes:
        now = asyncio.get_running_loop().time()
        await asyncio.sleep((2.0 - now if 1.0 <= now < 2.0 else 0.0) + 0.002)
        return request

    outcomes = run(OpenLoop(send, [b"a"]).run(iter(arrivals(300)), until(10)))
    expected = np.full(300, 0.002)
    expected[100:200] += 1 - np.arange(100) / RATE  # the k-th request of the stall waits 1 - k/r seconds
    np.testing.assert_allclose(outcomes.latency, expected, atol=1e-9)
    np.testing.assert_allclose(outcomes.lateness, 0, atol=1e-9)
    # A third of all requests was due in the stall: p90 are 700 ms, as 10 % of 300 waited longer than 1 - 30/100 s.
    assert np.percentile(outcomes.latency, 90) == pytest.approx(0.702, abs=0.01)


def test_a_generator_that_is_late_says_so_and_still_counts_from_when_requests_were_due() -> None:
    """Each request takes Python 20 ms, twice of what there is between two: the k-th is sent k * 10 ms late."""

    async def send(request: bytes) -> bytes:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        loop.block(0.02)
        return request

    outcomes = run(OpenLoop(send, [b"a"]).run(iter(arrivals(50)), until(10)))
    np.testing.assert_allclose(outcomes.lateness, 0.01 * np.arange(50), atol=1e-9)
    np.testing.assert_allclose(outcomes.latency, 0.01 * np.arange(50) + 0.02, atol=1e-9)


def test_requests_are_sent_over_and_over_until_the_end() -> None:
    sent = []

    async def send(request: bytes) -> bytes:
        sent.append(request)
        return b""

    outcomes = run(OpenLoop(send, [b"a", b"b", b"c"]).run(iter(arrivals(100)), until(0.05)))
    assert sent == [b"a", b"b", b"c", b"a", b"b"]
    np.testing.assert_allclose(outcomes.due, arrivals(5))
    assert outcomes.errors == {}


def test_no_requests_are_refused() -> None:
    with pytest.raises(ValueError, match="`requests` must hold at least one"):
        OpenLoop(lambda request: asyncio.sleep(0, request), [])


Answer = Callable[[bytes, grpc.aio.ServicerContext], object]


@asynccontextmanager
async def serving(answer: Answer) -> AsyncIterator[str]:
    """The address of a gRPC server that answers bytes."""
    server = grpc.aio.server()
    method = grpc.unary_unary_rpc_method_handler(answer)
    handler = grpc.method_handlers_generic_handler("tensorflow.serving.PredictionService", {"Predict": method})
    server.add_generic_rpc_handlers([handler])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


async def sent_to(answer: Answer, requests: list[bytes], count: int, timeout: float = 60.0) -> Outcomes:
    async with serving(answer) as address, connected(address, timeout) as send:
        return await OpenLoop(send, requests).run(iter([0.001 * number for number in range(count)]), until(60))


def in_time(main: object) -> Outcomes:
    with asyncio.Runner(loop_factory=event_loop) as runner:
        return runner.run(main)  # type: ignore[arg-type]


def test_as_many_requests_are_under_way_as_are_due() -> None:
    """The server answers none before it has all 400: with fewer at a time it would never."""
    seen: list[bytes] = []

    async def answer(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        seen.append(request)
        while len(seen) < 400:
            await asyncio.sleep(0.01)
        return request

    outcomes = in_time(sent_to(answer, [b"a"], 400))
    assert outcomes.codes.tolist() == ["OK"] * 400
    assert outcomes.ended.min() > outcomes.started.max()


def test_errors_are_counted_by_code_and_none_is_tried_again() -> None:
    calls: list[bytes] = []

    async def answer(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        calls.append(request)
        if request == b"refuse":
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many")
        if request == b"down":
            await context.abort(grpc.StatusCode.UNAVAILABLE, "going down")
        return request

    outcomes = in_time(sent_to(answer, [b"a", b"refuse", b"b", b"down"], 40))
    assert outcomes.errors == {"RESOURCE_EXHAUSTED": 10, "UNAVAILABLE": 10}
    assert outcomes.codes[:4].tolist() == ["OK", "RESOURCE_EXHAUSTED", "OK", "UNAVAILABLE"]
    assert len(calls) == 40


def test_a_request_whose_time_is_up_has_waited_that_long() -> None:
    async def answer(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        await asyncio.sleep(30)
        return request

    outcomes = in_time(sent_to(answer, [b"a"], 5, timeout=0.2))
    assert outcomes.errors == {"DEADLINE_EXCEEDED": 5}
    assert (outcomes.latency > 0.19).all()
    assert outcomes.waited.all()


def test_a_request_that_is_refused_before_the_load_is_an_error_that_says_why() -> None:
    async def answer(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        if request == b"bad":
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no such input")
        return request

    async def main() -> Outcomes:
        async with serving(answer) as address, connected(address, 60) as send:
            await warm_up(send, [b"a", b"a"])
            await warm_up(send, [b"a", b"bad"])
        raise RuntimeError("unreachable")

    with pytest.raises(ServingError, match="request 1 was refused: INVALID_ARGUMENT: no such input"):
        in_time(main())
