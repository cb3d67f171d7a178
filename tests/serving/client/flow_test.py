"""A flow gives the same by waiting and by awaiting."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from mim_tf.serving.client.flow import Flow, Result, run, run_async


def half(number: int) -> int:
    if number % 2:
        raise ValueError(f"{number} is odd")
    return number // 2


async def half_async(number: int) -> int:
    await asyncio.sleep(0)
    return half(number)


def awaiting(flow: Flow[Result]) -> Result:
    return asyncio.run(run_async(flow))


def halvings(step: Callable[[int], Any], number: int) -> Flow[list[int]]:
    """Halves until a step fails; of 3 it does not catch the failure."""
    seen = [number]
    while True:
        try:
            seen.append((yield partial(step, seen[-1])))
        except ValueError:
            if seen[-1] == 3:
                raise
            return seen


@pytest.mark.parametrize(("perform", "step"), [(run, half), (awaiting, half_async)])
def test_a_flow_gets_outcomes_and_errors(perform: Any, step: Any) -> None:
    assert perform(halvings(step, 20)) == [20, 10, 5]
    assert perform(halvings(step, 1)) == [1]
    with pytest.raises(ValueError, match="3 is odd"):
        perform(halvings(step, 12))


def nothing() -> Flow[str]:
    return "done"
    yield  # what makes it a flow


@pytest.mark.parametrize("perform", [run, awaiting])
def test_a_flow_may_have_no_steps(perform: Any) -> None:
    assert perform(nothing()) == "done"
