"""The phases of a run: the same load, and something that happens meanwhile."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from typing import NamedTuple, TypeAlias

from mim_tf.errors import MimError, ServingError
from mim_tf.serving.load.arrivals import poisson_arrivals
from mim_tf.serving.load.open_loop import OpenLoop
from mim_tf.serving.load.outcomes import Outcomes

Notes: TypeAlias = dict[str, float]


class Phase(NamedTuple):
    """A load, and what happens during it.

    `work` runs in a thread of its own, ends soon after the event is set, and returns numbers for the report.
    """

    name: str
    rate: float  # requests per second
    work: Callable[[threading.Event], Notes] | None = None
    to_its_end: bool = False  # whether the load goes on, over its time, until the work has ended
    warm_up: float = 0.0  # seconds of the same load before it, which nobody measures


class Measured(NamedTuple):
    """What a phase saw."""

    phase: str
    rate: float  # wanted, requests per second
    begin: float  # seconds since the start of the run
    seconds: float  # that requests arrived, or longer: until the last answer
    outcomes: Outcomes
    notes: Notes  # of the work


async def run_phases(
    phases: Sequence[Phase], generator: OpenLoop, seconds: float, seed: int
) -> AsyncIterator[Measured]:
    """Run phases one after another, each until all its requests were answered.

    Args:
        phases: what is to happen.
        generator: sends the requests.
        seconds: how long requests arrive in each phase.
        seed: of the arrivals; those of each phase are others.

    Yields:
        What each phase saw, as soon as it is over.

    Raises:
        ServingError: a phase's work failed, and its load ended early; the phase is named.
    """
    begin = asyncio.get_running_loop().time()
    for number, phase in enumerate(phases):
        try:
            yield await _run(phase, generator, seconds, seed + number, begin)
        except (MimError, OSError) as error:
            raise ServingError(f"the phase {phase.name} failed: {error}") from error


async def _run(phase: Phase, generator: OpenLoop, seconds: float, seed: int, start: float) -> Measured:
    await generator.run(poisson_arrivals(phase.rate, seed), lambda due: due < phase.warm_up)
    over = threading.Event()
    begin = asyncio.get_running_loop().time() - start
    work = asyncio.ensure_future(asyncio.to_thread(phase.work, over) if phase.work else _nothing())

    def more(due: float) -> bool:
        if work.done() and work.exception() is not None:
            return False
        return due < seconds or (phase.to_its_end and not work.done())

    try:
        outcomes = await generator.run(poisson_arrivals(phase.rate, seed), more)
    finally:  # also when the run is cancelled: a thread cannot be
        over.set()
        await asyncio.wait([work])
    took = max(seconds, float(outcomes.ended.max(initial=0.0)))
    return Measured(phase.name, phase.rate, begin, took, outcomes, work.result())


async def _nothing() -> Notes:
    return {}
