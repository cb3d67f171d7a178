"""`tensorflow.serving.ModelService`: GetModelStatus."""

from __future__ import annotations

import grpc
import tensorflow as tf
from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc

from mim_tf.serving.grpc_status import report_errors
from mim_tf.serving.models import Models, check_named


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
        """Returns the state of every version that the server has had of a model, highest first, or of one of them."""
        spec = request.model_spec
        check_named(spec)
        model = self._models.current.get(spec.name)
        if model is None:
            raise tf.errors.NotFoundError(None, None, f"Could not find any versions of model {spec.name}")
        if not spec.HasField("version"):
            statuses = [model.statuses[version] for version in sorted(model.statuses, reverse=True)]
        elif spec.version.value in model.statuses:
            statuses = [model.statuses[spec.version.value]]
        else:
            message = f"Could not find version {spec.version.value} of model {spec.name}"
            raise tf.errors.NotFoundError(None, None, message)
        return get_model_status_pb2.GetModelStatusResponse(model_version_status=statuses)
