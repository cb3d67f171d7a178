"""The client against the stand-in."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf

from mim_tf.errors import ServingError
from mim_tf.serving.client import Client
from mim_tf.serving.server import Server
from tests.free_ports import free_ports
from tests.serving.scripted import Scripted, serving

BIG = 2**53 + 1


@pytest.fixture(scope="module")
def client(address: str) -> Iterator[Client]:
    with Client(address) as client:
        yield client


@pytest.fixture
def free_port() -> int:
    return free_ports(1)[0]


def test_predict_returns_every_output_as_an_array(client: Client, rows: dict[str, np.ndarray]) -> None:
    answer = client.predict("ranker", rows)
    assert sorted(answer) == ["query", "score"]
    np.testing.assert_array_equal(answer["score"], np.array([10.0, 14.0], np.float32))
    assert answer["score"].dtype == np.float32
    assert list(answer["query"]) == [b"red!", "schön!".encode()]


def test_signature_version_and_outputs_may_be_chosen(client: Client) -> None:
    answer = client.predict("ranker", {"item_id": [7]}, signature="lookup", version=10, outputs=["embedding"])
    np.testing.assert_array_equal(answer.pop("embedding"), [[1.0, 2.0]])
    assert not answer


@pytest.mark.parametrize("ids", [[BIG, BIG - 1], np.array([BIG, BIG - 1]), tf.constant([BIG, BIG - 1], tf.int64)])
def test_ids_never_pass_through_floats(client: Client, ids: Any) -> None:
    answer = client.predict("ranker", {"item_id": ids}, signature="lookup")
    assert answer["item_id"].dtype == np.int64
    assert answer["item_id"].tolist() == [BIG, BIG - 1]
    np.testing.assert_array_equal(answer["embedding"], [[3.0, 4.0], [0.0, 0.0]])


@pytest.mark.parametrize("rows", [0, 1])
def test_few_rows(client: Client, rows: int) -> None:
    inputs = {"history": np.full([rows, 3], 7), "query": np.full([rows], b"", object)}
    answer = client.predict("ranker", inputs)
    assert answer["score"].tolist() == [9.0] * rows
    assert answer["query"].tolist() == [b"!"] * rows


@pytest.mark.parametrize("query", [["a\0", "ü"], [b"a\0", "ü".encode()], np.array(["a\0", "ü"], object)])
def test_strings_arrive_whole(client: Client, query: Any) -> None:
    answer = client.predict("ranker", {"history": [[7, 7, 7]] * 2, "query": query}, outputs=["query"])
    assert answer["query"].tolist() == [b"a\0!", "ü!".encode()]


@pytest.mark.parametrize(
    ("value", "received"),
    [([1.5], "float32"), (np.array([1.5]), "float64"), ([True], "bool"), (np.array([1], np.int32), "int32")],
)
def test_dtypes_are_kept_and_python_floats_are_float32(client: Client, value: Any, received: str) -> None:
    with pytest.raises(ServingError, match=rf"input must be item_id: int64 \[\?\]\. Received: {received}\."):
        client.predict("ranker", {"item_id": value}, signature="lookup")


@pytest.mark.parametrize("value", [[[1], [1, 2]], [None], [2**70], [object()]])
def test_an_input_that_is_no_array_is_named(client: Client, value: Any) -> None:
    with pytest.raises(ValueError, match=r'`inputs\["item_id"\]` must be an array of numbers or strings'):
        client.predict("ranker", {"item_id": value}, signature="lookup")


def test_signatures_are_listed_with_dtypes_and_shapes(client: Client) -> None:
    signatures = client.signatures("ranker")
    assert sorted(signatures) == ["lookup", "predict", "read", "serving_default", "wait"]
    assert signatures["predict"].inputs == {
        "history": tf.TensorSpec([None, 3], tf.int64, "history"),
        "query": tf.TensorSpec([None], tf.string, "query"),
    }
    assert str(signatures["lookup"]) == "(item_id: int64 [?]) -> (embedding: float32 [?, 2], item_id: int64 [?])"


def test_status(client: Client) -> None:
    assert client.model_status("ranker") == {10: "AVAILABLE"}


@pytest.mark.parametrize(
    ("model", "inputs", "match"),
    [
        ("nobody", {}, r'model "nobody" at 127.*NOT_FOUND: Servable not found.*Is a model of that name and version in'),
        ("ranker", {}, r'model "ranker" at 127.*INVALID_ARGUMENT: input size.*Client\.signatures\("ranker"\) shows'),
    ],
)
def test_errors_name_model_address_code_and_remedy(
    client: Client, model: str, inputs: dict[str, Any], match: str
) -> None:
    with pytest.raises(ServingError, match=match) as failure:
        client.predict(model, inputs)
    assert isinstance(failure.value.__cause__, grpc.RpcError)


def test_an_unknown_signature_names_the_remedy(client: Client) -> None:
    with pytest.raises(ServingError, match=r'FAILED_PRECONDITION: Serving signature key "rank".*Client\.signatures'):
        client.predict("ranker", {"item_id": [7]}, signature="rank")


def test_a_late_answer_names_the_timeout(address: str, tmp_path: Path) -> None:
    try:
        with (
            Client(address, timeout=0.2) as client,
            pytest.raises(ServingError, match=r"DEADLINE_EXCEEDED.*No answer within 0\.2 s: raise `timeout`"),
        ):
            client.predict("ranker", {"folder": str(tmp_path)}, signature="wait")
    finally:
        (tmp_path / "go").touch()  # the server computes on, as TF Serving does


def test_a_version_is_asked_for_by_number_or_label() -> None:
    script = Scripted()
    with serving(script) as address, Client(address, timeout=60) as client:
        client.predict("m", {"x": 7}, version=3)
        client.predict("m", {"x": 7}, label="canary")
        client.predict("m", {"x": 7})
        with pytest.raises(ValueError, match=r"`version` and `label` must not both .* Received: 3 and 'canary'\."):
            client.predict("m", {"x": 7}, version=3, label="canary")
        with pytest.raises(ValueError, match=r"`version` and `label` must not both .* Received: 0 and 'a'\."):
            client.signatures("m", version=0, label="a")
    choices = [request.model_spec.WhichOneof("version_choice") for request in script.requests]
    assert choices == ["version", "version_label", None]
    assert [script.requests[0].model_spec.version.value, script.requests[1].model_spec.version_label] == [3, "canary"]


def test_signatures_of_a_version(client: Client) -> None:
    assert client.signatures("ranker", version=10) == client.signatures("ranker")
    with pytest.raises(ServingError, match=r"NOT_FOUND"):
        client.signatures("ranker", version=11)


def test_a_call_may_have_a_timeout_of_its_own() -> None:
    done = threading.Event()
    with serving(Scripted(done.wait)) as address, Client(address, timeout=60) as client:
        try:
            with pytest.raises(ServingError, match=r"DEADLINE_EXCEEDED.*No answer within 0\.2 s: raise `timeout`"):
                client.predict("m", {"x": 7}, timeout=0.2)
        finally:
            done.set()


def test_a_server_that_dies_and_comes_back_is_found_again(free_port: int) -> None:
    """Calls go on through a restart: the second server is there before the attempts are over."""
    with Client(f"127.0.0.1:{free_port}", timeout=60, attempts=20) as client:
        with serving(Scripted(), port=free_port):
            assert client.predict("m", {"x": 7})["x"] == 7
        answer: list[Any] = []
        asking = threading.Thread(target=lambda: answer.append(client.predict("m", {"x": 8})["x"]))
        asking.start()
        time.sleep(0.3)
        assert not answer
        with serving(Scripted(), port=free_port):
            asking.join()
    assert answer == [8]


def test_closing_ends_a_call() -> None:
    began, done = threading.Event(), threading.Event()
    with serving(Scripted(lambda: (began.set(), done.wait(60)))) as address, ThreadPoolExecutor(1) as thread:
        client = Client(address, timeout=60)
        answer = thread.submit(client.predict, "m", {"x": 7})
        began.wait(60)
        client.close()
        try:
            with pytest.raises(ServingError, match=r"CANCELLED: .* The client was closed meanwhile, or the server st"):
                answer.result()
        finally:
            done.set()


def test_a_closed_client_says_so() -> None:
    client = Client("127.0.0.1:1")
    client.close()
    with pytest.raises(ServingError, match=r'model "m" at 127\.0\.0\.1:1: the client is closed\. Make another one\.'):
        client.predict("m", {"x": 7})


def test_waiting_ends_when_the_server_comes_up(models: Path, free_port: int) -> None:
    server = Server(models, port=free_port)
    late = threading.Timer(0.5, server.start)
    late.start()
    try:
        with Client(f"127.0.0.1:{free_port}", timeout=1) as client:
            assert client.wait_until_ready("ranker", timeout=60) == 10
    finally:
        late.join()
        server.stop()


def test_waiting_gives_up_and_says_why(client: Client, free_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mim_tf.serving.client.attempts._POLL", 0.5)  # also what the last look has at least
    start = time.monotonic()
    with (
        Client(f"127.0.0.1:{free_port}") as nobody,
        pytest.raises(ServingError, match=r'model "ranker" was not ready within 1 s: .*UNAVAILABLE'),
    ):
        nobody.wait_until_ready("ranker", timeout=1)
    with pytest.raises(ServingError, match=r"not ready within 1 s: .*Could not find any versions of model nobody"):
        client.wait_until_ready("nobody", timeout=1)
    assert time.monotonic() - start >= 2 * (1 - 0.5)  # it gives up where the next look, 0.5 s later, would be too late
