"""What a connection carries."""

import asyncio

import numpy as np
import pytest

from mim_tf.serving.client import AsyncClient, Client
from tests.serving.scripted import Scripted, serving

LARGE = np.arange(2**20)  # 8 MB, of which gRPC takes 4 by default


@pytest.mark.parametrize("kind", ["", "async"])
def test_large_messages_pass_both_ways(kind: str) -> None:
    async def asked(address: str) -> np.ndarray:
        async with AsyncClient(address, timeout=60) as client:
            return (await client.predict("m", {"x": LARGE}))["x"]

    with serving(Scripted()) as address:
        if kind:
            answer = asyncio.run(asked(address))
        else:
            with Client(address, timeout=60) as client:
                answer = client.predict("m", {"x": LARGE})["x"]
    np.testing.assert_array_equal(answer, LARGE)


def test_calls_share_a_connection() -> None:
    script = Scripted()
    with serving(script) as address, Client(address, timeout=60) as client:
        for number in range(20):
            client.predict("m", {"x": number})
    assert len(script.peers) == 1
