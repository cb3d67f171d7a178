"""`tensorflow.serving.PredictionService`: Predict and GetModelMetadata."""

from __future__ import annotations

import grpc
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    model_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from mim_tf.serving.grpc_status import report_errors
from mim_tf.serving.models import Models
from mim_tf.serving.servable import Servable

_SIGNATURE_DEF = "signature_def"  # the one metadata field there is


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Answers with the models given; Classify, Regress and MultiInference stay unimplemented.

    Args:
        models: What is served.
    """

    def __init__(self, models: Models) -> None:
        self._models = models

    @report_errors
    def Predict(  # noqa: N802 - the service's name for it
        self, request: predict_pb2.PredictRequest, context: grpc.ServicerContext
    ) -> predict_pb2.PredictResponse:
        """Runs one signature of one model."""
        name = request.model_spec.signature_name or tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY
        with self._models.leased(request.model_spec) as servable:
            outputs = servable.predict(name, request.inputs, request.output_filter)
        return predict_pb2.PredictResponse(model_spec=_spec(servable, signature_name=name), outputs=outputs)

    @report_errors
    def GetModelMetadata(  # noqa: N802 - the service's name for it
        self, request: get_model_metadata_pb2.GetModelMetadataRequest, context: grpc.ServicerContext
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """Returns the signatures of one model, as they stand in its SavedModel."""
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
