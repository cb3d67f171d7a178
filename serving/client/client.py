"""A client of TF Serving, and of the stand-in, over gRPC."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mim_tf.serving.client.attempts import Attempts
from mim_tf.serving.client.call import Call, metadata_call, predict_call, status_call
from mim_tf.serving.client.call_errors import closed_error
from mim_tf.serving.client.channel import methods_of, open_channel
from mim_tf.serving.client.deadline import Deadline
from mim_tf.serving.client.flow import run
from mim_tf.serving.client.tls import Tls
from mim_tf.serving.signature import Signature


class Client:
    """Calls the models of one server over one connection, which threads may share.

        with Client("127.0.0.1:8500") as client:
            client.predict("ranker", {"user_id": np.array([7])}, signature="predict")["probability"]

    Every method raises `ServingError`, with model, address, gRPC code and remedy, when the server does not answer or
    answers with an error; the `grpc.RpcError` is its cause.

    A server that cannot be reached (UNAVAILABLE) is tried again, after a pause, as long as there is time: it may be
    starting anew. An `upsert` is sent once only, since it may have been done without an answer. No other error is tried
    again, nor one whose details say that the server's queue is full, or that its certificate is refused.

    Args:
        address: `host:port` of the server's gRPC port.
        timeout: Longest wait for an answer in seconds, all attempts together.
        tls: How the connection is encrypted; None for not at all.
        attempts: How often a call is tried at most.

    Raises:
        ServingError: If a file of `tls` is not what it should be.
        ValueError: If `timeout` or `attempts` is not positive.
    """

    def __init__(self, address: str, *, timeout: float = 5.0, tls: Tls | None = None, attempts: int = 3) -> None:
        self._attempts = Attempts(address, tls, timeout, attempts, send=self._send, sleep=time.sleep)
        self._channel = open_channel(address, tls)
        self._methods = methods_of(self._channel)

    def predict(
        self,
        model: str,
        inputs: Mapping[str, ArrayLike],
        *,
        signature: str = "serving_default",
        version: int | None = None,
        label: str | None = None,
        outputs: Sequence[str] | None = None,
        timeout: float | None = None,
    ) -> dict[str, np.ndarray]:
        """Runs one signature of a model.

        Args:
            model: Name of the model.
            inputs: Values by input name. An array keeps its dtype; Python's integers become int64, its floats
                float32, its text and bytes strings.
            signature: Name of the signature.
            version: Version of the model; None means the highest that is served.
            label: Instead of `version`, the label that the server gives to one, such as `canary`.
            outputs: Names of the outputs wanted; None means all.
            timeout: Longest wait in seconds; None means the client's.

        Returns:
            Arrays by output name; strings come as objects of type `bytes`.

        Raises:
            ServingError: If the server does not answer, or answers with an error.
            ValueError: If an input is no array of numbers or strings, both `version` and `label` are given, or
                `timeout` is not positive.
        """
        call = predict_call(model, inputs, signature=signature, version=version, label=label, outputs=outputs)
        return self.ask(call, self._attempts.deadline(timeout))

    def model_status(self, model: str, *, timeout: float | None = None) -> dict[int, str]:
        """Returns the state of each version: `START`, `LOADING`, `AVAILABLE`, `UNLOADING` or `END`."""
        return self.ask(status_call(model), self._attempts.deadline(timeout))

    def signatures(
        self, model: str, *, version: int | None = None, label: str | None = None, timeout: float | None = None
    ) -> dict[str, Signature]:
        """Returns what a model takes and returns, by signature name; of the highest version, unless one is named."""
        call = metadata_call(model, version=version, label=label)
        return self.ask(call, self._attempts.deadline(timeout))

    def ask(self, call: Call[Any], deadline: Deadline) -> Any:
        """Gets the answer to a call of `mim_tf.serving.client.call`, as the other methods do.

        Raises:
            ServingError: If the server does not answer, or answers with an error.
        """
        return run(self._attempts.answer(call, deadline))

    def wait_until_ready(self, model: str, timeout: float = 60.0) -> int:
        """Waits until the server answers and a version of the model is available.

        Args:
            model: Name of the model.
            timeout: Longest wait in seconds.

        Returns:
            The highest version available.

        Raises:
            ServingError: If none is available in time, or waiting does not help: the client is closed, say.
        """
        return run(self._attempts.readiness(model, timeout))

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _send(self, call: Call[Any], seconds: float) -> Any:
        """Sends a call once."""
        try:
            return self._methods[call.method](call.request, timeout=seconds)
        except ValueError as error:  # gRPC's way to say so
            raise closed_error(call, self._attempts.address) from error
