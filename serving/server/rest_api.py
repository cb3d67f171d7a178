"""TF Serving's REST API without the HTTP: a method, a path and a body in, a status and a body out."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import tensorflow as tf
from google.protobuf import json_format
from google.protobuf.message import Message
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, model_pb2, predict_pb2

from mim_tf.serving.server.grpc_status import message_of
from mim_tf.serving.server.metrics import ServerMetrics
from mim_tf.serving.server.model_service import ModelService
from mim_tf.serving.server.prediction_service import PredictionService
from mim_tf.serving.server.rest_inputs import parse_document, read_inputs
from mim_tf.serving.server.rest_outputs import write_columns, write_rows
from mim_tf.serving.server.rest_path import RestPath
from mim_tf.serving.signature import Signature

_log = logging.getLogger(__name__)

_JSON = "application/json"
_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
_SIGNATURE_DEF = "signature_def"
_DEFAULT_SIGNATURE = tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY
# What TF Serving makes of TensorFlow's codes; any other is a 500.
_STATUS = {
    tf.errors.CANCELLED: 499,  # nginx's "client closed request", which Python has no name for
    tf.errors.INVALID_ARGUMENT: HTTPStatus.BAD_REQUEST,
    tf.errors.DEADLINE_EXCEEDED: HTTPStatus.GATEWAY_TIMEOUT,
    tf.errors.NOT_FOUND: HTTPStatus.NOT_FOUND,
    tf.errors.ALREADY_EXISTS: HTTPStatus.CONFLICT,
    tf.errors.PERMISSION_DENIED: HTTPStatus.FORBIDDEN,
    tf.errors.RESOURCE_EXHAUSTED: HTTPStatus.TOO_MANY_REQUESTS,
    tf.errors.FAILED_PRECONDITION: HTTPStatus.BAD_REQUEST,
    tf.errors.ABORTED: HTTPStatus.CONFLICT,
    tf.errors.OUT_OF_RANGE: HTTPStatus.BAD_REQUEST,
    tf.errors.UNIMPLEMENTED: HTTPStatus.NOT_IMPLEMENTED,
    tf.errors.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    tf.errors.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
}


@dataclass(frozen=True)
class RestAnswer:
    """What is sent back.

    Args:
        status: HTTP's status code.
        body: JSON, or what Prometheus reads.
        content_type: Which of the two.
    """

    status: int
    body: bytes
    content_type: str = _JSON

    @classmethod
    def error(cls, status: int, message: str) -> RestAnswer:
        """An error as TF Serving writes it."""
        return cls(status, json.dumps({"error": message}).encode())


class RestApi:
    """Answers for the services given.

    Args:
        prediction: Answers `:predict` and `/metadata`.
        model_service: Answers for the state of models.
        metrics: What Prometheus is told; None means that there is no such page.
        metrics_path: Where.
    """

    def __init__(
        self,
        prediction: PredictionService,
        model_service: ModelService,
        *,
        metrics: ServerMetrics | None,
        metrics_path: str,
    ) -> None:
        self._prediction = prediction
        self._model_service = model_service
        self._metrics = metrics
        self._metrics_path = metrics_path

    def answer(self, method: str, path: str, body: bytes) -> RestAnswer:
        """Answers one request; whatever goes wrong is an answer, too."""
        try:
            if self._metrics is not None and (method, path) == ("GET", self._metrics_path):
                return RestAnswer(HTTPStatus.OK, self._metrics.exposition(), _PROMETHEUS)
            return RestAnswer(HTTPStatus.OK, self._run(RestPath.parse(method, path), body))
        except tf.errors.OpError as error:
            status = _STATUS.get(error.error_code, HTTPStatus.INTERNAL_SERVER_ERROR)
            return RestAnswer.error(status, message_of(error))
        except Exception:  # a defect of ours must not end the connection, nor tell a stranger where it lies
            _log.exception("%s %s failed", method, path)
            return RestAnswer.error(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error; the server's log has more")

    def _run(self, path: RestPath, body: bytes) -> bytes:
        if path.verb == "predict":
            return self._predict(path.spec, body)
        if path.verb == "status":
            return self._status(path.spec)
        if path.verb == "metadata":
            return self._describe(path.spec)
        raise tf.errors.UnimplementedError(
            None, None, f"`{path.verb}` is not implemented by the stand-in, as over gRPC; use `predict`."
        )

    def _predict(self, spec: model_pb2.ModelSpec, body: bytes) -> bytes:
        document = parse_document(body)
        name, signature = self._signature(spec, document.get("signature_name", ""))
        request = predict_pb2.PredictRequest(model_spec=spec, inputs=read_inputs(document, signature))
        request.model_spec.signature_name = name
        outputs = self._prediction.predict(request).outputs
        return write_rows(outputs) if "instances" in document else write_columns(outputs)

    def _signature(self, spec: model_pb2.ModelSpec, name: Any) -> tuple[str, Signature]:
        if not isinstance(name, str):
            raise _invalid("'signature_name' key must be a string value.")
        name = name or _DEFAULT_SIGNATURE
        known = self._prediction.signatures(spec)
        if name not in known:
            raise _invalid(
                f'Serving signature name: "{name}" not found in signature def. Known: {", ".join(sorted(known))}.'
            )
        return name, known[name]

    def _status(self, spec: model_pb2.ModelSpec) -> bytes:
        request = get_model_status_pb2.GetModelStatusRequest(model_spec=spec)
        return _write(_to_dict(self._model_service.status(request)))

    def _describe(self, spec: model_pb2.ModelSpec) -> bytes:
        request = get_model_metadata_pb2.GetModelMetadataRequest(model_spec=spec, metadata_field=[_SIGNATURE_DEF])
        response = self._prediction.metadata(request)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        response.metadata[_SIGNATURE_DEF].Unpack(signatures)
        return _write(
            {"model_spec": _to_dict(response.model_spec), "metadata": {_SIGNATURE_DEF: _to_dict(signatures)}},
        )


def _to_dict(message: Message) -> dict[str, Any]:
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def _write(document: dict[str, Any]) -> bytes:
    return (json.dumps(document, indent=1) + "\n").encode()


def _invalid(message: str) -> tf.errors.InvalidArgumentError:
    return tf.errors.InvalidArgumentError(None, None, message)
