"""Warm-up records: requests that a server runs before a version takes traffic."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf
from tensorflow_serving.apis import model_pb2, predict_pb2, prediction_log_pb2

from mim_tf.errors import ExportError
from mim_tf.export.gate import Case

EXTRA = "assets.extra"
_FILE = "tf_serving_warmup_requests"
_MOST = 1000  # records, of which TF Serving takes no more


def write_warm_up(folder: Path, model: str, cases: Sequence[Case]) -> None:
    """Put requests beside a SavedModel, as TF Serving and the stand-in look for them.

    Besides making the first requests fast they find what is broken: a server refuses a version whose warm-up fails,
    where it would otherwise say AVAILABLE and fail at each request. A server that joins requests refuses those whose
    inputs are not all of one batch, as flat histories are not, in its warm-up, too: such cases are left out.

    Args:
        folder: of the SavedModel.
        model: its name.
        cases: the requests; they must leave the model as it is.

    Raises:
        ExportError: there are more than TF Serving takes.
        OSError: the file cannot be written.
    """
    joinable = [case for case in cases if len({len(values) for values in case.inputs.values()}) == 1]
    if len(joinable) > _MOST:
        raise ExportError(f"a model must have at most {_MOST} warm-up records. Received: {len(joinable)}.")
    path = folder / EXTRA / _FILE
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as records:
        for case in joinable:
            log = prediction_log_pb2.PredictLog(request=_request(model, case))
            records.write(prediction_log_pb2.PredictionLog(predict_log=log).SerializeToString())


def _request(model: str, case: Case) -> predict_pb2.PredictRequest:
    spec = model_pb2.ModelSpec(name=model, signature_name=case.signature)
    inputs = {name: tf.make_tensor_proto(values) for name, values in case.inputs.items()}
    return predict_pb2.PredictRequest(model_spec=spec, inputs=inputs)
