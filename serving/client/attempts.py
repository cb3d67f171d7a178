"""How often a call is tried, how long, and what is said when it fails."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import grpc

from mim_tf.errors import ServingError
from mim_tf.serving.client.call import Call, status_call
from mim_tf.serving.client.call_errors import call_error, is_awaited, is_passing
from mim_tf.serving.client.deadline import Deadline
from mim_tf.serving.client.flow import Flow
from mim_tf.serving.client.tls import Tls

_Answer = TypeVar("_Answer")
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 2.0  # seconds; gRPC itself needs at least 0.1 before it connects anew
_POLL = 0.1  # seconds between two looks at a server that is not ready


@dataclass(frozen=True)
class Attempts:
    """A client's way to an answer, as flows: `run` does them with `send` and `sleep`, `run_async` awaits these.

    Only UNAVAILABLE is tried again (nobody listens, the server is going away), and only what may be repeated. A late
    answer is not asked for anew, since its time is up, nor one that a busy server refused (RESOURCE_EXHAUSTED, or a
    full queue of batches): that would make it busier. Nor does time mend a certificate that is refused. The pauses
    double and are drawn at random, so that clients of a server that was away do not come back all at once.

    Args:
        address: `host:port`, for errors.
        tls: How the connection is encrypted, likewise.
        timeout: Longest wait for an answer, all attempts and pauses together, in seconds.
        attempts: How often at most.
        send: Sends a call and waits for at most so many seconds.
        sleep: Does nothing for so many seconds.

    Raises:
        ValueError: If `timeout` is not positive, or `attempts` is no positive integer.
    """

    address: str
    tls: Tls | None
    timeout: float
    attempts: int
    send: Callable[[Call[Any], float], Any]
    sleep: Callable[[float], Any]

    def __post_init__(self) -> None:
        Deadline(self.timeout)  # checks it
        if not isinstance(self.attempts, int) or self.attempts < 1:
            raise ValueError(f"`attempts` must be a positive integer. Received: {self.attempts}.")

    def deadline(self, timeout: float | None) -> Deadline:
        """Of a call that begins now; None for the client's timeout."""
        return Deadline(self.timeout if timeout is None else timeout)

    def answer(self, call: Call[_Answer], deadline: Deadline) -> Flow[_Answer]:
        """Gets the answer to a call.

        Args:
            call: What is asked.
            deadline: When it must be there.

        Raises:
            ServingError: If there is none, with what to do about it.
        """
        attempt = 1
        while True:
            try:
                response = yield partial(self.send, call, deadline.left())
                return call.read(response)
            except grpc.RpcError as error:
                pause = _pause_after(attempt)
                last = attempt >= self.attempts or pause >= deadline.left()
                if last or not call.repeatable or not is_passing(error):
                    raise call_error(
                        call, error, address=self.address, tls=self.tls, timeout=deadline.timeout, attempts=attempt
                    ) from error
            yield partial(self.sleep, pause)
            attempt += 1

    def readiness(self, model: str, timeout: float) -> Flow[int]:
        """Waits until a version of a model is available; returns the highest.

        Raises:
            ServingError: If there is none in time, or the server cannot be asked in a way that waiting does not mend.
        """
        end = time.monotonic() + timeout
        once = replace(self, attempts=1)  # this loop does the repeating
        while True:
            reason: Exception | None = None
            try:
                left = max(_POLL, end - time.monotonic())
                states = yield from once.answer(status_call(model), Deadline(min(left, self.timeout)))
                available = [version for version, state in states.items() if state == "AVAILABLE"]
                if available:
                    return max(available)
                seen = f"its versions are {states}"
            except ServingError as error:
                if not is_awaited(error):
                    raise
                reason, seen = error, str(error)
            if time.monotonic() + _POLL > end:
                raise ServingError(f'model "{model}" was not ready within {timeout} s: {seen}') from reason
            yield partial(self.sleep, _POLL)


def _pause_after(attempt: int) -> float:
    """Seconds to wait after the n-th attempt: the second half of a pause that doubles is drawn."""
    return min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(attempt - 1, 10)) * random.uniform(0.5, 1.0)
