"""The REST API without HTTP, against the answers in TF Serving's documentation."""

import json
from typing import Any

import pytest

from mim_tf.serving.server.metrics import ServerMetrics
from mim_tf.serving.server.rest_api import RestApi
from tests.serving.rest_services import EchoPrediction, EchoStatus


@pytest.fixture
def api() -> RestApi:
    return RestApi(EchoPrediction(), EchoStatus(), metrics=ServerMetrics(), metrics_path="/metrics")  # type: ignore[arg-type]


def post(api: RestApi, path: str, document: Any) -> tuple[int, Any]:
    answer = api.answer("POST", path, json.dumps(document).encode())
    assert answer.content_type == "application/json"
    return answer.status, json.loads(answer.body)


@pytest.mark.parametrize("path", ["/v1/models/echo", "/v1/models/echo/versions/3", "/v1/models/echo/labels/stable"])
def test_predict_in_rows_and_columns(api: RestApi, path: str) -> None:
    assert post(api, f"{path}:predict", {"instances": [7, 2**53 + 1]}) == (200, {"predictions": [7, 2**53 + 1]})
    assert post(api, f"{path}:predict", {"inputs": {"item_id": []}}) == (200, {"outputs": []})


def test_the_status_of_a_model_as_documented(api: RestApi) -> None:
    answer = api.answer("GET", "/v1/models/echo", b"")
    assert answer.status == 200
    assert json.loads(answer.body) == {
        "model_version_status": [
            {"version": "3", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
        ]
    }


def test_the_metadata_of_a_model(api: RestApi) -> None:
    found = json.loads(api.answer("GET", "/v1/models/echo/metadata", b"").body)
    assert found["model_spec"] == {"name": "echo", "signature_name": "", "version": "3"}
    # As TF Serving writes it: `signature_def` twice, enums by their names, int64 as strings, fields that are not set.
    assert found["metadata"]["signature_def"]["signature_def"]["serving_default"]["inputs"] == {
        "item_id": {"dtype": "DT_INT64", "tensor_shape": {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False}}
    }


@pytest.mark.parametrize(
    ("path", "document", "status", "word"),
    [
        ("/v1/models/nobody:predict", {"instances": [1]}, 404, "Servable not found for request: nobody"),
        ("/v1/models/echo/versions/4:predict", {"instances": [1]}, 404, "Servable not found"),
        ("/v1/models/%2e%2e%2fecho:predict", {"instances": [1]}, 404, "Servable not found for request: ../echo"),
        ("/v1/models/echo:predict", {"signature_name": "rank"}, 400, 'Serving signature name: "rank" not found'),
        ("/v1/models/echo:predict", {"signature_name": "\ud800"}, 400, 'signature name: "\ud800" not found'),
        ("/v1/models/echo:predict", {"signature_name": 1}, 400, "'signature_name' key must be a string value."),
        ("/v1/models/echo:predict", {"signature_name": None}, 400, "'signature_name' key must be a string value."),
        ("/v1/models/echo:predict", {"inputs": {"item_id": [1.5]}}, 400, "input must be item_id: int64 [?]"),
        ("/v1/models/echo:predict", [], 400, "the request must be a JSON object"),
        ("/v1/models/echo:classify", {"examples": [{}]}, 501, "`classify` is not implemented by the stand-in"),
        ("/v1/models/echo:regress", {"examples": [{}]}, 501, "`regress` is not implemented"),
        ("/v1/models/echo", {}, 400, "Malformed request: POST /v1/models/echo"),
        ("/metrics", {}, 404, "Not found: POST /metrics"),
        ("/v1/" + "x" * 60_000, {}, 400, "... (shortened)"),
    ],
)
def test_errors(api: RestApi, path: str, document: Any, status: int, word: str) -> None:
    found, body = post(api, path, document)
    assert found == status
    assert set(body) == {"error"}
    assert word in body["error"]
    assert len(body["error"]) < 1100


# gRPC's codes, from gRPC's documentation, and HTTP's, from TF Serving's http_server.cc.
@pytest.mark.parametrize(
    ("code", "status"),
    [
        (1, 499),
        (2, 500),
        (3, 400),
        (4, 504),
        (5, 404),
        (6, 409),
        (7, 403),
        (8, 429),
        (9, 400),
        (10, 409),
        (11, 400),
        (12, 501),
        (13, 500),
        (14, 503),
        (15, 500),
        (16, 401),
    ],
)
def test_the_status_of_each_code(api: RestApi, code: int, status: int) -> None:
    request = {"signature_name": "fail", "inputs": code}
    assert post(api, "/v1/models/echo:predict", request) == (status, {"error": "as asked for"})


def test_a_defect_is_a_500_that_tells_nothing(api: RestApi, caplog: pytest.LogCaptureFixture) -> None:
    status, body = post(api, "/v1/models/echo:predict", {"signature_name": "fail", "inputs": 0})
    assert (status, body) == (500, {"error": "internal error; the server's log has more"})
    assert "KeyError: 'bug'" in caplog.text


def test_the_page_of_prometheus(api: RestApi) -> None:
    answer = api.answer("GET", "/metrics", b"")
    assert (answer.status, answer.content_type) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert b"# TYPE :tensorflow:serving:request_latency histogram" in answer.body


def test_without_metrics_there_is_no_such_page() -> None:
    api = RestApi(EchoPrediction(), EchoStatus(), metrics=None, metrics_path="/metrics")  # type: ignore[arg-type]
    assert api.answer("GET", "/metrics", b"").status == 404
