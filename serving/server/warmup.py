"""Requests that a version answers before others may ask it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from mim_tf.serving.server.grpc_status import message_of

_FILE = Path("assets.extra", "tf_serving_warmup_requests")
_MOST_RECORDS = 1000


def warm_up(folder: Path, answer: Callable[[predict_pb2.PredictRequest], object]) -> None:
    """Replays the requests that a version brings along; one without any is left as it is.

    They lie in `assets.extra/tf_serving_warmup_requests`, a TFRecord of `PredictionLog`.

    Args:
        folder: The version's folder.
        answer: Answers a request, whichever model and version it names.

    Raises:
        tf.errors.OpError: If a record cannot be read or answered, with its number (the first is 1) and the reason.
        tf.errors.InvalidArgumentError: If there are more than 1,000 records.
    """
    path = folder / _FILE
    if not path.exists():
        return
    for number, record in enumerate(_records(path), start=1):
        if number > _MOST_RECORDS:
            message = f"Number of warmup records exceeds the maximum ({_MOST_RECORDS}) at {path}"
            raise tf.errors.InvalidArgumentError(None, None, message)
        try:
            answer(_request(record))
        except tf.errors.OpError as error:
            raise type(error)(None, None, f"warm-up record {number} failed: {message_of(error)}") from error


def _records(path: Path) -> Iterator[bytes]:
    try:
        yield from tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    except tf.errors.DataLossError as error:
        raise tf.errors.DataLossError(
            None, None, f"{error.message}. Please verify your warmup data is in TFRecord format: {path}"
        ) from error


def _request(record: bytes) -> predict_pb2.PredictRequest:
    """Reads the request of a record. Of the kinds of requests there are, the stand-in answers Predict."""
    try:
        log = prediction_log_pb2.PredictionLog.FromString(record)
    except Exception as error:  # protobuf's DecodeError, which is a ValueError in some of its versions
        raise tf.errors.InvalidArgumentError(None, None, "Failed to parse warmup record") from error
    kind = log.WhichOneof("log_type")
    if kind != "predict_log":
        raise tf.errors.UnimplementedError(None, None, f"Unsupported log_type for warmup: {kind}")
    return log.predict_log.request
