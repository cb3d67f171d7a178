"""One HTTP connection of the REST server, and the requests that come over it."""

from __future__ import annotations

import io
import socket
import time
from contextlib import AbstractContextManager, suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any, Protocol

from mim_tf.serving.server.rest_api import RestAnswer, RestApi
from mim_tf.serving.server.rest_body import RefusedBodyError, declared_length, read_body

_LINGER_SECONDS = 1.0
_LINGER_BYTES = 2**24


class ConnectionKeeper(Protocol):
    """What a connection asks of the server that accepted it."""

    api: RestApi
    max_body_bytes: int
    request_seconds: float
    stopping: bool

    def idle(self, connection: socket.socket) -> AbstractContextManager[None]:
        """While the connection waits for a request; the server may close it then."""


class RestConnection(BaseHTTPRequestHandler):
    """HTTP/1.1 by the standard library: it parses request line and headers, within limits of its own.

    Those are 64 kB for a line and 100 headers. Added here are bodies, a deadline for each request as a whole, and
    errors in TF Serving's form. http.server is enough for this and no dependency more. What it lacks for a network,
    bounds of threads, time and bytes, is here and in `RestServer`; Werkzeug's server is built on it and lacks the same.
    """

    protocol_version = "HTTP/1.1"
    default_request_version = "HTTP/1.0"  # what is no HTTP gets an answer with a status line, too
    server_version = "mim_tf.serving"
    sys_version = ""  # nobody need know which Python
    disable_nagle_algorithm = True  # headers and body are two writes
    server: ConnectionKeeper  # type: ignore[assignment]

    def setup(self) -> None:
        """Opens the streams of the connection."""
        super().setup()
        self._reader = _DeadlineReader(self.connection)
        self.rfile: io.BufferedReader = io.BufferedReader(self._reader)

    def handle_one_request(self) -> None:
        """Waits for a request and answers it; each within the deadline, else the connection is closed."""
        self._reader.deadline = time.monotonic() + self.server.request_seconds
        self.close_connection = True
        with suppress(TimeoutError), self.server.idle(self.connection):
            self.close_connection = not self.rfile.peek(1)
        if not self.close_connection:
            self._reader.deadline = time.monotonic() + self.server.request_seconds  # from its first byte on
            super().handle_one_request()

    def handle_expect_100(self) -> bool:
        """Asks for the body, unless it will be refused."""
        try:
            declared_length(self.headers, self.server.max_body_bytes)
        except RefusedBodyError as refusal:
            self._refuse(refusal.status, str(refusal))
            return False
        return super().handle_expect_100()

    def _answer(self) -> None:
        try:
            body = read_body(self.headers, self.rfile, self.server.max_body_bytes)
        except RefusedBodyError as refusal:
            self._refuse(refusal.status, str(refusal))
        except TimeoutError:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, f"no whole request within {self.server.request_seconds} seconds")
        else:
            self._send(self.server.api.answer(self.command, self.path, body))

    # A method that the API does not know for a path is its to refuse; http.server refuses all others.
    do_GET = do_POST = do_HEAD = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = _answer  # noqa: N815

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answers what http.server refuses: a malformed request line, too many headers, an unknown method."""
        self._refuse(HTTPStatus(code), message or HTTPStatus(code).phrase)

    def _refuse(self, status: HTTPStatus, message: str) -> None:
        """Answers and ends the connection: where the next request would begin is not known."""
        self.close_connection = True
        self._send(RestAnswer.error(status, message))
        self._linger()

    def _send(self, answer: RestAnswer) -> None:
        self.close_connection = self.close_connection or self.server.stopping
        self.connection.settimeout(self.server.request_seconds)  # for a client that does not read
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def _linger(self) -> None:
        """Takes in a part of what the client still sends: a connection closed before loses the answer on its way."""
        self._reader.deadline = time.monotonic() + _LINGER_SECONDS
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            for _ in range(_LINGER_BYTES // io.DEFAULT_BUFFER_SIZE):
                if not self.rfile.read1():
                    return

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: requests are counted by the metrics, and strangers may not fill a log."""


class _DeadlineReader(io.RawIOBase):
    """Reads from a connection until a time; a timeout for each read would let a slow client come byte by byte."""

    deadline = 0.0  # by the monotonic clock, in seconds

    def __init__(self, connection: socket.socket) -> None:
        super().__init__()
        self._connection = connection

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the request did not come in time")
        self._connection.settimeout(left)
        return self._connection.recv_into(buffer)
