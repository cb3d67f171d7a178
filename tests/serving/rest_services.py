"""Services as the REST server asks them, with a model of three lines: what tests of the REST server answer with."""

import threading
from collections.abc import Mapping

import tensorflow as tf
from google.protobuf import text_format
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, model_pb2, predict_pb2

from mim_tf.serving.signature import Signature

SIGNATURES = """
signature_def { key: "serving_default" value {
  inputs { key: "item_id" value { dtype: DT_INT64 tensor_shape { dim { size: -1 } } } }
  outputs { key: "item_id" value { dtype: DT_INT64 tensor_shape { dim { size: -1 } } } }
  method_name: "tensorflow/serving/predict"
} }
signature_def { key: "fail" value { inputs { key: "code" value { dtype: DT_INT32 tensor_shape { } } } } }
signature_def { key: "wait" value { inputs { key: "code" value { dtype: DT_INT32 tensor_shape { } } } } }
"""
STATUS = """model_version_status { version: 3 state: AVAILABLE status { } }"""


class EchoPrediction:
    """Model `echo` in version 3, label `stable`, answers with its inputs.

    Its signature `fail` raises the error of the code it gets, or a bug for code 0; `wait` tells `started` and answers
    when `go` is set.
    """

    def __init__(self) -> None:
        self.started = threading.Semaphore(0)
        self.go = threading.Event()

    def predict(self, request: predict_pb2.PredictRequest) -> predict_pb2.PredictResponse:
        if request.model_spec.signature_name == "fail":
            code = int(tf.make_ndarray(request.inputs["code"]))
            raise tf.errors.OpError(None, None, "as asked for", code) if code else KeyError("bug")
        if request.model_spec.signature_name == "wait":
            self.started.release()
            assert self.go.wait(60)
        return predict_pb2.PredictResponse(model_spec=request.model_spec, outputs=request.inputs)

    def signatures(self, spec: model_pb2.ModelSpec) -> Mapping[str, Signature]:
        request = get_model_metadata_pb2.GetModelMetadataRequest(model_spec=spec)
        found = get_model_metadata_pb2.SignatureDefMap()
        self.metadata(request).metadata["signature_def"].Unpack(found)
        return {name: Signature.from_proto(proto) for name, proto in found.signature_def.items()}

    def metadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        spec = request.model_spec
        if spec.name != "echo" or spec.version.value not in (0, 3) or spec.version_label not in ("", "stable"):
            raise tf.errors.NotFoundError(None, None, f"Servable not found for request: {spec.name}")
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name = spec.name
        response.model_spec.version.value = 3
        signatures = text_format.Parse(SIGNATURES, get_model_metadata_pb2.SignatureDefMap())
        response.metadata["signature_def"].Pack(signatures)
        return response


class EchoStatus:
    """Knows `echo`, in version 3."""

    def status(
        self, request: get_model_status_pb2.GetModelStatusRequest
    ) -> get_model_status_pb2.GetModelStatusResponse:
        if request.model_spec.name != "echo":
            name = request.model_spec.name
            raise tf.errors.NotFoundError(None, None, f"Could not find any versions of model {name}")
        return text_format.Parse(STATUS, get_model_status_pb2.GetModelStatusResponse())
