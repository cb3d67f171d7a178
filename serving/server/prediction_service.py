"""`tensorflow.serving.PredictionService`: Predict and GetModelMetadata."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

import grpc
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    model_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from mim_tf.serving.server.grpc_status import report_errors
from mim_tf.serving.server.metrics import ServerMetrics
from mim_tf.serving.server.models import Models
from mim_tf.serving.server.servable import Servable
from mim_tf.serving.signature import Signature

_SIGNATURE_DEF = "signature_def"  # the one metadata field there is


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Answers with the models given; Classify, Regress and MultiInference stay unimplemented.

    Args:
        models: What is served.
        metrics: Where requests are counted.
    """

    def __init__(self, models: Models, metrics: ServerMetrics | None = None) -> None:
        self._models = models
        self._metrics = metrics or ServerMetrics()

    @report_errors
    def Predict(  # noqa: N802 - the service's name for it
        self, request: predict_pb2.PredictRequest, context: grpc.ServicerContext
    ) -> predict_pb2.PredictResponse:
        """Answers `predict` over gRPC."""
        remaining = context.time_remaining()
        deadline = math.inf if remaining is None else time.monotonic() + remaining
        return self.predict(request, entrypoint="GRPC", deadline=deadline)

    @report_errors
    def GetModelMetadata(  # noqa: N802 - the service's name for it
        self, request: get_model_metadata_pb2.GetModelMetadataRequest, context: grpc.ServicerContext
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """Answers `metadata` over gRPC."""
        return self.metadata(request)

    def predict(
        self, request: predict_pb2.PredictRequest, *, entrypoint: str = "REST", deadline: float = math.inf
    ) -> predict_pb2.PredictResponse:
        """Runs one signature of one model, and counts the request.

        Args:
            request: Which signature, and on what.
            entrypoint: How it came, "REST" or "GRPC".
            deadline: Until when it may wait to be joined to others, by the monotonic clock in seconds.

        Raises:
            tf.errors.OpError: With the code and the message that the request is refused with.
        """
        name = request.model_spec.signature_name or tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY
        counted = self._metrics.request(request.model_spec.name, entrypoint)
        with counted, self._models.leased(request.model_spec) as servable:
            outputs = servable.predict(name, request.inputs, request.output_filter, deadline)
        return predict_pb2.PredictResponse(model_spec=_spec(servable, signature_name=name), outputs=outputs)

    def signatures(self, spec: model_pb2.ModelSpec) -> Mapping[str, Signature]:
        """What the model that answers for a spec takes and returns, by signature name.

        Raises:
            tf.errors.OpError: As `Models.find`.
        """
        return self._models.find(spec).signatures

    def metadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """Returns the signatures of one model, as they stand in its SavedModel.

        Raises:
            tf.errors.OpError: With the code and the message that the request is refused with.
        """
        if list(request.metadata_field) != [_SIGNATURE_DEF]:
            received = ", ".join(request.metadata_field) or "none"
            raise tf.errors.InvalidArgumentError(
                None, None, f'metadata_field must be "{_SIGNATURE_DEF}", once. Received: {received}.'
            )
        servable = self._models.find(request.model_spec)
        response = get_model_metadata_pb2.GetModelMetadataResponse(model_spec=_spec(servable))
        response.metadata[_SIGNATURE_DEF].Pack(
            get_model_metadata_pb2.SignatureDefMap(signature_def=servable.signature_defs)
        )
        return response


def _spec(servable: Servable, signature_name: str = "") -> model_pb2.ModelSpec:
    """Says which model answered."""
    spec = model_pb2.ModelSpec(name=servable.name, signature_name=signature_name)
    spec.version.value = servable.version
    return spec
