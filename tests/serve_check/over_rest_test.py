"""Arrays in JSON as TF Serving's REST interface has them, and back."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from mim_tf.export.gate import Case
from mim_tf.serve_check.exported import Exported
from mim_tf.serve_check.over_rest import rest_answers


class Model(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "name"), tf.TensorSpec([None], tf.int64, "id")])
    def both(self, name: tf.Tensor, id: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"name": name, "wide": tf.zeros([tf.size(id), 2])}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, "id")])
    def one(self, id: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"double": tf.cast(id, tf.float64)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, "id")])
    def half(self, id: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"half": tf.cast(id, tf.float16)}


class Scripted(HTTPServer):
    """Answers with what it is told, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.answer: tuple[int, Any] = (200, None)
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, body))  # type: ignore[attr-defined]
        code, answer = self.server.answer  # type: ignore[attr-defined]
        self.send_response(code)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Scripted]:
    with Scripted() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model, folder = Model(), tmp_path_factory.mktemp("models") / "toy" / "1"
    signatures = {"both": model.both, "one": model.one, "half": model.half}
    tf.saved_model.save(model, str(folder), signatures=signatures)
    return folder


def test_strings_are_base64_and_integers_exact(server: Scripted, folder: Path) -> None:
    case = Case("both", {"name": np.array([b"\xff\x00", b"a"], object), "id": np.array([2**53 + 1, -1])}, {})
    server.answer = 200, {"outputs": {"name": [{"b64": "/wA="}, "ü"], "wide": [["NaN", 1.5], ["-Infinity", 0]]}}
    [result] = rest_answers(f"127.0.0.1:{server.server_port}", Exported(folder, [case]))
    inputs = {"name": [{"b64": "/wA="}, {"b64": "YQ=="}], "id": [9007199254740993, -1]}
    assert server.asked == [("/v1/models/toy:predict", {"signature_name": "both", "inputs": inputs})]
    assert result.outputs["name"].tolist() == [b"\xff\x00", "ü".encode()]
    np.testing.assert_array_equal(result.outputs["wide"], np.array([[np.nan, 1.5], [-np.inf, 0]], np.float32))


def test_a_single_output_has_no_name_and_no_rows_have_no_columns(server: Scripted, folder: Path) -> None:
    cases = [Case("one", {"id": np.array([1])}, {})], [Case("both", {}, {})]
    address = f"127.0.0.1:{server.server_port}"
    server.answer = 200, {"outputs": [1.0]}
    [result] = rest_answers(address, Exported(folder, cases[0]))
    assert result.outputs["double"].dtype == np.float64
    server.answer = 200, {"outputs": {"name": [], "wide": []}}
    [result] = rest_answers(address, Exported(folder, cases[1]))
    assert result.outputs["wide"].shape == (0, 2)


def test_half_precision_is_not_asked_for(server: Scripted, folder: Path) -> None:
    case = Case("half", {"id": np.array([1])}, {})
    assert rest_answers(f"127.0.0.1:{server.server_port}", Exported(folder, [case])) == [None]
    assert server.asked == []


def test_errors_are_results(server: Scripted, folder: Path) -> None:
    server.answer = 400, {"error": "no such input"}
    [result] = rest_answers(f"127.0.0.1:{server.server_port}", Exported(folder, [Case("one", {}, {})]))
    assert result.error == '400: {"error": "no such input"}'
    [result] = rest_answers("127.0.0.1:1", Exported(folder, [Case("one", {}, {})]))
    assert result.error.startswith("URLError")
