"""`Client` for asyncio: the same calls, awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import grpc
import numpy as np
from numpy.typing import ArrayLike

from mim_tf.serving.client.attempts import Attempts
from mim_tf.serving.client.call import Call, metadata_call, predict_call, status_call
from mim_tf.serving.client.call_errors import closed_error
from mim_tf.serving.client.channel import methods_of, open_async_channel
from mim_tf.serving.client.deadline import Deadline
from mim_tf.serving.client.flow import run_async
from mim_tf.serving.client.tls import Tls
from mim_tf.serving.signature import Signature


class AsyncClient:
    """Calls the models of one server over one connection, as many at a time as are awaited.

        async with AsyncClient("127.0.0.1:8500") as client:
            answers = await asyncio.gather(*(client.predict("ranker", inputs) for inputs in requests))

    Arguments, answers, errors and attempts are those of `Client`. A call that is cancelled is cancelled at the server.
    Made while an event loop runs, and for that one.

    Args:
        address: `host:port` of the server's gRPC port.
        timeout: Longest wait for an answer in seconds, all attempts together.
        tls: How the connection is encrypted; None for not at all.
        attempts: How often a call is tried at most.

    Raises:
        RuntimeError: If no event loop runs.
        ServingError: If a file of `tls` is not what it should be.
        ValueError: If `timeout` or `attempts` is not positive.
    """

    def __init__(self, address: str, *, timeout: float = 5.0, tls: Tls | None = None, attempts: int = 3) -> None:
        asyncio.get_running_loop()  # gRPC would start one of its own, which nobody runs
        self._attempts = Attempts(address, tls, timeout, attempts, send=self._send, sleep=asyncio.sleep)
        self._channel = open_async_channel(address, tls)
        self._methods = methods_of(self._channel)

    async def predict(
        self,
        model: str,
        inputs: Mapping[str, ArrayLike],
        *,
        signature: str = "serving_default",
        version: int | None = None,
        label: str | None = None,
        outputs: Sequence[str] | None = None,
        timeout: float | None = None,
    ) -> dict[str, np.ndarray]:
        """As `Client.predict`."""
        call = predict_call(model, inputs, signature=signature, version=version, label=label, outputs=outputs)
        return await self.ask(call, self._attempts.deadline(timeout))

    async def model_status(self, model: str, *, timeout: float | None = None) -> dict[int, str]:
        """As `Client.model_status`."""
        return await self.ask(status_call(model), self._attempts.deadline(timeout))

    async def signatures(
        self, model: str, *, version: int | None = None, label: str | None = None, timeout: float | None = None
    ) -> dict[str, Signature]:
        """As `Client.signatures`."""
        call = metadata_call(model, version=version, label=label)
        return await self.ask(call, self._attempts.deadline(timeout))

    async def ask(self, call: Call[Any], deadline: Deadline) -> Any:
        """As `Client.ask`."""
        return await run_async(self._attempts.answer(call, deadline))

    async def wait_until_ready(self, model: str, timeout: float = 60.0) -> int:
        """As `Client.wait_until_ready`."""
        return await run_async(self._attempts.readiness(model, timeout))

    async def close(self) -> None:
        """Closes the connection; calls under way are cancelled."""
        await self._channel.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def _send(self, call: Call[Any], seconds: float) -> Any:
        """Sends a call once."""
        try:
            return await self._methods[call.method](call.request, timeout=seconds)
        except grpc.aio.UsageError as error:
            raise closed_error(call, self._attempts.address) from error
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # Nobody cancelled this task: gRPC says so of a connection that was closed meanwhile.
            raise closed_error(call, self._attempts.address) from error
