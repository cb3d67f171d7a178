"""`tensorflow.serving.ModelService`: GetModelStatus."""

from __future__ import annotations

import grpc
import tensorflow as tf
from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc

from mim_tf.serving.server.grpc_status import report_errors
from mim_tf.serving.server.models import Models, check_named


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """Reports the models given.

    Args:
        models: What is served.
    """

    def __init__(self, models: Models) -> None:
        self._models = models

    @report_errors
    def GetModelStatus(  # noqa: N802 - the service's name for it
        self, request: get_model_status_pb2.GetModelStatusRequest, context: grpc.ServicerContext
    ) -> get_model_status_pb2.GetModelStatusResponse:
        """Answers `status` over gRPC."""
        return self.status(request)

    def status(
        self, request: get_model_status_pb2.GetModelStatusRequest
    ) -> get_model_status_pb2.GetModelStatusResponse:
        """Returns the state of every version that the server has had of a model, highest first, or of one of them.

        Raises:
            tf.errors.NotFoundError: If the server has not had the model, or not the version.
            tf.errors.InvalidArgumentError: If the request names no model, or a label that there is not.
        """
        spec = request.model_spec
        check_named(spec)
        model = self._models.current.get(spec.name)
        if model is None:
            raise tf.errors.NotFoundError(None, None, f"Could not find any versions of model {spec.name}")
        asked = self._models.version_of(spec)
        if asked is None:
            statuses = [model.statuses[version] for version in sorted(model.statuses, reverse=True)]
        elif asked in model.statuses:
            statuses = [model.statuses[asked]]
        else:
            raise tf.errors.NotFoundError(None, None, f"Could not find version {asked} of model {spec.name}")
        return get_model_status_pb2.GetModelStatusResponse(model_version_status=statuses)
