"""The REST server as a whole, by http.client and by bytes on a socket."""

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from mim_tf.errors import ServingError
from mim_tf.serving.server import rest_connection
from mim_tf.serving.server.rest_server import RestServer
from tests.serving.publishing import wait_until
from tests.serving.rest_services import EchoPrediction, EchoStatus

PATH = "/v1/models/echo:predict"
BODY = b'{"instances": [7]}'
ANSWER = b'{"predictions": [7]}\n'


@contextmanager
def serving(prediction: EchoPrediction | None = None, **options: Any) -> Iterator[RestServer]:
    services = (prediction or EchoPrediction(), EchoStatus())
    server = RestServer(*services, host="127.0.0.1", port=0, **options)  # type: ignore[arg-type]
    server.start()
    try:
        yield server
    finally:
        server.stop(grace=0)


@pytest.fixture(scope="module")
def server() -> Iterator[RestServer]:
    with serving(max_body_bytes=2**20) as server:
        yield server


def connect(server: RestServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=30)


def read_answer(connection: socket.socket) -> tuple[int, Any, str]:
    with closing(http.client.HTTPResponse(connection)) as response:
        response.begin()
        return response.status, json.loads(response.read()), response.getheader("Connection", "keep-alive")


def send(server: RestServer, data: bytes) -> tuple[int, Any, str]:
    """The answer to bytes on a connection of their own: status, document, what becomes of the connection."""
    with connect(server) as connection:
        connection.sendall(data)
        return read_answer(connection)


def closed(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def test_many_requests_over_one_connection(server: RestServer) -> None:
    client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    used = set()
    for _ in range(3):
        client.request("POST", PATH, BODY)
        response = client.getresponse()
        assert (response.status, response.read()) == (200, ANSWER)
        assert response.getheader("Content-Type") == "application/json"
        used.add(client.sock.getsockname())
        client.request("GET", "/v1/models/nobody")
        response = client.getresponse()
        assert response.status == 404
        assert json.loads(response.read()) == {"error": "Could not find any versions of model nobody"}
    assert len(used) == 1  # an error of the API does not end the connection
    client.close()


def test_a_body_in_chunks(server: RestServer) -> None:
    client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    client.request("POST", PATH, iter([BODY[:5], BODY[5:]]), encode_chunked=True)
    assert client.getresponse().read() == ANSWER
    client.close()


def test_requests_sent_at_once_are_answered_one_by_one(server: RestServer) -> None:
    request = b"POST %s HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (PATH.encode(), len(BODY), BODY)
    with connect(server) as connection:
        connection.sendall(request * 2 + request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        received = b"".join(iter(lambda: connection.recv(2**16), b""))
    assert received.count(ANSWER) == 3


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS"])
def test_other_methods_are_malformed_requests(server: RestServer, method: str) -> None:
    assert send(server, f"{method} {PATH} HTTP/1.1\r\n\r\n".encode()) == (
        400,
        {"error": f"Malformed request: {method} {PATH}"},
        "keep-alive",
    )


def test_an_answer_to_head_has_no_body(server: RestServer) -> None:
    with connect(server) as connection:
        connection.sendall(b"HEAD /v1/models/echo HTTP/1.1\r\nConnection: close\r\n\r\n")
        received = b"".join(iter(lambda: connection.recv(2**16), b""))
    assert received.startswith(b"HTTP/1.1 400 ")
    assert received.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("data", "status", "word"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 \r\n\r\n", 400, "Bad request"),  # TLS to the plain port
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "Invalid HTTP version"),
        (b"BREW /pot HTTP/1.1\r\n\r\n", 501, "Unsupported method"),
        (b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n", 414, "Too Long"),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n", 431, "Too many headers"),
        (b"GET / HTTP/1.1\r\nA: " + b"x" * 70_000 + b"\r\n\r\n", 431, "Line too long"),
        (b"POST / HTTP/1.1\r\nContent-Length: 1073741824\r\n\r\n", 413, "at most 1048576 bytes"),
        (b"POST / HTTP/1.1\r\nContent-Length: 1073741824\r\nExpect: 100-continue\r\n\r\n", 413, "at most 1048576"),
        (b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "must be one, once"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", 400, "a chunk must begin with its size"),
        (b"POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Encoding: br\r\n\r\nxxxxx", 415, "must be gzip"),
        (b"POST / HTTP/1.1\r\nBroken\r\nContent-Length: 5\r\n\r\nxxxxx", 400, "a header is malformed"),
    ],
)
def test_what_is_no_request_is_answered_and_ends_the_connection(
    server: RestServer, data: bytes, status: int, word: str
) -> None:
    found, document, connection = send(server, data)
    assert (found, connection) == (status, "close")
    assert word in document["error"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/models/../../../../etc/passwd:predict", 400),
        ("/v1/models/..%2f..%2f..%2fetc%2fpasswd:predict", 404),
        ("/v1/models/%2e%2e:predict", 404),
        ("/v1/models/echo%00:predict", 404),
        ("/v1/models/echo\0:predict", 404),
        ("/v1/models/%ff%fe:predict", 400),
        ("/v1/models/schön:predict", 404),
        ("/v1/models/" + "x" * 60_000 + ":predict", 404),
        ("/../../etc/passwd", 404),
        ("//v1/models/echo:predict", 200),  # http.server: a path begins with one slash
        ("file:///etc/passwd", 404),
        ("http://169.254.169.254/v1/models/echo:predict", 404),
    ],
)
def test_tricks_with_paths(server: RestServer, path: str, status: int) -> None:
    data = b"POST %s HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (path.encode(), len(BODY), BODY)
    assert send(server, data)[0] == status


def test_a_refused_body_that_is_sent_all_the_same_does_not_lose_the_answer(server: RestServer) -> None:
    client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    client.request("POST", PATH, b"x" * 2**22)
    assert client.getresponse().status == 413
    client.close()


def test_a_client_that_waits_is_told_to_go_on(server: RestServer) -> None:
    with connect(server) as connection:
        connection.sendall(b"POST %s HTTP/1.1\r\nContent-Length: 18\r\nExpect: 100-continue\r\n\r\n" % PATH.encode())
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(BODY)
        assert read_answer(connection)[:2] == (200, {"predictions": [7]})


def drip(connection: socket.socket, data: bytes) -> None:
    """Sends byte by byte for as long as the other side listens."""
    try:
        for byte in data:
            connection.sendall(bytes([byte]))
            time.sleep(0.02)
    except OSError:
        pass


def test_slow_clients_lose_their_connection() -> None:
    with serving(request_seconds=1.0) as server:
        with connect(server) as idle:
            assert closed(idle)
        with connect(server) as headers:  # 10 seconds of headers
            drip(headers, b"GET / HTTP/1.1\r\nA: " + b"x" * 500)
            assert closed(headers)
        with connect(server) as body:
            body.sendall(b"POST %s HTTP/1.1\r\nContent-Length: 500\r\n\r\n" % PATH.encode())
            drip(body, b"x" * 100)
            status, document, _ = read_answer(body)
            assert (status, document) == (408, {"error": "no whole request within 1.0 seconds"})
        assert send(server, b"GET /v1/models/echo HTTP/1.1\r\n\r\n")[0] == 200


def test_the_time_before_a_request_is_none_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that the test sets, the minute is over when the request begins to come."""
    now, asked = 1000.0, []

    def clock() -> float:
        asked.append(now)
        return now

    monkeypatch.setattr(rest_connection, "time", SimpleNamespace(monotonic=clock))
    head, body = b"POST %s HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (PATH.encode(), len(BODY)), BODY
    with serving(request_seconds=60) as server, connect(server) as connection:
        wait_until(lambda: len(asked) == 2)  # for the deadline and for what is left of it: now it waits for bytes
        now = 1061.0  # the server looks at it when the first bytes are there
        connection.sendall(head)
        wait_until(lambda: not server._listener._idle)
        connection.sendall(body)
        assert read_answer(connection)[:2] == (200, {"predictions": [7]})


@pytest.mark.parametrize(
    "data", [b"", b"POST", b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"]
)
def test_a_client_that_goes_away_leaves_its_place(data: bytes) -> None:
    with serving(max_connections=1) as server:
        with connect(server) as connection:  # the first: it has the place
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(2**16):
                pass
        # The server may end its side, and keep the place for a moment: it takes in what a client still sends.
        wait_until(lambda: send(server, b"GET /v1/models/echo HTTP/1.1\r\n\r\n")[0] == 200)


def threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("serving-rest")}


def test_connections_and_their_threads_are_bounded() -> None:
    running = threads()
    with serving(max_connections=3) as server:
        kept = [connect(server) for _ in range(3)]
        for connection in kept:  # an answer: the place is taken
            connection.sendall(b"GET /v1/models/echo HTTP/1.1\r\n\r\n")
            assert read_answer(connection)[0] == 200
        for _ in range(5):
            assert send(server, b"") == (503, {"error": "too many connections"}, "close")
        assert len(threads() - running) == 3 + 1  # and the one that accepts
        kept.pop().close()
        wait_until(lambda: send(server, b"GET /v1/models/echo HTTP/1.1\r\n\r\n")[0] == 200)
        for connection in kept:
            connection.close()
    wait_until(lambda: threads() <= running)


def ask_to_wait(server: RestServer) -> tuple[int, Any, str]:
    body = b'{"signature_name": "wait", "inputs": 5}'
    return send(server, b"POST %s HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (PATH.encode(), len(body), body))


def test_stop_answers_what_runs_and_closes_what_is_idle() -> None:
    prediction = EchoPrediction()
    with serving(prediction) as server, connect(server) as idle, ThreadPoolExecutor(2) as pool:
        idle.sendall(b"GET /v1/models/echo HTTP/1.1\r\n\r\n")
        assert read_answer(idle)[0] == 200
        running = pool.submit(ask_to_wait, server)
        assert prediction.started.acquire(timeout=30)
        stopping = pool.submit(server.stop, 60)
        assert closed(idle)
        with pytest.raises(OSError, match="refused"):
            connect(server)
        assert not running.done()
        assert not stopping.done()
        prediction.go.set()
        assert running.result() == (200, {"outputs": 5}, "close")
        stopping.result()


def test_stop_waits_no_longer_than_its_grace() -> None:
    prediction = EchoPrediction()
    with serving(prediction) as server, ThreadPoolExecutor(1) as pool:
        running = pool.submit(ask_to_wait, server)
        assert prediction.started.acquire(timeout=30)
        server.stop(grace=0.1)
        prediction.go.set()
        # The connection was closed meanwhile; http.client has two words for it.
        with pytest.raises((ConnectionError, http.client.BadStatusLine), match=r"closed|reset"):
            running.result()


def test_a_server_can_be_started_again() -> None:
    with serving() as server:
        server.stop()
        server.stop()
        server.start()
        assert send(server, b"GET /v1/models/echo HTTP/1.1\r\n\r\n")[0] == 200


def test_a_port_that_is_taken(server: RestServer) -> None:
    second = RestServer(EchoPrediction(), EchoStatus(), host="127.0.0.1", port=server.port)  # type: ignore[arg-type]
    with pytest.raises(ServingError, match=rf"Cannot listen on 127.0.0.1:{server.port}: another server has the port"):
        second.start()
    with pytest.raises(RuntimeError, match="already listening"):
        server.start()


@pytest.mark.parametrize("name", ["max_body_bytes", "max_connections", "request_seconds"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_limits_must_be_positive(name: str, value: float) -> None:
    make: Callable[..., RestServer] = RestServer
    with pytest.raises(ValueError, match=f"`{name}` must be positive, and finite. Received: {value}"):
        make(EchoPrediction(), EchoStatus(), host="127.0.0.1", port=0, **{name: value})
