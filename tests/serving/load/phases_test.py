"""Phases: load while something else happens, from its beginning to its end."""

import asyncio
import threading
import time

import pytest

from mim_tf.errors import ServingError
from mim_tf.serving.load.open_loop import OpenLoop, event_loop
from mim_tf.serving.load.phases import Measured, Notes, Phase, run_phases


def run(
    *phases: Phase, sent: list[bytes] | None = None, seconds: float = 0.05, into: list[Measured] | None = None
) -> list[Measured]:
    """What the phases saw, also in `into`, which has it if one fails."""
    measured = [] if into is None else into

    async def send(request: bytes) -> bytes:
        if sent is not None:
            sent.append(request)
        return request

    async def collect() -> None:
        async for one in run_phases(phases, OpenLoop(send, [b"a"]), seconds, seed=1):
            measured.append(one)

    with asyncio.Runner(loop_factory=event_loop) as runner:
        runner.run(collect())
    return measured


def test_phases_follow_each_other_with_arrivals_of_their_own() -> None:
    first, second = run(Phase("steady", 400.0), Phase("steady", 800.0))
    assert (first.phase, first.rate, second.rate) == ("steady", 400.0, 800.0)
    assert second.begin >= first.begin + first.outcomes.ended.max()
    assert first.outcomes.due.max() < 0.05
    assert 2 * first.outcomes.due[0] != second.outcomes.due[0]  # not the same draws


def test_work_is_told_when_the_load_is_over() -> None:
    sent: list[bytes] = []

    def work(over: threading.Event) -> Notes:
        assert over.wait(60)
        return {"sent": len(sent)}

    (measured,) = run(Phase("upsert", 400.0, work), sent=sent)
    assert measured.notes == {"sent": len(sent)}
    assert len(sent) == len(measured.outcomes.due) > 0


def test_load_goes_on_until_work_has_ended() -> None:
    """The work ends after 200 requests, of which some 20 are due in the time of the phase."""
    sent: list[bytes] = []

    def work(over: threading.Event) -> Notes:
        while len(sent) < 200 and not over.wait(0.001):
            pass
        return {"ended": time.monotonic()}

    (measured,) = run(Phase("reload", 400.0, work, to_its_end=True), sent=sent)
    assert len(measured.outcomes.due) >= 200
    assert measured.seconds > 0.05
    (short,) = run(Phase("reload", 400.0, lambda over: {}, to_its_end=True), seconds=0.5)
    assert short.outcomes.due.max() < 0.5  # and no longer


def test_a_warm_up_is_sent_and_not_measured() -> None:
    """400 requests a second are some 200 in its half of a second, and some 20 in the phase."""
    sent: list[bytes] = []
    (measured,) = run(Phase("steady", 400.0, warm_up=0.5), sent=sent)
    assert measured.begin >= 0.45
    assert len(measured.outcomes.due) < 60
    assert len(sent) - len(measured.outcomes.due) > 100


@pytest.mark.parametrize("error", [ServingError("the table is full"), OSError("the table is full")])
def test_work_that_fails_ends_the_load_with_its_error(error: Exception) -> None:
    sent: list[bytes] = []

    def work(over: threading.Event) -> Notes:
        raise error

    with pytest.raises(ServingError, match="the phase upsert failed: the table is full"):
        run(Phase("upsert", 400.0, work), sent=sent, seconds=600.0)
    assert len(sent) < 4000


def test_what_phases_saw_before_one_that_fails_is_not_lost() -> None:
    def work(over: threading.Event) -> Notes:
        raise ServingError("nobody looks for versions")

    measured: list[Measured] = []
    with pytest.raises(ServingError, match="the phase reload failed"):
        run(Phase("steady", 400.0), Phase("reload", 400.0, work), into=measured)
    assert [one.phase for one in measured] == ["steady"]
    assert len(measured[0].outcomes.due) > 0


def test_work_is_told_when_the_generator_fails() -> None:
    told = threading.Event()

    def work(over: threading.Event) -> Notes:
        assert over.wait(60)
        told.set()
        return {}

    async def send(request: bytes) -> bytes:
        raise RuntimeError("no error of gRPC")

    async def first() -> Measured:
        return await anext(run_phases([Phase("upsert", 400.0, work)], OpenLoop(send, [b"a"]), 0.5, seed=1))

    with (
        asyncio.Runner(loop_factory=event_loop) as runner,
        pytest.raises(RuntimeError, match="no error of gRPC"),
    ):
        runner.run(first())
    assert told.is_set()
