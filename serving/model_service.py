"""`tensorflow.serving.ModelService`: GetModelStatus."""

from __future__ import annotations

import grpc
import tensorflow as tf
from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc

from mim_tf.serving.grpc_status import report_errors
from mim_tf.serving.models import Models, check_named


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """Reports the models given: each is loaded before the server listens, so each is AVAILABLE.

    Args:
        models: What is served.
    """

    def __init__(self, models: Models) -> None:
        self._models = models

    @report_errors
    def GetModelStatus(  # noqa: N802 - the service's name for it
        self, request: get_model_status_pb2.GetModelStatusRequest, context: grpc.ServicerContext
    ) -> get_model_status_pb2.GetModelStatusResponse:
        """Returns the state of a model's one version, or of the version asked for."""
        spec = request.model_spec
        check_named(spec)
        servable = self._models.get(spec.name)
        if servable is None:
            raise tf.errors.NotFoundError(None, None, f"Could not find any versions of model {spec.name}")
        if spec.HasField("version") and spec.version.value != servable.version:
            message = f"Could not find version {spec.version.value} of model {spec.name}"
            raise tf.errors.NotFoundError(None, None, message)
        status = get_model_status_pb2.ModelVersionStatus(
            version=servable.version, state=get_model_status_pb2.ModelVersionStatus.AVAILABLE
        )
        return get_model_status_pb2.GetModelStatusResponse(model_version_status=[status])
