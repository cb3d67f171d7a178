"""A client of TF Serving, and of the stand-in, over gRPC."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from mim_tf.errors import ServingError
from mim_tf.serving.signature import Signature

_State = get_model_status_pb2.ModelVersionStatus.State
_POLL = 0.1  # seconds between two looks at a server that is not ready
_OPTIONS = (
    ("grpc.max_receive_message_length", -1),  # no limit; gRPC's own is 4 MB
    ("grpc.max_send_message_length", -1),
    # gRPC's own pauses grow to two minutes: too long to notice that a server is back.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)
_REMEDIES = {
    grpc.StatusCode.UNAVAILABLE: "Is the server running at {address}?",
    grpc.StatusCode.DEADLINE_EXCEEDED: "No answer within {timeout} s: raise `timeout`, or send fewer rows.",
    grpc.StatusCode.NOT_FOUND: "Is a model of that name and version in the server's models folder?",
    grpc.StatusCode.INVALID_ARGUMENT: 'Client.signatures("{model}") shows what is expected.',
    grpc.StatusCode.FAILED_PRECONDITION: 'Client.signatures("{model}") shows what is expected.',
    grpc.StatusCode.RESOURCE_EXHAUSTED: "Send fewer rows, or fewer requests at once.",
}


class Client:
    """Calls the models of one server over one connection, which threads may share.

        with Client("127.0.0.1:8500") as client:
            client.predict("ranker", {"user_id": np.array([7])}, signature="predict")["probability"]

    Every method raises `ServingError`, with model, address, gRPC code and remedy, when the server does not answer or
    answers with an error; the `grpc.RpcError` is its cause.

    Args:
        address: `host:port` of the server's gRPC port.
        timeout: Longest wait for an answer in seconds.

    Raises:
        ValueError: If `timeout` is not positive.
    """

    def __init__(self, address: str, *, timeout: float = 5.0) -> None:
        if timeout <= 0:
            raise ValueError(f"`timeout` must be positive. Received: {timeout}.")
        self._address = address
        self._timeout = timeout
        self._channel = grpc.insecure_channel(address, options=_OPTIONS)
        self._prediction = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self._model = model_service_pb2_grpc.ModelServiceStub(self._channel)

    def predict(
        self,
        model: str,
        inputs: Mapping[str, ArrayLike],
        *,
        signature: str = "serving_default",
        version: int | None = None,
        outputs: Sequence[str] | None = None,
    ) -> dict[str, np.ndarray]:
        """Runs one signature of a model.

        Args:
            model: Name of the model.
            inputs: Values by input name. An array keeps its dtype; Python's integers become int64, its floats
                float32, its text and bytes strings.
            signature: Name of the signature.
            version: Version of the model; None means the highest that is served.
            outputs: Names of the outputs wanted; None means all.

        Returns:
            Arrays by output name; strings come as objects of type `bytes`.

        Raises:
            ServingError: If the server does not answer, or answers with an error.
            ValueError: If an input is no array of numbers or strings.
        """
        spec = model_pb2.ModelSpec(name=model, signature_name=signature)
        if version is not None:
            spec.version.value = version
        request = predict_pb2.PredictRequest(
            model_spec=spec,
            inputs={name: _to_proto(name, value) for name, value in inputs.items()},
            output_filter=outputs or (),
        )
        response = self._call(self._prediction.Predict, request, model)
        return {name: tf.make_ndarray(proto) for name, proto in response.outputs.items()}

    def model_status(self, model: str) -> dict[int, str]:
        """Returns the state of each version: `START`, `LOADING`, `AVAILABLE`, `UNLOADING` or `END`."""
        request = get_model_status_pb2.GetModelStatusRequest(model_spec=model_pb2.ModelSpec(name=model))
        response = self._call(self._model.GetModelStatus, request, model)
        return {status.version: _State.Name(status.state) for status in response.model_version_status}

    def signatures(self, model: str) -> dict[str, Signature]:
        """Returns what the model's highest version takes and returns, by signature name."""
        request = get_model_metadata_pb2.GetModelMetadataRequest(
            model_spec=model_pb2.ModelSpec(name=model), metadata_field=["signature_def"]
        )
        response = self._call(self._prediction.GetModelMetadata, request, model)
        found = get_model_metadata_pb2.SignatureDefMap()
        response.metadata["signature_def"].Unpack(found)
        # TensorFlow keeps its own initialiser among them, under a name with two leading underscores.
        names = sorted(name for name in found.signature_def if not name.startswith("__"))
        return {name: Signature.from_proto(found.signature_def[name]) for name in names}

    def wait_until_ready(self, model: str, timeout: float = 60.0) -> int:
        """Waits until the server answers and a version of the model is available.

        Args:
            model: Name of the model.
            timeout: Longest wait in seconds.

        Returns:
            The highest version available.

        Raises:
            ServingError: If none is available in time.
        """
        end = time.monotonic() + timeout
        while True:
            reason: Exception | None = None
            try:
                states = self.model_status(model)
                available = [version for version, state in states.items() if state == "AVAILABLE"]
                if available:
                    return max(available)
                seen = f"its versions are {states}"
            except ServingError as error:
                reason, seen = error, str(error)
            if time.monotonic() + _POLL > end:
                raise ServingError(f'model "{model}" was not ready within {timeout} s: {seen}') from reason
            time.sleep(_POLL)

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _call(self, method: Callable[..., Any], request: Any, model: str) -> Any:
        """Sends one request; an error comes back with the remedy."""
        try:
            return method(request, timeout=self._timeout)
        except grpc.RpcError as error:
            remedy = _REMEDIES.get(error.code(), "The server's log may say more.")
            remedy = remedy.format(address=self._address, timeout=self._timeout, model=model)
            raise ServingError(
                f'model "{model}" at {self._address}: {error.code().name}: {error.details()} {remedy}'
            ) from error


def _to_proto(name: str, value: ArrayLike) -> tensor_pb2.TensorProto:
    """Converts one input as `Client.predict` documents."""
    try:
        array = np.asarray(value)
        if array.dtype.kind in "SU":
            array = np.asarray(value, dtype=object)  # NumPy's own strings lose trailing zero bytes, as of an image
        elif array.dtype == np.float64 and not hasattr(value, "dtype"):
            array = array.astype(np.float32)
        return tf.make_tensor_proto(array)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f'`inputs["{name}"]` must be an array of numbers or strings, all rows of one length. Received: {value!r}.'
        ) from error
