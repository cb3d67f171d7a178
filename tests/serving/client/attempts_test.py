"""What is tried again, what is not, and that time counts over all attempts: of both clients, against a script."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

from mim_tf.errors import ServingError
from mim_tf.serving.client import AsyncClient, Client
from mim_tf.serving.client.attempts import Attempts
from mim_tf.serving.client.call import Call, status_call
from mim_tf.serving.client.deadline import Deadline
from mim_tf.serving.client.flow import run
from tests.serving.scripted import Scripted, sent, serving

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
Ask = Callable[..., Any]


def ask(address: str, method: str = "predict", *arguments: Any, client: dict[str, Any], **options: Any) -> Any:
    with Client(address, **client) as asked:
        return {"predict": asked.predict, "model_status": asked.model_status}[method](*arguments, **options)


def ask_async(address: str, method: str = "predict", *arguments: Any, client: dict[str, Any], **options: Any) -> Any:
    async def awaited() -> Any:
        async with AsyncClient(address, **client) as asked:
            return await {"predict": asked.predict, "model_status": asked.model_status}[method](*arguments, **options)

    return asyncio.run(awaited())


@pytest.fixture(params=[ask, ask_async])
def asked(request: pytest.FixtureRequest) -> Iterator[Ask]:
    """Asks a server for the number 7, or for what the test says."""

    def asked(address: str, *arguments: Any, client: dict[str, Any] | None = None, **options: Any) -> Any:
        call = arguments or ("predict", "m", {"x": 7})
        return request.param(address, *call, client={"timeout": 60.0, **(client or {})}, **options)

    return asked


def test_a_server_that_is_away_is_asked_again(asked: Ask) -> None:
    script = Scripted(UNAVAILABLE, UNAVAILABLE)
    with serving(script) as address:
        assert asked(address)["x"] == 7
    assert sent(script) == [7, 7, 7]


def test_the_last_attempt_is_the_last(asked: Ask) -> None:
    script = Scripted(*[UNAVAILABLE] * 9)
    match = r'model "m" at 127.*: UNAVAILABLE: as the script says\. 2 attempts failed\. Is the server running at 127'
    with serving(script) as address, pytest.raises(ServingError, match=match):
        asked(address, client={"attempts": 2})
    assert sent(script) == [7, 7]


def test_status_is_asked_again(asked: Ask) -> None:
    with serving(Scripted(UNAVAILABLE)) as address:
        assert asked(address, "model_status", "m") == {7: "AVAILABLE"}


@pytest.mark.parametrize("code", sorted({*grpc.StatusCode} - {grpc.StatusCode.OK, UNAVAILABLE}, key=str))
def test_no_other_error_is_asked_again(asked: Ask, code: grpc.StatusCode) -> None:
    script = Scripted(code)
    with serving(script) as address, pytest.raises(ServingError, match=f"{code.name}: as the script says"):
        asked(address)
    assert sent(script) == [7]


def test_a_full_queue_is_not_made_fuller(asked: Ask) -> None:
    full = "The batch scheduling queue to which this task was submitted is full; currently 64 batches enqueued"
    script = Scripted(UNAVAILABLE, details=full)
    with serving(script) as address, pytest.raises(ServingError, match=r"UNAVAILABLE: .*full.* Send fewer rows, or fe"):
        asked(address)
    assert sent(script) == [7]


def test_a_server_that_is_starting_is_waited_for() -> None:
    codes = grpc.StatusCode
    starting = Scripted(UNAVAILABLE, codes.NOT_FOUND, codes.DEADLINE_EXCEEDED, codes.RESOURCE_EXHAUSTED)
    with serving(starting) as address, Client(address, timeout=60) as client:
        assert client.wait_until_ready("m", timeout=60) == 7
    assert len(starting.requests) == 5


@pytest.mark.parametrize("code", [grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNIMPLEMENTED])
def test_what_waiting_does_not_mend_is_not_waited_for(code: grpc.StatusCode) -> None:
    script = Scripted(code)
    with serving(script) as address, Client(address, timeout=60) as client:
        with pytest.raises(ServingError, match=f"{code.name}: as the script says"):
            client.wait_until_ready("m", timeout=60)
        assert len(script.requests) == 1
    with pytest.raises(ServingError, match=r"at 127.*: the client is closed"):
        client.wait_until_ready("m", timeout=60)


def test_a_change_is_sent_once(asked: Ask) -> None:
    """UNAVAILABLE may come after the change was made: here the server counted it."""
    script = Scripted(UNAVAILABLE)
    with serving(script) as address, pytest.raises(ServingError, match=r"UNAVAILABLE: as the script says\. Is the"):
        asked(address, signature="upsert")
    assert sent(script) == [7]


def test_a_change_whose_server_dies_under_it_is_sent_once(asked: Ask) -> None:
    """The connection breaks between the change and its answer, and another server stands there at once."""
    began, done = threading.Event(), threading.Event()
    first, second = Scripted(lambda: (began.set(), done.wait(60))), Scripted()

    def die(stop: Any, address: str) -> None:
        began.wait(60)
        stop()  # cuts the connection
        with serving(second, port=int(address.rpartition(":")[2])):
            done.wait(60)

    dying = serving(first)
    address = dying.__enter__()
    killer = threading.Thread(target=die, args=[lambda: dying.__exit__(None, None, None), address])
    killer.start()
    try:
        with pytest.raises(ServingError, match=r"UNAVAILABLE|CANCELLED"):
            asked(address, signature="upsert")
    finally:
        done.set()
        killer.join()
    assert (sent(first), sent(second)) == ([7], [])


def test_time_counts_over_all_attempts(asked: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts without end, of a server that is away for ever: the time ends them, and the code stays the true one."""
    monkeypatch.setattr("mim_tf.serving.client.attempts._pause_after", lambda attempt: 1.0)
    script = Scripted(*[UNAVAILABLE] * 1000)
    with serving(script) as address, pytest.raises(ServingError, match=r"UNAVAILABLE: as the script says"):
        asked(address, client={"timeout": 3.5, "attempts": 1000})
    assert 1 <= len(script.requests) <= 4  # after 0, 1, 2 and 3 s; the last of them has half a second


def test_a_late_answer_is_not_asked_for_again(asked: Ask) -> None:
    done = threading.Event()
    script = Scripted(done.wait)
    with serving(script) as address:
        try:
            with pytest.raises(ServingError, match=r"DEADLINE_EXCEEDED.* No answer within 1\.5 s: raise `timeout`"):
                asked(address, timeout=1.5)
        finally:
            done.set()
    assert sent(script) == [7]


class Away(grpc.RpcError):
    def code(self) -> grpc.StatusCode:
        return UNAVAILABLE

    def details(self) -> str:
        return "away"


def failing(timeout: float, attempts: int, sleep: Callable[[float], None]) -> tuple[list[float], list[float]]:
    """A server that is always away, without one: the seconds each attempt was given, and those of each pause."""
    given: list[float] = []
    slept: list[float] = []

    def send(call: Call[Any], seconds: float) -> None:
        given.append(seconds)
        raise Away

    def pause(seconds: float) -> None:
        slept.append(seconds)
        sleep(seconds)

    with pytest.raises(ServingError, match=rf"m.* at a:1: UNAVAILABLE: away\. {attempts} attempts failed"):
        run(Attempts("a:1", None, timeout, attempts, send, pause).answer(status_call("m"), Deadline(timeout)))
    return given, slept


def test_a_later_attempt_has_the_time_that_is_left() -> None:
    given, slept = failing(20.0, 3, time.sleep)
    assert given[0] <= 20.0
    assert given[1] <= given[0] - slept[0]
    assert given[2] <= given[1] - slept[1]


def test_pauses_double_and_are_drawn() -> None:
    (_, one), (_, other) = (failing(1000.0, 8, lambda _: None) for _ in range(2))
    most = [0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0]
    for slept in (one, other):
        assert all(pause / 2 <= drawn <= pause for drawn, pause in zip(slept, most, strict=True))
    assert one != other


@pytest.mark.parametrize("attempts", [0, -1, 2.5])
def test_attempts_must_be_positive(asked: Ask, attempts: Any) -> None:
    with pytest.raises(ValueError, match=r"`attempts` must be a positive integer\. Received: "):
        asked("127.0.0.1:1", client={"attempts": attempts})


@pytest.mark.parametrize("timeout", [0, -1.0, float("nan")])
def test_the_timeout_must_be_positive(asked: Ask, timeout: float) -> None:
    with pytest.raises(ValueError, match=r"`timeout` must be positive\. Received: "):
        asked("127.0.0.1:1", client={"timeout": timeout})
    with pytest.raises(ValueError, match=r"`timeout` must be positive\. Received: "):
        asked("127.0.0.1:1", "predict", "m", {"x": 7}, timeout=timeout)
