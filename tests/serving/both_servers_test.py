"""What must be alike of the stand-in and of TF Serving, where there is one: answers and refusals."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest

from mim_tf.errors import ServingError
from mim_tf.serve_check.model_server import Addresses, find_model_server, model_server, stand_in
from mim_tf.serving.client import Client
from tests.serving.conftest import BIG, Ranker

pytestmark = pytest.mark.slow

SERVERS = {"stand-in": stand_in, "TF Serving": model_server}


@pytest.fixture(scope="module", params=SERVERS)
def addresses(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Addresses]:
    if request.param == "TF Serving" and find_model_server() is None:
        pytest.skip("no tensorflow_model_server on the PATH or in TENSORFLOW_MODEL_SERVER")
    folder: Path = tmp_path_factory.mktemp("models")
    Ranker(scale=2.0).save(folder / "ranker" / "3")
    with SERVERS[request.param](folder) as addresses:
        yield addresses


@pytest.fixture
def client(addresses: Addresses) -> Iterator[Client]:
    with Client(addresses.grpc, timeout=30.0) as client:
        yield client


def test_an_answer_by_hand(client: Client) -> None:
    answer = client.predict("ranker", {"item_id": [7, BIG, 8]}, signature="lookup", version=3)
    np.testing.assert_array_equal(answer["embedding"], [[2, 4], [6, 8], [0, 0]])
    np.testing.assert_array_equal(answer["item_id"], [7, BIG, 8])
    assert client.model_status("ranker") == {3: "AVAILABLE"}
    assert str(client.signatures("ranker")["lookup"]).startswith("(item_id: int64 [?]) -> (embedding: float32 [?, 2]")


@pytest.mark.parametrize(
    ("model", "signature", "inputs", "code"),
    [
        ("nobody", "lookup", {"item_id": [7]}, "NOT_FOUND"),
        ("../ranker", "lookup", {"item_id": [7]}, "NOT_FOUND"),
        ("ranker", "embed", {"item_id": [7]}, "FAILED_PRECONDITION"),
        ("ranker", "lookup", {"item_id": ["7"]}, "INVALID_ARGUMENT"),
        ("ranker", "lookup", {}, "INVALID_ARGUMENT"),
        ("ranker", "lookup", {"item_id": [7], "user_id": [7]}, "INVALID_ARGUMENT"),
        ("ranker", "read", {"path": "/nowhere/at/all"}, "NOT_FOUND"),
    ],
)
def test_refusals(client: Client, model: str, signature: str, inputs: dict[str, list[object]], code: str) -> None:
    with pytest.raises(ServingError, match=code) as refused:
        client.predict(model, inputs, signature=signature)
    assert isinstance(refused.value.__cause__, grpc.RpcError)


def test_rest_in_rows_and_columns(addresses: Addresses) -> None:
    def post(body: object, path: str = "ranker:predict") -> object:
        request = urllib.request.Request(f"http://{addresses.rest}/v1/models/{path}", json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.load(response)

    rows = {"signature_name": "lookup", "instances": [{"item_id": 7}, {"item_id": BIG}]}
    assert post(rows) == {
        "predictions": [{"embedding": [2.0, 4.0], "item_id": 7}, {"embedding": [6.0, 8.0], "item_id": BIG}]
    }
    columns = {"signature_name": "lookup", "inputs": {"item_id": [7]}}
    assert post(columns) == {"outputs": {"embedding": [[2.0, 4.0]], "item_id": [7]}}
    for body, path in (({"instances": []}, "ranker:predict"), (rows, "nobody:predict")):
        with pytest.raises(urllib.error.HTTPError, match=r"HTTP Error 40[04]"):
            post(body, path)
