"""The asynchronous client: many calls at once, cancelled ones, closed ones."""

import asyncio
import threading
from pathlib import Path

import numpy as np
import pytest

from mim_tf.errors import ServingError
from mim_tf.serving.client import AsyncClient
from tests.serving.publishing import wait_until
from tests.serving.scripted import Scripted, sent, serving


def test_it_answers_as_the_other_client(address: str, rows: dict[str, np.ndarray]) -> None:
    async def asked() -> None:
        async with AsyncClient(address, timeout=60) as client:
            assert await client.wait_until_ready("ranker", timeout=60) == 10
            assert await client.model_status("ranker") == {10: "AVAILABLE"}
            signatures = await client.signatures("ranker")
            assert (
                str(signatures["lookup"]) == "(item_id: int64 [?]) -> (embedding: float32 [?, 2], item_id: int64 [?])"
            )
            answer = await client.predict("ranker", rows, outputs=["score"])
            assert list(answer) == ["score"]
            np.testing.assert_array_equal(answer["score"], np.array([10.0, 14.0], np.float32))
            with pytest.raises(ServingError, match=r'model "nobody" at 127.*NOT_FOUND: .*Is a model of that name'):
                await client.predict("nobody", {})

    asyncio.run(asked())


def test_a_hundred_calls_share_one_connection() -> None:
    """The server lets none pass before eight are there, which is all that it works on at once."""
    together = threading.Barrier(8)
    script = Scripted(*[lambda: together.wait(60)] * 96)

    async def asked(address: str) -> list[int]:
        async with AsyncClient(address, timeout=120) as client:
            answers = await asyncio.gather(*(client.predict("m", {"x": number}) for number in range(100)))
        return [int(answer["x"]) for answer in answers]

    with serving(script) as address:
        assert asyncio.run(asked(address)) == list(range(100))
    assert sorted(sent(script)) == list(range(100))
    assert len(script.peers) == 1


def test_a_call_that_is_cancelled_is_cancelled_at_the_server() -> None:
    began, cancelled = threading.Event(), threading.Event()

    class Waiting(Scripted):
        def Predict(self, request: object, context: object) -> object:  # noqa: N802
            context.add_callback(cancelled.set)  # type: ignore[attr-defined]
            began.set()
            cancelled.wait(60)
            return super().Predict(request, context)  # type: ignore[arg-type]

    async def asked(address: str) -> None:
        async with AsyncClient(address, timeout=60) as client:
            task = asyncio.create_task(client.predict("m", {"x": 7}))
            await asyncio.to_thread(began.wait, 60)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()
            await asyncio.to_thread(wait_until, cancelled.is_set)

    with serving(Waiting()) as address:
        asyncio.run(asked(address))
    assert cancelled.is_set()


def test_closing_ends_a_call_and_forbids_others() -> None:
    began, done = threading.Event(), threading.Event()
    script = Scripted(lambda: (began.set(), done.wait(60)))

    async def asked(address: str) -> None:
        client = AsyncClient(address, timeout=60)
        task = asyncio.create_task(client.predict("m", {"x": 7}))
        await asyncio.to_thread(began.wait, 60)
        await client.close()
        for call in (task, client.predict("m", {"x": 8})):
            with pytest.raises(ServingError, match=r'model "m" at 127.*: the client is closed\. Make another one\.'):
                await call

    with serving(script) as address:
        try:
            asyncio.run(asked(address))
        finally:
            done.set()
    assert sent(script) == [7]


def test_it_needs_an_event_loop(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        AsyncClient("127.0.0.1:1")
