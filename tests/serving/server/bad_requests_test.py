"""Requests that must be refused with the right code and a sentence, while the server lives on.

Codes are TF Serving's, or TensorFlow's where its graph or its parser refuses. What both take is listed, too.
"""

import http.client
import json
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from mim_tf.serving.server import Server
from mim_tf.serving.server import server as server_module
from mim_tf.serving.server.batching_parameters import BatchingParameters
from tests.serving.ragged_ranker import IMAGE, INPUTS, SCORE, RaggedRanker

PREDICT = "/tensorflow.serving.PredictionService/Predict"
INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    RaggedRanker().save(folder / "ranker" / "1")
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    with Server(folder, port=0, rest_port=0) as server:
        yield server


@pytest.fixture(scope="module")
def channel(server: Server) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield channel


def request(inputs: Mapping[str, Any] = INPUTS, signature: str = "") -> predict_pb2.PredictRequest:
    message = predict_pb2.PredictRequest(inputs={name: tf.make_tensor_proto(value) for name, value in inputs.items()})
    message.model_spec.name = "ranker"
    message.model_spec.signature_name = signature
    return message


def predict(channel: grpc.Channel, message: predict_pb2.PredictRequest) -> predict_pb2.PredictResponse:
    return prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(message, timeout=60)


def tensor(text: str) -> tensor_pb2.TensorProto:
    return text_format.Parse(text, tensor_pb2.TensorProto())


def put(name: str, value: Any) -> Callable[[predict_pb2.PredictRequest], None]:
    """Puts an array, or a TensorProto in text form, in the place of an input."""

    def change(message: predict_pb2.PredictRequest) -> None:
        message.inputs[name].CopyFrom(tensor(value) if isinstance(value, str) else tf.make_tensor_proto(value))

    return change


def without(name: str) -> Callable[[predict_pb2.PredictRequest], None]:
    return lambda message: message.inputs.__delitem__(name)


def spec(text: str) -> Callable[[predict_pb2.PredictRequest], None]:
    return lambda message: message.model_spec.CopyFrom(text_format.Parse(text, type(message.model_spec)()))


PAIR = "tensor_shape { dim { size: 2 } }"
# What is changed, the code, and a part of the message.
RANK: list[tuple[Callable[[predict_pb2.PredictRequest], None], grpc.StatusCode, str]] = [
    (put("item_id", np.float32([7, 8])), INVALID, "input must be item_id: int64 [?]. Received: float32."),
    (put("item_id", np.int32([7, 8])), INVALID, "input must be item_id: int64 [?]. Received: int32."),
    (put("item_id", np.array([[7, 8]])), INVALID, "input must be item_id: int64 [?]. Received: shape [1, 2]."),
    (put("item_id", np.int64(7)), INVALID, "input must be item_id: int64 [?]. Received: shape []."),
    (without("weight"), INVALID, "Missing but required: {weight}."),
    (put("page", np.int64(1)), INVALID, "Sent extra: {page}."),
    (spec('name: "ranker" signature_name: "explain"'), grpc.StatusCode.FAILED_PRECONDITION, '"explain" not found'),
    (spec('name: "nobody"'), NOT_FOUND, "Servable not found for request: Latest(nobody)"),
    (spec('name: "../ranker"'), NOT_FOUND, "Latest(../ranker)"),
    (spec('name: "ranker" version { value: 2 }'), NOT_FOUND, "Specific(ranker, 2)"),
    (spec('name: "ranker" version { value: -1 }'), NOT_FOUND, "Specific(ranker, -1)"),
    (spec('name: "ranker" version_label: "best"'), INVALID, "Unrecognized servable version label: best"),
    (spec(""), INVALID, "Missing ModelSpec"),
    (put("history_length", np.array([-1, 4])), INVALID, "Condition x >= 0 did not hold"),
    (put("history_length", np.array([2, 5])), INVALID, "do not form a valid RaggedTensor"),
    (put("history_length", np.array([2**62, 2**62])), INVALID, "do not form a valid RaggedTensor"),
    (put("history_length", np.array([2**63 - 1, 4 - 2**63])), INVALID, "did not hold element-wise"),
    (put("item_id", np.array([-1, 7])), INVALID, "Using the empty_key as a table key is not allowed"),
    (put("item_id", "dtype: DT_INT64 tensor_shape { dim { size: -2 } } int64_val: [7, 8]"), INVALID, "item_id: int64"),
    # A few bytes that TensorFlow would make 1 GB and 8 TB of; and 2^62 * 4, which is beyond int64.
    (
        put("item_id", "dtype: DT_INT64 tensor_shape { dim { size: 134217728 } } int64_val: 7"),
        INVALID,
        "bring its values",
    ),
    (
        put("item_id", "dtype: DT_INT64 tensor_shape { dim { size: 1099511627776 } } int64_val: 7"),
        INVALID,
        "bring its values",
    ),
    (put("category", "dtype: DT_STRING tensor_shape { dim { size: 134217728 } }"), INVALID, "bring its values"),
    (
        put(
            "item_id",
            "dtype: DT_INT64 tensor_shape { dim { size: 4611686018427387904 } dim { size: 4 } } int64_val: 7",
        ),
        INVALID,
        "item_id: int64 [?]",
    ),
    (put("item_id", "dtype: DT_INT64 tensor_shape { unknown_rank: true } int64_val: 7"), INVALID, "item_id: int64"),
    (put("item_id", f"dtype: DT_INT64 {PAIR} tensor_content: 'abc'"), INVALID, "tensor parsing error: item_id"),
    (put("category", f"dtype: DT_STRING {PAIR} tensor_content: '\\377'"), INVALID, "tensor parsing error: category"),
    (put("item_id", "dtype: DT_INT64"), INVALID, "Received: shape []."),
    (put("item_id", ""), INVALID, "Received: dtype number 0."),
    # Parsed, these could call whatever decoder the type names. They never reach the parser.
    (put("item_id", f"dtype: DT_RESOURCE {PAIR} resource_handle_val {{ name: 'x' }}"), INVALID, "Received: resource."),
    (
        put("item_id", f"dtype: DT_VARIANT {PAIR} variant_val {{ type_name: 'tensorflow::Tensor' metadata: 'x' }}"),
        INVALID,
        "Received: variant.",
    ),
]


def check_good_requests(channel: grpc.Channel) -> None:
    outputs = predict(channel, request()).outputs
    np.testing.assert_array_equal(tf.make_ndarray(outputs["score"]), SCORE)
    assert tf.make_ndarray(outputs["category"]).tolist() == [b"MUG", b"DRESS"]


@pytest.mark.parametrize(("change", "code", "word"), RANK)
def test_a_bad_request_over_grpc(
    channel: grpc.Channel, change: Callable[[predict_pb2.PredictRequest], None], code: grpc.StatusCode, word: str
) -> None:
    message = request()
    change(message)
    with pytest.raises(grpc.RpcError, match="StatusCode") as refusal:
        predict(channel, message)
    assert (refusal.value.code(), word in refusal.value.details()) == (code, True), refusal.value.details()
    assert "Traceback" not in refusal.value.details()
    check_good_requests(channel)


PNG_HEADER = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\x7f\xff\xff\xff\x7f\xff\xff\xff\x08\x02\0\0\0"  # 2^31 - 1 pixels square


@pytest.mark.parametrize(
    ("image", "word"),
    [
        (b"", "Input is empty"),
        (b"garbage", "Unknown image file format"),
        (IMAGE[:30], "Invalid PNG"),
        (PNG_HEADER, "Invalid PNG"),
        (b"\xff\xd8\xff" + b"\0" * 100, "Invalid JPEG"),
        (b"GIF89a\xff\xff\xff\xff", "Invalid GIF"),
        (b"RIFF\xff\xff\xff\xffWEBPVP8 ", "WebP"),
    ],
)
def test_images_that_are_none(channel: grpc.Channel, image: bytes, word: str) -> None:
    with pytest.raises(grpc.RpcError, match=r"StatusCode\.INVALID_ARGUMENT") as refusal:
        predict(channel, request({"image": [IMAGE, image]}, "embed"))
    assert word.lower() in refusal.value.details().lower()
    (brightness,) = tf.make_ndarray(predict(channel, request({"image": [IMAGE]}, "embed")).outputs["brightness"])
    assert brightness == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("name", "text", "output", "expected"),
    [
        # Too few values: the last one is repeated, as TensorProto's documentation says. Too many: the first ones count.
        ("item_id", f"dtype: DT_INT64 {PAIR} int64_val: 7", "score", [16.0, 5.5]),
        ("item_id", f"dtype: DT_INT64 {PAIR} int64_val: [7, 8, 9]", "score", SCORE),
        ("category", f"dtype: DT_STRING {PAIR} string_val: 'a'", "category", [b"A", b"A"]),
        ("category", f"dtype: DT_STRING {PAIR}", "category", [b"", b""]),
        ("item_id", f"dtype: DT_INT64 version_number: 77 {PAIR} int64_val: [7, 8]", "score", SCORE),
        ("weight", f"dtype: DT_FLOAT {PAIR} float_val: [nan, inf]", "score", [np.nan, np.inf]),
    ],
)
def test_what_tensorflow_takes(channel: grpc.Channel, name: str, text: str, output: str, expected: list[Any]) -> None:
    message = request()
    message.inputs[name].CopyFrom(tensor(text))
    found = tf.make_ndarray(predict(channel, message).outputs[output])
    np.testing.assert_array_equal(found, np.array(expected, found.dtype))


def test_half_values_are_the_lower_bits_of_integers(channel: grpc.Channel) -> None:
    message = request({}, "half")
    # 0x3C00 is 1.0, 0xBE00 is -1.5; 0x13C00 has a bit too many, which TensorFlow drops.
    message.inputs["content"].CopyFrom(
        tensor("dtype: DT_HALF tensor_shape { dim { size: 2 } dim { size: 2 } } half_val: [15360, 48640, 80896, 0]")
    )
    np.testing.assert_array_equal(tf.make_ndarray(predict(channel, message).outputs["sum"]), [-0.5, 1.0])


@pytest.mark.parametrize("data", [b"\xff", b"\x0a\xff", b"\x12\x05\x0a\x03abc\x12", b"garbage"])
def test_bytes_that_are_no_message(channel: grpc.Channel, data: bytes) -> None:
    # gRPC itself answers for a message that it cannot parse, before our code is asked; in TF Serving, too.
    with pytest.raises(grpc.RpcError, match=r"StatusCode\.INTERNAL") as refusal:
        channel.unary_unary(PREDICT)(data, timeout=60)
    assert refusal.value.details() == "Exception deserializing request!"
    check_good_requests(channel)


def test_a_message_over_the_limit(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = dict(server_module._OPTIONS) | {"grpc.max_receive_message_length": 2**16}
    monkeypatch.setattr(server_module, "_OPTIONS", tuple(options.items()))
    with Server(folder, port=0) as server, grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        with pytest.raises(grpc.RpcError, match=r"StatusCode\.RESOURCE_EXHAUSTED") as refusal:
            predict(channel, request(INPUTS | {"history_item_id": np.zeros(2**14, np.int64)}))
        assert "larger than max" in refusal.value.details()
        check_good_requests(channel)


def test_a_bad_request_spoils_none_that_it_is_joined_with(folder: Path) -> None:
    batching = BatchingParameters(max_batch_size=64, batch_timeout_micros=200_000)
    with (
        Server(folder, port=0, batching=batching) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        images = [[IMAGE], [b"garbage"], [IMAGE, IMAGE]]
        calls = [stub.Predict.future(request({"image": image}, "embed"), timeout=60) for image in images]
        with pytest.raises(grpc.RpcError, match="Unknown image file format"):
            calls[1].result()
        for call, image in ((calls[0], images[0]), (calls[2], images[2])):
            brightness = tf.make_ndarray(call.result().outputs["brightness"])
            np.testing.assert_allclose(brightness, [0.2] * len(image), rtol=1e-5)


# --- over REST -------------------------------------------------------------------------------------------------------

ROWS = {
    "inputs": {
        "item_id": [7, 8],
        "category": ["mug", "dress"],
        "history_item_id": [7, 8, 8],
        "history_length": [2, 1],
        "weight": [1, 0.5],
    }
}
ANSWER = {"outputs": {"category": ["MUG", "DRESS"], "score": SCORE}}
RANKER = "/v1/models/ranker:predict"


def post(server: Server, path: str, body: Any) -> tuple[int, Any]:
    client = http.client.HTTPConnection("127.0.0.1", server.rest_port or 0, timeout=60)
    try:
        client.request("POST", path, body if isinstance(body, bytes) else json.dumps(body))
        response = client.getresponse()
        return response.status, json.loads(response.read())
    finally:
        client.close()


def changed(**inputs: Any) -> Any:
    """The good request with other inputs; None leaves one out."""
    given = {name: value for name, value in (ROWS["inputs"] | inputs).items() if value is not None}
    return {"inputs": given}


# Path, body, status, a part of the message.
REST: list[tuple[str, Any, int, str]] = [
    (RANKER, changed(item_id=[7.0, 8.0]), 400, "input must be item_id: int64 [?]. Received: 7.0."),
    (RANKER, changed(item_id=["7", "8"]), 400, "input must be item_id: int64 [?]. Received: '7'."),
    (RANKER, changed(category=[1, 2]), 400, "input must be category: string [?]. Received: 1."),
    (RANKER, changed(item_id=[[7, 8]]), 400, "input must be item_id: int64 [?]. Received: shape [1, 2]."),
    (RANKER, changed(item_id=[[7, 8], [7]]), 400, "1 values where the first list of dimension 1 has 2 values"),
    (RANKER, changed(weight=None), 400, "Missing but required: weight"),
    (RANKER, changed(page=1), 400, "Sent extra: page"),
    (RANKER, changed(item_id=[-1, 7]), 400, "empty_key"),
    (RANKER, changed(history_length=[-1, 4]), 400, "Condition x >= 0 did not hold"),
    (RANKER, changed(history_length=[2**63, 1]), 400, "an integer that does not fit into int64"),
    (RANKER, changed(weight=[1e39, 1]), 400, "a number that does not fit into float32"),
    (RANKER, {"signature_name": "explain", **ROWS}, 400, '"explain" not found'),
    (RANKER, {"signature_name": "embed", "instances": ["garbage"]}, 400, "Unknown image file format"),
    (RANKER, {"signature_name": "embed", "instances": [{"b64": "!"}]}, 400, "base64 that cannot be decoded"),
    (RANKER, {"signature_name": "half", "instances": [[1.0, 2.0]]}, 501, "Conversion of JSON to content: float16"),
    (RANKER, {"instances": [{"item_id": 7}]}, 400, "instance 0 must have exactly the inputs"),
    (RANKER, b"garbage", 400, "JSON Parse error"),
    (RANKER, b"\xff", 400, "JSON Parse error"),
    (RANKER, b"", 400, "The document is empty"),
    (RANKER, b"[" * 100_000, 400, "nested too deep"),
    ("/v1/models/nobody:predict", ROWS, 404, "Servable not found for request: Latest(nobody)"),
    ("/v1/models/ranker/versions/2:predict", ROWS, 404, "Specific(ranker, 2)"),
    ("/v1/models/ranker/labels/best:predict", ROWS, 400, "Unrecognized servable version label: best"),
    ("/v1/models/ranker:classify", {"examples": [{}]}, 501, "`classify` is not implemented"),
    ("/v1/models/..%2franker:predict", ROWS, 404, "Latest(../ranker)"),
    ("/ranker", ROWS, 404, "Not found"),
]


@pytest.mark.parametrize(("path", "body", "status", "word"), REST)
def test_a_bad_request_over_rest(server: Server, path: str, body: Any, status: int, word: str) -> None:
    found, answer = post(server, path, body)
    assert (found, set(answer)) == (status, {"error"}), answer
    assert word in answer["error"]
    assert post(server, RANKER, ROWS) == (200, ANSWER)


def test_nan_over_rest(server: Server) -> None:
    status, answer = post(server, RANKER, changed(weight=[float("nan"), float("-inf")]))
    assert status == 200
    np.testing.assert_array_equal(answer["outputs"]["score"], [np.nan, -np.inf])


def test_a_gigabyte_that_is_only_declared(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.rest_port or 0), timeout=60) as connection:
        connection.sendall(b"POST %s HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (RANKER.encode(), 2**30))
        received = b"".join(iter(lambda: connection.recv(2**16), b""))
    assert received.startswith(b"HTTP/1.1 413 ")
    assert b"the body must have at most" in received
    assert post(server, RANKER, ROWS) == (200, ANSWER)
