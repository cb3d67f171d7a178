"""The workers of `TF_CONFIG`: what is malformed, missing or in the way is named before TensorFlow waits for ever."""

import json
import socket
import threading
import time
from contextlib import ExitStack
from typing import Any

import pytest

from mim_tf.errors import StageError
from mim_tf.training import workers
from mim_tf.training.workers import ALONE, Worker, await_finish, await_servers, outlast_chief, worker_of

TWO = ["host0:2222", "host1:2222"]
PATIENCE = 60.0  # seconds, of a machine that does much else


class Clock:
    """Time that passes in pauses alone."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """What the workers go by."""
    clock = Clock()
    monkeypatch.setattr(workers, "time", clock)
    return clock


def config(addresses: Any = TWO, index: Any = 1, kind: str = "worker", **others: Any) -> str:
    return json.dumps({"cluster": {"worker": addresses, **others}, "task": {"type": kind, "index": index}})


def test_the_worker_of_tf_config(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_CONFIG", config())
    assert worker_of("multi_worker") == Worker(1, ("host0:2222", "host1:2222"))
    assert not worker_of("multi_worker").is_chief
    assert worker_of("mirrored") == worker_of("one_device") == ALONE
    assert ALONE.is_chief


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "{",
        "[]",
        "7",
        '{"cluster": {}}',
        '{"cluster": {"worker": ["a:1", "b:2"]}}',
        config(7),
        config([1, 2]),
        config(["host0", "host1"]),
        config("host0:2222"),
        config(index=None),
        config(index="one"),
        config(["host0:2222", "host1:port"]),
    ],
)
def test_a_malformed_tf_config_is_refused(monkeypatch: pytest.MonkeyPatch, text: str | None) -> None:
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if text is not None:
        monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(StageError, match=r"`TF_CONFIG` must be set, as .*\. Received: "):
        worker_of("multi_worker")


@pytest.mark.parametrize(
    "text",
    [
        config(index=2),
        config(index=-1),
        config(["host0:2222"], index=0),
        config(kind="evaluator"),
        config(ps=["host2:2222"]),
        config(["host0:2222", "host0:2222"]),
        config(["host0:2222", "host1:0"]),
        config(["host0:2222", "host1:65536"]),
    ],
)
def test_a_cluster_that_cannot_be_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(
        StageError, match=r"`TF_CONFIG` must list two workers or more and be one of them, .*\. Received: "
    ):
        worker_of("multi_worker")


def servers(kind: str = "chief", index: Any = 0, **others: Any) -> str:
    cluster = {"chief": ["a:1"], "worker": ["b:1", "c:1"], "ps": ["d:1"], **others}
    return json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})


@pytest.mark.parametrize(
    ("kind", "index", "number"), [("chief", 0, 0), ("worker", 0, 1), ("worker", 1, 2), ("ps", 0, 3)]
)
def test_the_task_of_a_cluster_with_servers(
    monkeypatch: pytest.MonkeyPatch, kind: str, index: int, number: int
) -> None:
    monkeypatch.setenv("TF_CONFIG", servers(kind, index))
    worker = worker_of("parameter_server")
    assert worker == Worker(number, ("a:1", "b:1", "c:1", "d:1"), f"{kind} {index}")
    assert worker.is_chief == (kind == "chief") == (not worker.serves)


@pytest.mark.parametrize("text", ["", "{", config(), servers(index="x"), servers(ps=["d"]), servers(worker=3)])
def test_a_malformed_config_of_servers_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(StageError, match=r"`TF_CONFIG` must be set, as .*\"chief\".*\. Received: "):
        worker_of("parameter_server")


@pytest.mark.parametrize(
    "text",
    [
        servers("evaluator"),
        servers("worker", 2),
        servers(ps=[]),
        servers(worker=[]),
        servers(chief=["a:1", "e:1"]),
        servers(ps=["a:1"]),
        servers(evaluator=["e:1"]),
    ],
)
def test_a_cluster_of_servers_that_cannot_be_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(StageError, match=r"`TF_CONFIG` must list one chief, workers and ps tasks.*\. Received: "):
        worker_of("parameter_server")


def test_a_server_whose_chief_does_not_come_says_so(addresses: tuple[str, ...]) -> None:
    with pytest.raises(StageError, match=rf"the chief, {addresses[0]}, did not come within 0\.1 s\. Start"):
        outlast_chief(Worker(1, addresses, "worker 0"), 0.1)


def test_a_server_ends_after_its_chief(addresses: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_GONE_SECONDS", 1.0)
    with socket.create_server(("", int(addresses[0].rpartition(":")[2]))) as chief:
        chief.settimeout(PATIENCE)
        server = threading.Thread(target=outlast_chief, args=(Worker(1, addresses, "ps 0"), PATIENCE))
        server.start()
        for _ in range(3):  # it has come, and looks again and again
            chief.accept()[0].close()
        assert server.is_alive()
    server.join(PATIENCE)
    assert not server.is_alive()


def test_a_worker_stays_until_its_chief_has_finished(addresses: tuple[str, ...], clock: Clock) -> None:
    """For 100 s, while the chief answers; one that is gone has 2 s, and 60 more until its file is seen."""
    with socket.create_server(("", int(addresses[0].rpartition(":")[2])), backlog=1000):  # it is asked 200 times
        await_finish(Worker(1, addresses), lambda: clock.now >= 1100)
    assert clock.now == 1100


def test_what_a_chief_wrote_at_last_may_be_seen_later(
    addresses: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "_ENDED_SECONDS", 0.1)
    seen = iter([False, False, False, True])
    await_finish(Worker(1, addresses), lambda: next(seen))
    assert list(seen) == [], "it asked until it saw that the stage is finished"


def test_a_chief_that_is_gone_before_it_has_finished_is_named(addresses: tuple[str, ...], clock: Clock) -> None:
    with pytest.raises(
        StageError, match=rf"the chief, {addresses[0]}, has gone before .*finished\. Run the same command"
    ):
        await_finish(Worker(1, addresses), lambda: False)
    assert 1060 <= clock.now <= 1061


def test_a_missing_server_is_named_when_patience_ends(addresses: tuple[str, ...]) -> None:
    start = time.monotonic()
    with (
        socket.create_server(("", int(addresses[1].rpartition(":")[2]))),
        pytest.raises(StageError, match=rf"1 of 3 tasks did not come within 0\.5 s: {addresses[2]}\. Start"),
    ):
        await_servers(Worker(0, addresses, "chief 0"), 0.5)
    assert time.monotonic() - start >= 0.5


def test_a_chief_goes_on_once_all_servers_answer(addresses: tuple[str, ...]) -> None:
    chief = threading.Thread(target=await_servers, args=(Worker(0, addresses, "chief 0"), PATIENCE))
    with ExitStack() as servers:
        servers.callback(chief.join)
        for number, address in enumerate(addresses[1:]):
            if number == 1:
                chief.start()
                chief.join(1)
                assert chief.is_alive(), "one of two does not answer"
            servers.enter_context(socket.create_server(("", int(address.rpartition(":")[2]))))
        chief.join(PATIENCE)
        assert not chief.is_alive()


def test_a_port_in_use_is_named(addresses: tuple[str, ...]) -> None:
    port = int(addresses[0].rpartition(":")[2])
    with (
        socket.create_server(("", port)),
        pytest.raises(StageError, match=rf"`TF_CONFIG`: this worker cannot listen at {addresses[0]}: Address already"),
    ):
        await_servers(Worker(0, addresses), 0.5)
