"""The requests that a model brings along: its warm-up records."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from mim_tf.errors import ServingError


def recorded_requests(path: Path, model: str, signature: str) -> list[predict_pb2.PredictRequest]:
    """The records of one signature, addressed to whatever version of the model is served.

    Args:
        path: TFRecords of `PredictionLog`, as `assets.extra/tf_serving_warmup_requests` of a SavedModel.
        model: name under which the model is served.
        signature: whose requests are wanted.

    Raises:
        ServingError: the file cannot be read, or has none of the signature.
    """
    found = []
    others = set()
    for request in _requests(path):
        name = request.model_spec.signature_name or tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY
        if name == signature:
            request.model_spec.Clear()
            request.model_spec.name, request.model_spec.signature_name = model, signature
            found.append(request)
        else:
            others.add(name)
    if not found:
        known = ", ".join(sorted(others)) or "none"
        raise ServingError(f"{path} must hold requests of the signature {signature!r}. There are those of: {known}.")
    return found


def _requests(path: Path) -> list[predict_pb2.PredictRequest]:
    if not path.is_file():
        raise ServingError(f"{path} must be a file of warm-up records. There is no such file.")
    try:
        records = [record.numpy() for record in tf.data.TFRecordDataset(str(path))]
        logs = [prediction_log_pb2.PredictionLog.FromString(record) for record in records]
    except (tf.errors.OpError, DecodeError) as error:
        raise ServingError(f"{path} must be a file of warm-up records (PredictionLog). Received: {error}") from error
    return [log.predict_log.request for log in logs if log.HasField("predict_log")]
