"""A conversation with servers, written once for clients that wait and for clients that await.

A flow is a generator. It yields a step, what is to be done next, and gets what came of it, or has its error raised
where it yielded. `run` does the steps; `run_async` awaits them. So what decides is in the flow, and a client differs
from an asynchronous one by its steps alone:

    def doubled(client) -> Flow[int]:
        number = yield partial(client.ask, 21)
        return 2 * number

    run(doubled(client)); await run_async(doubled(async_client))
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Sequence
from typing import Any, TypeAlias, TypeVar

Result = TypeVar("Result")
Step: TypeAlias = Callable[[], Any]  # for `run_async`, Callable[[], Awaitable[Any]]
Flow: TypeAlias = Generator[Step, Any, Result]
# Does steps at the same time and returns what came of each: a result, or the exception that it raised.
Together: TypeAlias = Callable[[Sequence[Step]], Any]


def run(flow: Flow[Result]) -> Result:
    """Does the steps of a flow, one after the other.

    Returns:
        What the flow returns.

    Raises:
        Exception: What the flow raises, or a step raised and the flow let pass.
    """
    resume: Callable[[Any], Step] = flow.send
    outcome: Any = None
    while True:
        try:
            step = resume(outcome)
        except StopIteration as end:
            return end.value
        try:
            resume, outcome = flow.send, step()
        except Exception as error:
            resume, outcome = flow.throw, error


async def run_async(flow: Flow[Result]) -> Result:
    """As `run`, but awaits each step. Cancelling it cancels the step under way; a flow cannot hold that up."""
    resume: Callable[[Any], Callable[[], Awaitable[Any]]] = flow.send
    outcome: Any = None
    while True:
        try:
            step = resume(outcome)
        except StopIteration as end:
            return end.value
        try:
            resume, outcome = flow.send, await step()
        except Exception as error:
            resume, outcome = flow.throw, error
