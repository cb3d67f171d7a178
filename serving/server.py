"""The stand-in for TF Serving: the same gRPC services, from pip alone, for laptops and tests."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

import grpc
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from mim_tf.errors import ServingError
from mim_tf.serving.model_service import ModelService
from mim_tf.serving.models import Models
from mim_tf.serving.prediction_service import PredictionService
from mim_tf.serving.servable import Servable
from mim_tf.serving.signature import Signature
from mim_tf.serving.watcher import Watcher

_THREADS = 4 * (os.cpu_count() or 1)  # requests in work at once, as in TF Serving
_OPTIONS = (
    ("grpc.max_receive_message_length", 256 * 2**20),  # bytes; gRPC's own limit is 4 MB
    # Otherwise a second server would share the port in silence, and each would answer some of the requests.
    ("grpc.so_reuseport", 0),
)


class Server:
    """Serves the highest version of every model in a folder, and follows the folder while it runs (`Watcher`).

    Models are loaded at once, the port is opened by `start`. Used as a context manager it starts and stops itself:

        with Server("models", port=0) as server, Client(f"127.0.0.1:{server.port}") as client:
            client.predict("ranker", inputs)

    Args:
        models: Folder laid out as `<model>/<integer version>/saved_model.pb`.
        host: Address to listen at.
        port: Port to listen at; 0 picks a free one, which `server.port` names after `start`.
        poll_seconds: Pause between two looks for new versions; None or 0 means never, so what is loaded first stays.

    Raises:
        ServingError: If the folder holds no model, or if a model fails to load.
        ValueError: If `poll_seconds` is negative or not finite.
    """

    def __init__(
        self, models: str | Path, *, host: str = "127.0.0.1", port: int = 8500, poll_seconds: float | None = 1.0
    ) -> None:
        if poll_seconds is not None and not 0 <= poll_seconds <= threading.TIMEOUT_MAX:
            raise ValueError(f"`poll_seconds` must be 0 or more seconds, or None. Received: {poll_seconds}.")
        self.host = host
        self.port = port
        self._models = Models(Path(models))
        self._watcher = Watcher(self._models, poll_seconds) if poll_seconds else None
        self._server: grpc.Server | None = None

    @property
    def versions(self) -> dict[str, int]:
        """The version served of each model; a model of which no version is left is not among them."""
        return {name: servable.version for name, servable in self._servables.items()}

    @property
    def signatures(self) -> dict[str, dict[str, Signature]]:
        """The signatures of each model, by their name."""
        return {name: dict(servable.signatures) for name, servable in self._servables.items()}

    @property
    def _servables(self) -> dict[str, Servable]:
        current = self._models.current
        return {name: model.servable for name, model in current.items() if model.servable is not None}

    def start(self) -> None:
        """Opens the port, answers and follows the folder from now on.

        Raises:
            ServingError: If the port cannot be opened.
            RuntimeError: If the server is already started.
        """
        if self._server is not None:
            raise RuntimeError(f"The server is already listening on {self.host}:{self.port}.")
        server = grpc.server(ThreadPoolExecutor(_THREADS, thread_name_prefix="serving"), options=_OPTIONS)
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(PredictionService(self._models), server)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(self._models), server)
        try:
            self.port = server.add_insecure_port(f"{self.host}:{self.port}")
        except RuntimeError as error:
            raise ServingError(
                f"Cannot listen on {self.host}:{self.port}: another server has the port, or the address is not this "
                "machine's. Stop the other one or choose another port; 0 picks a free one."
            ) from error
        server.start()
        self._server = server
        if self._watcher is not None:
            self._watcher.start()

    def stop(self, grace: float = 30.0) -> None:
        """Takes no new requests and returns when the running ones are answered and a load under way has ended.

        Args:
            grace: Longest wait in seconds; requests still running then are cancelled. A load cannot be.
        """
        if self._server is not None:
            stopping = self._server.stop(grace)
            if self._watcher is not None:
                self._watcher.stop()
            stopping.wait()
            self._server = None

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
