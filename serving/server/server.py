"""The stand-in for TF Serving: the same gRPC services, from pip alone, for laptops and tests."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

import grpc
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from mim_tf.errors import ServingError
from mim_tf.serving.server.batch_scheduler import BatchScheduler
from mim_tf.serving.server.batching_parameters import BatchingParameters
from mim_tf.serving.server.metrics import ServerMetrics
from mim_tf.serving.server.model_config import find_models
from mim_tf.serving.server.model_config_file import ModelConfigFile
from mim_tf.serving.server.model_service import ModelService
from mim_tf.serving.server.models import Models
from mim_tf.serving.server.prediction_service import PredictionService
from mim_tf.serving.server.rest_server import RestServer
from mim_tf.serving.server.servable import Servable
from mim_tf.serving.server.watcher import Watcher
from mim_tf.serving.signature import Signature

_THREADS = 4 * (os.cpu_count() or 1)  # requests in work at once, as in TF Serving
_OPTIONS = (
    ("grpc.max_receive_message_length", 256 * 2**20),  # bytes; gRPC's own limit is 4 MB
    # Otherwise a second server would share the port in silence, and each would answer some of the requests.
    ("grpc.so_reuseport", 0),
)


class Server:
    """Serves models, and follows their folders and their configuration while it runs (`Watcher`).

    Models are loaded at once, the ports are opened by `start`. A server that is stopped has its models still and can be
    started again; one that is closed cannot. Used as a context manager it starts and closes itself:

        with Server("models", port=0) as server, Client(f"127.0.0.1:{server.port}") as client:
            client.predict("ranker", inputs)

    Args:
        models: Folder laid out as `<model>/<integer version>/saved_model.pb`, of which the highest versions are served;
            or the file that says which models in which versions.
        host: Address to listen at.
        port: Port to listen at for gRPC; 0 picks a free one, which `server.port` names after `start`.
        rest_port: Port to listen at for REST, likewise; None for no REST.
        poll_seconds: Pause between two looks for new versions; None or 0 means never, so what is loaded first stays.
        max_waiting: Most requests over gRPC that wait while all threads are busy; one more is refused at once, with
            RESOURCE_EXHAUSTED.
        batching: How requests are joined; None if each is run alone.
        credentials: For TLS on the gRPC port; None for none.
        metrics_path: Path on the REST port where Prometheus finds the metrics; None for nowhere.

    Raises:
        ServingError: If there is no model, or if one fails to load.
        ValueError: If `poll_seconds` is negative or not finite, or if `metrics_path` is given without `rest_port`.
    """

    def __init__(
        self,
        models: str | Path | ModelConfigFile,
        *,
        host: str = "127.0.0.1",
        port: int = 8500,
        rest_port: int | None = None,
        poll_seconds: float | None = 1.0,
        max_waiting: int = 256,
        batching: BatchingParameters | None = None,
        credentials: grpc.ServerCredentials | None = None,
        metrics_path: str | None = None,
    ) -> None:
        if poll_seconds is not None and not 0 <= poll_seconds <= threading.TIMEOUT_MAX:
            raise ValueError(f"`poll_seconds` must be 0 or more seconds, or None. Received: {poll_seconds}.")
        if max_waiting < 0:
            raise ValueError(f"`max_waiting` must be 0 or more. Received: {max_waiting}.")
        if metrics_path is not None and rest_port is None:
            raise ValueError(f"`metrics_path` must come with `rest_port`. Received: {metrics_path}.")
        self.host = host
        self.port = port
        self.metrics = ServerMetrics()
        self._max_waiting = max_waiting
        self._credentials = credentials
        self._batches = BatchScheduler(batching, self.metrics) if batching is not None else None
        self._models = self._load(models)
        file = models if isinstance(models, ModelConfigFile) else None
        self._watcher = Watcher(self._models, poll_seconds, file) if poll_seconds else None
        self._prediction = PredictionService(self._models, self.metrics)
        self._model_service = ModelService(self._models)
        self._server: grpc.Server | None = None
        self._closed = False
        self._rest = self._rest_server(rest_port, metrics_path) if rest_port is not None else None

    def _load(self, models: str | Path | ModelConfigFile) -> Models:
        configs = models.read() if isinstance(models, ModelConfigFile) else find_models(Path(models))
        if self._batches is not None:
            self._batches.start()  # as warm-up requests are joined, too, though nobody comes to join them
            self._batches.hurry()
        try:
            return Models(configs, self.metrics, self._batches)
        finally:
            if self._batches is not None:
                self._batches.stop()

    def _rest_server(self, port: int, metrics_path: str | None) -> RestServer:
        told = {} if metrics_path is None else {"metrics": self.metrics, "metrics_path": metrics_path}
        return RestServer(self._prediction, self._model_service, host=self.host, port=port, **told)

    @property
    def versions(self) -> dict[str, int]:
        """The highest version of each model that is served; a model of which no version is left is not among them."""
        return {name: servable.version for name, servable in self._latest.items()}

    @property
    def all_versions(self) -> dict[str, list[int]]:
        """All versions of each model that are served, lowest first."""
        return {name: sorted(model.servables) for name, model in self._models.current.items() if model.servables}

    @property
    def labels(self) -> dict[str, dict[str, int]]:
        """The version by label, of each model that has labels."""
        labels: dict[str, dict[str, int]] = {}
        for (name, label), version in sorted(self._models.labels.items()):
            labels.setdefault(name, {})[label] = version
        return labels

    @property
    def signatures(self) -> dict[str, dict[str, Signature]]:
        """The signatures of each model in its highest version, by their name."""
        return {name: dict(servable.signatures) for name, servable in self._latest.items()}

    @property
    def rest_port(self) -> int | None:
        """The port of the REST API; None if there is none."""
        return self._rest.port if self._rest is not None else None

    @property
    def secure(self) -> bool:
        """Whether the gRPC port speaks TLS."""
        return self._credentials is not None

    @property
    def _latest(self) -> dict[str, Servable]:
        latest = {name: model.latest for name, model in self._models.current.items()}
        return {name: servable for name, servable in latest.items() if servable is not None}

    def start(self) -> None:
        """Opens the ports, answers and follows the folders from now on.

        Raises:
            ServingError: If a port cannot be opened.
            RuntimeError: If the server is already started, or closed.
        """
        if self._closed:
            raise RuntimeError("The server is closed and has no models any more. Make another one.")
        if self._server is not None:
            raise RuntimeError(f"The server is already listening on {self.host}:{self.port}.")
        if self._batches is not None:
            self._batches.start()
        try:
            if self._rest is not None:
                self._rest.start()
            self._server = self._listening()
        except ServingError:
            if self._rest is not None:
                self._rest.stop(0.0)
            if self._batches is not None:
                self._batches.stop()
            raise
        self._server.start()
        if self._watcher is not None:
            self._watcher.start()

    def _listening(self) -> grpc.Server:
        """Makes a gRPC server that has its port and is not started."""
        most = _THREADS + self._max_waiting
        # Requests that wait to be joined hold a thread each.
        threads = ThreadPoolExecutor(most if self._batches else _THREADS, thread_name_prefix="serving")
        server = grpc.server(threads, options=_OPTIONS, maximum_concurrent_rpcs=most)
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(self._prediction, server)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(self._model_service, server)
        address = f"{self.host}:{self.port}"
        try:
            if self._credentials is None:
                self.port = server.add_insecure_port(address)
            else:
                self.port = server.add_secure_port(address, self._credentials)
        except RuntimeError as error:
            tls = "" if self._credentials is None else ", or key and certificate do not belong together"
            raise ServingError(
                f"Cannot listen on {address}: another server has the port, or the address is not this machine's{tls}. "
                "Stop the other one or choose another port; 0 picks a free one."
            ) from error
        return server

    def stop(self, grace: float = 30.0) -> None:
        """Takes no new requests and returns when those taken in are answered and a load under way has ended.

        Args:
            grace: Longest wait in seconds; requests still running then are cancelled. A load cannot be.
        """
        if self._server is None:
            return
        deadline = time.monotonic() + grace
        stopping = self._server.stop(grace)
        if self._batches is not None:
            self._batches.hurry()
        if self._rest is not None:
            self._rest.stop(grace)
        if self._watcher is not None:
            self._watcher.stop()
        stopping.wait()
        if self._batches is not None:
            self._batches.stop(max(0.0, deadline - time.monotonic()))
        self._server = None

    def close(self, grace: float = 30.0) -> None:
        """Stops, and gives back the memory of the models, but of those that a request is still running on.

        Args:
            grace: As of `stop`.
        """
        self.stop(grace)
        self._closed = True
        if self._watcher is not None:
            self._watcher.unload_replaced()
        self._models.unload()

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
