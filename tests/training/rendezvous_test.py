"""The workers' meeting before TensorFlow starts: all go at once, and one about to end is not taken for one who came."""

import json
import socket
import threading
import time

import pytest

from mim_tf.errors import StageError
from mim_tf.training import rendezvous
from mim_tf.training.rendezvous import meet
from mim_tf.training.workers import Worker

PATIENCE = 60.0  # seconds, of those who are to meet, on a machine that does much else


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendezvous, "_PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(rendezvous, "_ANSWER_SECONDS", 1.0)


class Coming(threading.Thread):
    """A worker that comes; `error` is what it left with."""

    def __init__(self, worker: Worker, patience_seconds: float = PATIENCE):
        super().__init__()
        self._worker, self._patience = worker, patience_seconds
        self.error = ""
        self.start()

    def run(self) -> None:
        try:
            meet(self._worker, self._patience)
        except StageError as error:
            self.error = str(error)


def server_at(address: str) -> socket.socket:
    return socket.create_server(("", int(address.rpartition(":")[2])))


def call(address: str) -> socket.socket:
    """A connection, as soon as somebody listens."""
    host, _, port = address.rpartition(":")
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return socket.create_connection((host, int(port)), timeout=PATIENCE)
        except OSError:
            assert time.monotonic() < end
            time.sleep(0.02)


def say(peer: socket.socket, text: str) -> None:
    peer.sendall(f"{text}\n".encode())


def heard(peer: socket.socket) -> object:
    line = b""
    while not line.endswith(b"\n"):
        part = peer.recv(1)
        assert part, "hung up"
        line += part
    return json.loads(line)


def joined(*workers: Coming) -> list[str]:
    for worker in workers:
        worker.join(2 * PATIENCE)
    return [worker.error for worker in workers]


def test_all_go_once_the_last_one_has_come(addresses: tuple[str, ...]) -> None:
    first = [Coming(Worker(index, addresses)) for index in (2, 0)]
    first[0].join(0.5)
    assert all(worker.is_alive() for worker in first)
    assert joined(*first, Coming(Worker(1, addresses))) == ["", "", ""]


@pytest.mark.parametrize("index", [0, 1])
def test_who_came_names_who_is_missing(addresses: tuple[str, ...], index: int) -> None:
    patience = [5.0, 5.0]
    patience[index] = 3.0
    both = [Coming(Worker(number, addresses), patience[number]) for number in range(2)]
    assert joined(*both)[index].startswith(f"1 of 3 workers did not come within 3 s: {addresses[2]}. Start the same")


def test_a_missing_chief_is_named(addresses: tuple[str, ...]) -> None:
    with pytest.raises(StageError, match=rf"1 of 2 workers did not come within 0\.3 s: {addresses[0]}\. Start"):
        meet(Worker(1, addresses[:2]), 0.3)


@pytest.mark.parametrize("index", [0, 1])
def test_a_port_in_use_is_named(addresses: tuple[str, ...], index: int) -> None:
    with (
        server_at(addresses[index]),
        pytest.raises(StageError, match=rf"this worker cannot listen at {addresses[index]}: Address already in use"),
    ):
        meet(Worker(index, addresses[:2]), 0.5)


def test_a_chief_that_is_about_to_end_is_not_taken_for_a_new_one(addresses: tuple[str, ...]) -> None:
    """Its port is open, with TensorFlow behind it: that says nothing, or what is no answer."""
    with server_at(addresses[0]) as old:
        worker = Coming(Worker(1, addresses[:2]))
        for answer in (b"", b"\x00\x00\x12\x04", b"{}\n"):
            caller, _ = old.accept()
            with caller:
                caller.sendall(answer)
                caller.recv(64)  # its number
                worker.join(1.2 if not answer else 0)  # longer than an answer may take
        assert worker.is_alive()
    assert joined(worker, Coming(Worker(0, addresses[:2]))) == ["", ""]


def test_who_came_and_went_is_waited_for_again(addresses: tuple[str, ...]) -> None:
    chief = Coming(Worker(0, addresses))
    with call(addresses[0]) as gone:
        say(gone, "1")
        assert heard(gone) == [addresses[2]]
    with call(addresses[0]) as other:
        say(other, "2")
        told = [heard(other)]
        if told == [[]]:
            pytest.fail("the chief counts a worker that is gone")
        again = Coming(Worker(1, addresses))
        while told[-1]:
            told.append(heard(other))
        assert [addresses[1]] in told
        assert joined(chief, again) == ["", ""]


def test_a_worker_that_is_started_again_counts_once(addresses: tuple[str, ...]) -> None:
    chief = Coming(Worker(0, addresses))
    with call(addresses[0]) as first, call(addresses[0]) as second:
        for caller in (first, second):
            say(caller, "1")
            assert heard(caller) == [addresses[2]]
        assert chief.is_alive()
    assert joined(chief, *(Coming(Worker(index, addresses)) for index in (1, 2))) == ["", "", ""]


@pytest.mark.parametrize("line", ["0", "3", "-1", "true", '"1"', "{", "GET / HTTP/1.1"])
def test_strangers_do_not_count(addresses: tuple[str, ...], line: str) -> None:
    chief = Coming(Worker(0, addresses))
    with call(addresses[0]) as stranger:
        say(stranger, line)
        assert stranger.recv(1) == b""  # it is hung up on
    with call(addresses[0]) as other:
        say(other, "2")
        assert heard(other) == [addresses[1]]  # is still missing
    assert joined(chief, *(Coming(Worker(index, addresses)) for index in (1, 2))) == ["", "", ""]


def test_a_silent_caller_does_not_keep_the_chief(addresses: tuple[str, ...]) -> None:
    chief = Coming(Worker(0, addresses[:2]))
    with call(addresses[0]):
        assert joined(Coming(Worker(1, addresses[:2])), chief) == ["", ""]
