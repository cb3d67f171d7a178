"""Predict and GetModelMetadata, called as any gRPC client calls them: without our own client."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2, prediction_service_pb2_grpc

from mim_tf.serving.server.batch_scheduler import BatchScheduler
from mim_tf.serving.server.batching_parameters import BatchingParameters
from mim_tf.serving.server.model_config import find_models
from mim_tf.serving.server.models import Models
from mim_tf.serving.server.prediction_service import PredictionService


@pytest.fixture(scope="module")
def stub(address: str) -> Iterator[Any]:
    with grpc.insecure_channel(address) as channel:
        yield prediction_service_pb2_grpc.PredictionServiceStub(channel)


def request(inputs: dict[str, Any], spec: str = 'name: "ranker"', **fields: Any) -> predict_pb2.PredictRequest:
    """Writes a request; `spec` is a ModelSpec in text form."""
    protos = {name: tf.make_tensor_proto(value) for name, value in inputs.items()}
    message = predict_pb2.PredictRequest(inputs=protos, **fields)
    text_format.Parse(spec, message.model_spec)
    return message


def refused(call: Any, message: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError, match="StatusCode") as refusal:
        call(message, timeout=60)
    return refusal.value.code(), refusal.value.details()


def test_predict_gives_the_numbers_of_a_direct_call(stub: Any, models: Path, rows: dict[str, np.ndarray]) -> None:
    response = stub.Predict(request(rows), timeout=60)
    np.testing.assert_array_equal(tf.make_ndarray(response.outputs["score"]), [10.0, 14.0])
    assert list(tf.make_ndarray(response.outputs["query"])) == [b"red!", "schön!".encode()]

    direct = tf.saved_model.load(str(models / "ranker" / "10")).signatures["predict"]
    expected = direct(**{name: tf.constant(value) for name, value in rows.items()})
    np.testing.assert_array_equal(tf.make_ndarray(response.outputs["score"]), expected["score"].numpy())


def test_the_answer_says_which_model_version_and_signature(stub: Any, rows: dict[str, np.ndarray]) -> None:
    spec = stub.Predict(request(rows), timeout=60).model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("ranker", 10, "serving_default")


def test_the_version_that_is_served_may_be_asked_for(stub: Any, rows: dict[str, np.ndarray]) -> None:
    response = stub.Predict(request(rows, 'name: "ranker" version { value: 10 }'), timeout=60)
    np.testing.assert_array_equal(tf.make_ndarray(response.outputs["score"]), [10.0, 14.0])


def test_the_output_filter_is_honoured(stub: Any, rows: dict[str, np.ndarray]) -> None:
    response = stub.Predict(request(rows, output_filter=["score"]), timeout=60)
    assert list(response.outputs) == ["score"]


@pytest.mark.parametrize(
    ("spec", "code", "message"),
    [
        ('name: "nobody"', grpc.StatusCode.NOT_FOUND, r"Servable not found for request: Latest(nobody)"),
        ('name: "../ranker"', grpc.StatusCode.NOT_FOUND, r"Servable not found for request: Latest(../ranker)"),
        ('name: "ranker/10"', grpc.StatusCode.NOT_FOUND, r"Servable not found for request: Latest(ranker/10)"),
        ('name: "/etc/passwd"', grpc.StatusCode.NOT_FOUND, r"Servable not found for request: Latest(/etc/passwd)"),
        ('name: "ranker\\000"', grpc.StatusCode.NOT_FOUND, r"Servable not found for request: Latest(ranker"),
        (
            'name: "ranker" version { value: 2 }',
            grpc.StatusCode.NOT_FOUND,
            "Servable not found for request: Specific(ranker, 2)",
        ),
        (
            'name: "ranker" version { value: 0 }',
            grpc.StatusCode.NOT_FOUND,
            "Servable not found for request: Specific(ranker, 0)",
        ),
        (
            'name: "ranker" version_label: "best"',
            grpc.StatusCode.INVALID_ARGUMENT,
            "Unrecognized servable version label: best",
        ),
        (
            'name: "ranker" version_label: "../../other/0003"',
            grpc.StatusCode.INVALID_ARGUMENT,
            "Unrecognized servable version label: ../../other/0003",
        ),
        ("", grpc.StatusCode.INVALID_ARGUMENT, "Missing ModelSpec, or it has no name"),
        (
            'name: "ranker" signature_name: "rank"',
            grpc.StatusCode.FAILED_PRECONDITION,
            'Serving signature key "rank" not found.',
        ),
    ],
)
def test_a_model_that_is_not_there(
    stub: Any, rows: dict[str, np.ndarray], spec: str, code: grpc.StatusCode, message: str
) -> None:
    received, details = refused(stub.Predict, request(rows, spec))
    assert received == code
    assert message in details


def test_an_unknown_signature_lists_the_known_ones(stub: Any, rows: dict[str, np.ndarray]) -> None:
    _, details = refused(stub.Predict, request(rows, 'name: "ranker" signature_name: "rank"'))
    assert details.endswith("Known: lookup, predict, read, serving_default, wait.")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query": None}, "Missing but required: {query}. Expected: history: int64 [?, 3], query: string [?]."),
        ({"page": 1}, "Sent extra: {page}. Missing but required: {}. Expected: history: int64 [?, 3], query:"),
        ({"query": None, "qurey": b"red"}, "Sent extra: {qurey}. Missing but required: {query}."),
        ({"history": np.zeros([2, 3])}, "input must be history: int64 [?, 3]. Received: float64."),
        ({"history": np.zeros([2, 4], np.int64)}, "input must be history: int64 [?, 3]. Received: shape [2, 4]."),
        ({"history": np.int64(7)}, "input must be history: int64 [?, 3]. Received: shape []."),
    ],
)
def test_inputs_that_do_not_fit(stub: Any, rows: dict[str, np.ndarray], change: dict[str, Any], message: str) -> None:
    inputs = {name: value for name, value in {**rows, **change}.items() if value is not None}
    code, details = refused(stub.Predict, request(inputs))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert message in details


@pytest.mark.parametrize(
    "proto", ["dtype: DT_INT64 tensor_shape { dim { size: -3 } dim { size: 3 } }", "dtype: DT_INT64 int64_val: [1, 2]"]
)
def test_a_damaged_tensor(stub: Any, rows: dict[str, np.ndarray], proto: str) -> None:
    message = request(rows)
    message.inputs["history"].Clear()
    text_format.Merge(proto, message.inputs["history"])
    code, details = refused(stub.Predict, message)
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert "history: int64 [?, 3]" in details


def test_the_last_value_is_repeated_where_values_are_missing(stub: Any) -> None:
    message = request({"item_id": np.array([7])}, 'name: "ranker" signature_name: "lookup"')
    message.inputs["item_id"].Clear()
    text_format.Merge("dtype: DT_INT64 tensor_shape { dim { size: 3 } } int64_val: 7", message.inputs["item_id"])
    response = stub.Predict(message, timeout=60)
    np.testing.assert_array_equal(tf.make_ndarray(response.outputs["embedding"]), [[1, 2]] * 3)


def test_a_few_bytes_do_not_fill_the_memory(stub: Any) -> None:
    """As TensorFlow reads it, 8 GB in less than 20 bytes."""
    message = request({"item_id": np.array([7])}, 'name: "ranker" signature_name: "lookup"')
    size = 2**30
    message.inputs["item_id"].Clear()
    text_format.Merge(f"dtype: DT_INT64 tensor_shape {{ dim {{ size: {size} }} }}", message.inputs["item_id"])
    code, details = refused(stub.Predict, message)
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert f"must bring its values: item_id: int64 [?]. Received: {size} elements in " in details


def test_a_dtype_that_does_not_exist(stub: Any, rows: dict[str, np.ndarray]) -> None:
    message = request(rows)
    message.inputs["history"].dtype = 77
    code, details = refused(stub.Predict, message)
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert "Received: dtype number 77." in details


@pytest.mark.parametrize(
    ("output_filter", "message"),
    [
        (
            ["score", "odds"],
            "output tensor alias not found in signature: odds. Outputs expected to be in the set {query",
        ),
        (["score", "score"], "duplicate output tensor alias: score"),
    ],
)
def test_outputs_that_do_not_fit(
    stub: Any, rows: dict[str, np.ndarray], output_filter: list[str], message: str
) -> None:
    code, details = refused(stub.Predict, request(rows, output_filter=output_filter))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert message in details


def test_an_error_inside_the_graph_keeps_its_code(stub: Any) -> None:
    code, details = refused(stub.Predict, request({"path": "/nowhere"}, 'name: "ranker" signature_name: "read"'))
    assert code == grpc.StatusCode.NOT_FOUND
    assert details.startswith("/nowhere; No such file or directory")


def test_a_long_error_is_shortened_to_what_a_header_carries(stub: Any) -> None:
    message = request({"path": "/" + "x" * 20_000}, 'name: "ranker" signature_name: "read"')
    _, details = refused(stub.Predict, message)
    assert details.endswith("... (shortened)")
    assert len(details) < 1100


def test_the_server_lives_on_after_errors(stub: Any, rows: dict[str, np.ndarray]) -> None:
    refused(stub.Predict, request({}))
    assert stub.Predict(request(rows), timeout=60).outputs


def test_metadata_is_what_the_saved_model_says(stub: Any, models: Path) -> None:
    message = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    message.model_spec.name = "other"
    response = stub.GetModelMetadata(message, timeout=60)
    found = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(found)

    saved = saved_model_pb2.SavedModel.FromString((models / "other" / "0003" / "saved_model.pb").read_bytes())
    assert dict(found.signature_def) == dict(saved.meta_graphs[0].signature_def)
    assert (response.model_spec.name, response.model_spec.version.value) == ("other", 3)


@pytest.mark.parametrize(
    ("model", "fields", "code", "match"),
    [
        ("ranker", [], grpc.StatusCode.INVALID_ARGUMENT, "Received: none"),
        ("ranker", ["weights"], grpc.StatusCode.INVALID_ARGUMENT, "Received: weights"),
        ("nobody", ["signature_def"], grpc.StatusCode.NOT_FOUND, "Servable not found for request: Latest(nobody)"),
    ],
)
def test_metadata_that_is_not_there(
    stub: Any, model: str, fields: list[str], code: grpc.StatusCode, match: str
) -> None:
    message = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
    message.model_spec.name = model
    received, details = refused(stub.GetModelMetadata, message)
    assert received == code
    assert match in details


class AbortedError(Exception):
    """What gRPC's `abort` raises in a service's method."""


class ContextWithoutTime:
    """Of a call whose deadline is over."""

    def time_remaining(self) -> float:
        return 0.0

    def abort(self, code: grpc.StatusCode, details: str) -> None:
        raise AbortedError(code.name, details)


def test_a_call_whose_deadline_is_over_is_not_run(folder: Path) -> None:
    batches = BatchScheduler(BatchingParameters(1))
    models = Models(find_models(folder.parent), batches=batches)
    message = request({"item_id": np.array([7])}, 'name: "ranker" signature_name: "lookup"')
    batches.start()
    try:
        with pytest.raises(AbortedError, match=r"DEADLINE_EXCEEDED.*over before the request could be run"):
            PredictionService(models).Predict(message, ContextWithoutTime())
    finally:
        batches.stop()
        models.unload()
