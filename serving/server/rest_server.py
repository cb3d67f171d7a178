"""TF Serving's REST API over HTTP."""

from __future__ import annotations

import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

from mim_tf.errors import ServingError
from mim_tf.serving.server.metrics import ServerMetrics
from mim_tf.serving.server.model_service import ModelService
from mim_tf.serving.server.prediction_service import PredictionService
from mim_tf.serving.server.rest_api import RestApi
from mim_tf.serving.server.rest_connection import RestConnection

_BUSY = b'{"error": "too many connections"}'
_BUSY_ANSWER = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(_BUSY), _BUSY)
)


class RestServer:
    """Answers `/v1/models/NAME[/versions/N|/labels/L][:predict|/metadata]`, and what Prometheus asks.

    Args:
        prediction: Answers `:predict` and `/metadata`.
        model_service: Answers for the state of models.
        host: Address to listen at.
        port: Port to listen at; 0 picks a free one, which `port` names after `start`.
        metrics: What Prometheus is told; None means that there is no such page.
        metrics_path: Where.
        max_body_bytes: Most bytes in the body of a request. Numbers in JSON take ten to twenty times as much in
            memory while they are read.
        max_connections: Most connections, with a thread for each; one more is told so and closed.
        request_seconds: Longest wait for a whole request, and for the next one on a connection.

    Raises:
        ValueError: If a limit is not positive.
    """

    def __init__(
        self,
        prediction: PredictionService,
        model_service: ModelService,
        *,
        host: str,
        port: int,
        metrics: ServerMetrics | None = None,
        metrics_path: str = "/monitoring/prometheus/metrics",
        max_body_bytes: int = 64 * 2**20,
        max_connections: int = 128,
        request_seconds: float = 60.0,
    ) -> None:
        _check_positive(max_body_bytes=max_body_bytes, max_connections=max_connections, request_seconds=request_seconds)
        self.host = host
        self.port = port
        self._api = RestApi(prediction, model_service, metrics=metrics, metrics_path=metrics_path)
        self._max_body_bytes = max_body_bytes
        self._max_connections = max_connections
        self._request_seconds = request_seconds
        self._listener: _Listener | None = None

    def start(self) -> None:
        """Opens the port and answers from now on.

        Raises:
            ServingError: If the port cannot be opened.
            RuntimeError: If the server is already started.
        """
        if self._listener is not None:
            raise RuntimeError(f"The server is already listening on {self.host}:{self.port}.")
        try:
            listener = _Listener(
                (self.host, self.port), self._api, self._max_body_bytes, self._max_connections, self._request_seconds
            )
        except (OSError, OverflowError) as error:  # OverflowError: the port is no 16 bits
            raise ServingError(
                f"Cannot listen on {self.host}:{self.port}: another server has the port, or the address is not this "
                "machine's. Stop the other one or choose another port; 0 picks a free one."
            ) from error
        self.port = listener.server_address[1]
        self._listener = listener
        listener.begin()

    def stop(self, grace: float = 30.0) -> None:
        """Takes no new requests and returns when the running ones are answered.

        Args:
            grace: Longest wait in seconds; connections of requests still running then are closed.
        """
        if self._listener is not None:
            self._listener.end(grace)
            self._listener = None


def _check_positive(**limits: float) -> None:
    for name, limit in limits.items():
        if not 0 < limit <= threading.TIMEOUT_MAX:
            raise ValueError(f"`{name}` must be positive, and finite. Received: {limit}.")


class _Listener(socketserver.TCPServer):
    """Accepts connections, and gives each a thread of a bounded number."""

    allow_reuse_address = True
    request_queue_size = 128

    def __init__(
        self, address: tuple[str, int], api: RestApi, max_body_bytes: int, max_connections: int, request_seconds: float
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.api = api
        self.max_body_bytes = max_body_bytes
        self.request_seconds = request_seconds
        self.stopping = False
        self._lock = threading.Lock()  # over the two sets
        self._open: set[socket.socket] = set()
        self._idle: set[socket.socket] = set()
        self._max_connections = max_connections
        super().__init__(address, RestConnection)
        self._threads = ThreadPoolExecutor(max_connections, thread_name_prefix="serving-rest")
        self._accepting = threading.Thread(target=self.serve_forever, args=(0.1,), name="serving-rest", daemon=True)

    def begin(self) -> None:
        self._accepting.start()

    def end(self, grace: float) -> None:
        """Closes idle connections now, the others after their answer, and what is left when `grace` is over."""
        self.shutdown()
        self._accepting.join()
        self.server_close()
        with self._lock:
            self.stopping = True
            _close(self._idle)
        deadline = time.monotonic() + grace
        while self._open and time.monotonic() < deadline:
            time.sleep(0.01)
        with self._lock:
            _close(self._open)
        self._threads.shutdown(wait=False)

    @contextmanager
    def idle(self, connection: socket.socket) -> Iterator[None]:
        with self._lock:
            if self.stopping:
                _close({connection})
            self._idle.add(connection)
        try:
            yield
        finally:
            with self._lock:
                self._idle.discard(connection)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Gives a connection its thread, or tells it that there is none."""
        with self._lock:
            free = len(self._open) < self._max_connections
            if free:
                self._open.add(request)
        if free:
            self._threads.submit(self._handle, request, client_address)
            return
        with suppress(OSError):
            request.sendall(_BUSY_ANSWER)  # fits into the empty buffer of a new connection: does not wait
        self.shutdown_request(request)

    def _handle(self, request: socket.socket, client_address: Any) -> None:
        try:
            # Clients that go away, at any moment, are no errors.
            with suppress(OSError):
                self.finish_request(request, client_address)
        finally:
            with self._lock:
                self._open.discard(request)  # before the client can know that its place is free
            self.shutdown_request(request)


def _close(connections: set[socket.socket]) -> None:
    """Ends reading: who waits for a request sees the end of the stream."""
    for connection in connections:
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
