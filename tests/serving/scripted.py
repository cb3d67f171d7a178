"""A server of TF Serving's API that does what a test tells it, and remembers what it was sent."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import tensorflow as tf
from tensorflow_serving.apis import get_model_status_pb2, predict_pb2
from tensorflow_serving.apis.model_service_pb2_grpc import ModelServiceServicer, add_ModelServiceServicer_to_server
from tensorflow_serving.apis.prediction_service_pb2_grpc import (
    PredictionServiceServicer,
    add_PredictionServiceServicer_to_server,
)

_OPTIONS = [("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", -1)]


class Scripted(PredictionServiceServicer, ModelServiceServicer):
    """Answers `Predict` with the input `x`, after one act of the script for each call; without acts at once.

    Args:
        acts: Codes to fail with, or functions to call.
        details: What is said of a failure.
    """

    def __init__(self, *acts: grpc.StatusCode | Callable[[], Any], details: str = "as the script says") -> None:
        self._acts, self._details = iter(acts), details  # threads may share them
        self.requests: list[predict_pb2.PredictRequest] = []
        self.peers: set[str] = set()

    def Predict(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        self.requests.append(request)
        self.peers.add(context.peer())
        self._act(context)
        return predict_pb2.PredictResponse(outputs={"x": request.inputs["x"]})

    def GetModelStatus(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        self.requests.append(request)
        self._act(context)
        status = get_model_status_pb2.ModelVersionStatus(version=7, state=30)  # AVAILABLE
        return get_model_status_pb2.GetModelStatusResponse(model_version_status=[status])

    def _act(self, context: grpc.ServicerContext) -> None:
        act = next(self._acts, None)
        if isinstance(act, grpc.StatusCode):
            context.abort(act, self._details)
        elif act is not None:
            act()


@contextmanager
def serving(scripted: Scripted, port: int = 0, credentials: grpc.ServerCredentials | None = None) -> Iterator[str]:
    """Serves it; yields its address. What runs at the end is cut off."""
    server = grpc.server(ThreadPoolExecutor(8), options=_OPTIONS)
    add_PredictionServiceServicer_to_server(scripted, server)
    add_ModelServiceServicer_to_server(scripted, server)
    place = f"127.0.0.1:{port}"
    bound = server.add_secure_port(place, credentials) if credentials else server.add_insecure_port(place)
    server.start()
    try:
        yield f"127.0.0.1:{bound}"
    finally:
        server.stop(0).wait()


def sent(scripted: Scripted) -> list[int]:
    """The `x` of each request, in their order."""
    return [int(tf.make_ndarray(request.inputs["x"])) for request in scripted.requests]
