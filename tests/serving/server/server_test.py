"""The server as a whole: its port, its models, many requests at once, new versions meanwhile."""

import json
import socket
import threading
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from prometheus_client.parser import text_string_to_metric_families
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from mim_tf.errors import ServingError
from mim_tf.serving.client import Client
from mim_tf.serving.server import ModelConfigFile, Server
from mim_tf.serving.server import server as server_module
from mim_tf.serving.server.batch import Tensors
from mim_tf.serving.server.batching_parameters import BatchingParameters
from mim_tf.serving.server.servable import Servable
from tests.serving.conftest import BIG
from tests.serving.publishing import bring_along, exists, publish, wait_until, warmup_record


def test_serves_every_model_in_its_highest_version(server: Server, address: str) -> None:
    assert server.versions == {"other": 3, "ranker": 10}
    with Client(address) as client:
        embeddings = {
            model: client.predict(model, {"item_id": [7]}, signature="lookup")["embedding"] for model in server.versions
        }
    np.testing.assert_array_equal(embeddings["ranker"], [[1.0, 2.0]])
    np.testing.assert_array_equal(embeddings["other"], [[100.0, 200.0]])


def test_a_port_in_use_is_refused_rather_than_shared(server: Server, models: Path) -> None:
    second = Server(models, port=server.port)
    with pytest.raises(ServingError, match=rf"Cannot listen on 127\.0\.0\.1:{server.port}: .* choose another port"):
        second.start()


def test_a_started_server_is_not_started_again(server: Server) -> None:
    with pytest.raises(RuntimeError, match="already listening"):
        server.start()


def test_a_stopped_server_answers_no_more_and_frees_its_port(models: Path) -> None:
    server = Server(models, port=0)
    server.stop()  # before the start: nothing to do
    server.start()
    port = server.port
    server.stop()
    with (
        Client(f"127.0.0.1:{port}", timeout=60) as client,
        pytest.raises(ServingError, match=f"UNAVAILABLE.*Is the server running at 127.0.0.1:{port}"),
    ):
        client.model_status("ranker")
    with Server(models, port=port):
        pass


def test_a_stopped_server_can_be_started_again_and_a_closed_one_cannot(folder: Path, tables: list[tf.Tensor]) -> None:
    server = Server(folder.parent, port=0)
    for _ in range(2):
        server.start()
        with Client(f"127.0.0.1:{server.port}", timeout=30) as client:
            answer = client.predict("ranker", {"item_id": [7]}, signature="lookup")
        np.testing.assert_array_equal(answer["embedding"], [[1.0, 2.0]])
        server.stop()
    assert [exists(table) for table in tables] == [True]
    server.close()
    assert [exists(table) for table in tables] == [False]
    with pytest.raises(RuntimeError, match="The server is closed"):
        server.start()


def test_the_end_of_the_block_unloads_replaced_versions_too(folder: Path, new: Path, tables: list[tf.Tensor]) -> None:
    with (
        Server(folder.parent, port=0, poll_seconds=0.01) as server,
        Client(f"127.0.0.1:{server.port}", timeout=60) as client,
    ):
        publish(new, folder / "2")
        wait_until(lambda: client.model_status("ranker") == {1: "END", 2: "AVAILABLE"})
    assert [exists(table) for table in tables] == [False, False]


def test_stop_waits_for_joined_requests_no_longer_than_its_grace(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started, go, ended = threading.Event(), threading.Event(), threading.Event()

    def blocked(servable: Servable, signature_name: str, tensors: Tensors) -> Tensors:
        started.set()
        go.wait(60)
        ended.set()
        return tensors

    with (
        Server(models, port=0, poll_seconds=None, batching=BatchingParameters(1)) as server,
        Client(f"127.0.0.1:{server.port}", timeout=60) as client,
        ThreadPoolExecutor(1) as threads,
    ):
        monkeypatch.setattr(Servable, "run", blocked)
        running = threads.submit(client.predict, "ranker", {"item_id": [7]}, signature="lookup")
        assert started.wait(60)
        server.stop(grace=0.1)
        assert not ended.is_set()
        with pytest.raises(ServingError, match=r"CANCELLED|UNAVAILABLE"):
            running.result()
        go.set()


def test_parallel_requests_get_their_own_answers(address: str) -> None:
    def ask(seed: int) -> None:
        known = np.random.default_rng(seed).random(200) < 0.5
        answer = client.predict("ranker", {"item_id": np.where(known, 7, seed + 100)}, signature="lookup")
        np.testing.assert_array_equal(answer["embedding"], np.outer(known, [1.0, 2.0]))

    with Client(address) as client, ThreadPoolExecutor(8) as threads:
        list(threads.map(ask, range(200)))


def test_messages_of_20_mb_pass_both_ways(address: str) -> None:
    ids = np.arange(2_600_000) + 2**60  # 8 bytes each
    with Client(address, timeout=30) as client:
        answer = client.predict("ranker", {"item_id": ids}, signature="lookup")
    np.testing.assert_array_equal(answer["item_id"], ids)
    assert answer["embedding"].nbytes > 20_000_000


def test_a_new_version_takes_over_between_two_requests(folder: Path, new: Path) -> None:
    """Every request is answered, and by none of the threads the old version is met after the new one."""
    finished = threading.Event()
    scales: list[list[float]] = [[] for _ in range(4)]  # of the answers, by thread

    def ask(seen: list[float]) -> None:
        while not finished.is_set():
            answer = client.predict("ranker", {"item_id": [7, BIG]}, signature="lookup")["embedding"]
            np.testing.assert_array_equal(answer, answer[0, 0] * np.array([[1, 2], [3, 4]]))
            seen.append(float(answer[0, 0]))

    with (
        Server(folder.parent, port=0, poll_seconds=0.01) as server,
        Client(f"127.0.0.1:{server.port}", timeout=60) as client,
        ThreadPoolExecutor(4) as threads,
    ):
        running = [threads.submit(ask, seen) for seen in scales]
        try:
            wait_until(lambda: all(scales))
            publish(new, folder / "2")
            wait_until(lambda: client.model_status("ranker") == {1: "END", 2: "AVAILABLE"})
            wait_until(lambda: all(seen[-1] == 100.0 for seen in scales))
        finally:
            finished.set()
        for thread in running:
            thread.result()  # raises what the thread met
        with pytest.raises(ServingError, match=r"NOT_FOUND: Servable not found for request: Specific\(ranker, 1\)"):
            client.predict("ranker", {"item_id": [7]}, signature="lookup", version=1)
    for seen in scales:
        assert seen == sorted(seen)
        assert set(seen) == {1.0, 100.0}


def test_a_request_under_way_ends_on_the_version_it_began_with(folder: Path, new: Path, tmp_path: Path) -> None:
    with (
        Server(folder.parent, port=0, poll_seconds=0.01) as server,
        Client(f"127.0.0.1:{server.port}", timeout=60) as client,
        ThreadPoolExecutor(1) as threads,
    ):
        running = threads.submit(client.predict, "ranker", {"folder": str(tmp_path)}, signature="wait", version=1)
        wait_until((tmp_path / "started").exists)
        publish(new, folder / "2")
        wait_until(lambda: client.model_status("ranker") == {1: "UNLOADING", 2: "AVAILABLE"})
        answer = client.predict("ranker", {"item_id": [7]}, signature="lookup")["embedding"]
        np.testing.assert_array_equal(answer, [[100.0, 200.0]])
        assert server.versions == {"ranker": 2}
        assert not running.done()

        (tmp_path / "go").touch()
        assert running.result()["polls"] > 0
        wait_until(lambda: client.model_status("ranker") == {1: "END", 2: "AVAILABLE"})


def test_a_failed_version_is_told_with_its_error(folder: Path) -> None:
    request = get_model_status_pb2.GetModelStatusRequest(model_spec=model_pb2.ModelSpec(name="ranker"))
    with (
        Server(folder.parent, port=0, poll_seconds=0.01) as server,
        Client(f"127.0.0.1:{server.port}") as client,
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        (folder / "2").mkdir()
        wait_until(lambda: client.model_status("ranker") == {1: "AVAILABLE", 2: "END"})
        failed, served = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(request).model_version_status
    assert (failed.version, failed.status.error_code) == (2, 5)  # NOT_FOUND
    assert f'model "ranker" version 2 cannot be loaded from {folder / "2"}' in failed.status.error_message
    assert (served.version, served.status.error_code) == (1, 0)


def watchers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "serving-watcher"]


def test_stop_ends_the_watcher_and_start_begins_anew(folder: Path, new: Path) -> None:
    running = set(watchers())  # of other tests' servers
    server = Server(folder.parent, port=0, poll_seconds=0.01)
    for version in (2, 3):
        server.start()
        assert len(set(watchers()) - running) == 1
        publish(new, folder / str(version))
        wait_until(lambda version=version: server.versions == {"ranker": version})
        server.stop()
        assert set(watchers()) <= running


@pytest.mark.parametrize("poll_seconds", [None, 0, 0.0])
def test_a_server_that_does_not_look_has_no_watcher(folder: Path, poll_seconds: float | None) -> None:
    running = set(watchers())
    with Server(folder.parent, port=0, poll_seconds=poll_seconds):
        assert set(watchers()) <= running


@pytest.mark.parametrize("poll_seconds", [-1.0, float("nan"), float("inf"), 1e12])
def test_a_pause_that_cannot_be(models: Path, poll_seconds: float) -> None:
    with pytest.raises(ValueError, match=rf"`poll_seconds` must be 0 or more seconds.*Received: {poll_seconds}\."):
        Server(models, poll_seconds=poll_seconds)


def rest(server: Server, path: str, body: str | None = None) -> str:
    url = f"http://127.0.0.1:{server.rest_port}{path}"
    with urllib.request.urlopen(url, body.encode() if body is not None else None, timeout=30) as response:
        return response.read().decode()


def samples(server: Server) -> dict[tuple[str, ...], float]:
    """What Prometheus reads: the value of each sample by its name and the values of its labels."""
    families = text_string_to_metric_families(rest(server, "/metrics"))
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_requests_over_both_ports_are_counted(models: Path) -> None:
    with (
        Server(models, port=0, rest_port=0, metrics_path="/metrics", poll_seconds=None) as server,
        Client(f"127.0.0.1:{server.port}", timeout=30) as client,
    ):
        for _ in range(2):
            client.predict("ranker", {"item_id": [7]}, signature="lookup")
        with pytest.raises(ServingError, match="INVALID_ARGUMENT"):
            client.predict("ranker", {"item_id": [7.5]}, signature="lookup")
        answer = rest(server, "/v1/models/ranker:predict", '{"signature_name": "lookup", "inputs": {"item_id": [7]}}')
        assert json.loads(answer)["outputs"]["embedding"] == [[1.0, 2.0]]
        told = samples(server)
    assert told[":tensorflow:serving:request_count", "ranker", "OK"] == 3
    assert told[":tensorflow:serving:request_count", "ranker", "INVALID_ARGUMENT"] == 1
    assert told[":tensorflow:serving:request_latency_count", "Predict", "GRPC", "ranker"] == 2
    assert told[":tensorflow:serving:request_latency_count", "predict", "REST", "ranker"] == 1
    assert told[":tensorflow:serving:runtime_latency_count", "Predict", "ranker", "TF2"] == 3
    assert told[":tensorflow:cc:saved_model:load_attempt_count", str(models / "other" / "0003"), "success"] == 1


def test_without_a_path_nothing_is_told_to_prometheus(models: Path) -> None:
    with Server(models, port=0, rest_port=0, poll_seconds=None) as server:
        with pytest.raises(urllib.error.HTTPError, match="404"):
            rest(server, "/monitoring/prometheus/metrics")
        assert "AVAILABLE" in rest(server, "/v1/models/ranker")


def test_a_port_in_use_gives_back_the_other(server: Server, models: Path) -> None:
    second = Server(models, port=server.port, rest_port=0, poll_seconds=None)
    with pytest.raises(ServingError, match=rf"Cannot listen on 127\.0\.0\.1:{server.port}"):
        second.start()
    with pytest.raises(ConnectionRefusedError, match="refused"):
        socket.create_connection(("127.0.0.1", second.rest_port), timeout=60)


def test_a_rest_port_in_use_is_refused(server: Server, models: Path) -> None:
    second = Server(models, port=0, rest_port=server.port, poll_seconds=None)
    with pytest.raises(ServingError, match=rf"Cannot listen on 127\.0\.0\.1:{server.port}"):
        second.start()


@pytest.mark.parametrize("rest_port", [None, 0])
def test_after_the_end_no_port_is_open(folder: Path, rest_port: int | None) -> None:
    with Server(folder.parent, port=0, rest_port=rest_port, poll_seconds=None) as server:
        ports = [port for port in (server.port, server.rest_port) if port is not None]
    for port in ports:
        with pytest.raises(ConnectionRefusedError, match="refused"):
            socket.create_connection(("127.0.0.1", port), timeout=60)


def test_joined_requests_over_grpc_get_their_own_answers(models: Path) -> None:
    """Eight requests of 1 to 8 rows are 36: they would wait for a minute, were they not joined."""
    batching = BatchingParameters(36, 60_000_000)
    with (
        Server(models, port=0, poll_seconds=None, batching=batching) as server,
        Client(f"127.0.0.1:{server.port}", timeout=30) as client,
        ThreadPoolExecutor(8) as threads,
    ):
        asked = [np.where(np.arange(rows) % 2, 7, BIG) for rows in range(1, 9)]
        answers = list(threads.map(lambda ids: client.predict("ranker", {"item_id": ids}, signature="lookup"), asked))
        assert server.metrics.registry.get_sample_value(":tensorflow:serving:batching_session:wrapped_run_count") == 1
    for ids, answer in zip(asked, answers, strict=True):
        np.testing.assert_array_equal(answer["item_id"], ids)
        np.testing.assert_array_equal(answer["embedding"], np.where((ids == 7)[:, None], [[1, 2]], [[3, 4]]))


def test_warm_up_requests_are_joined_too(folder: Path, new: Path) -> None:
    """As in TF Serving, where a model whose requests the batching refuses is not loaded."""
    version = publish(new, folder / "aside")
    bring_along(version, warmup_record("lookup", item_id=np.arange(5)))
    version.rename(folder / "2")
    with Server(folder.parent, port=0, poll_seconds=None, batching=BatchingParameters(5)) as server:
        assert server.versions == {"ranker": 2}
    with pytest.raises(ServingError, match="warm-up record 1 failed: Task size 5 is larger than maximum"):
        Server(folder.parent, port=0, batching=BatchingParameters(4))


@pytest.mark.parametrize("max_waiting", [0, 1])
def test_while_all_threads_are_busy_so_many_wait_and_the_others_are_refused(
    models: Path, tmp_path: Path, max_waiting: int
) -> None:
    request = get_model_status_pb2.GetModelStatusRequest(model_spec=model_pb2.ModelSpec(name="ranker"))
    threads = server_module._THREADS
    with (
        Server(models, port=0, poll_seconds=None, max_waiting=max_waiting) as server,
        Client(f"127.0.0.1:{server.port}", timeout=60) as client,
        ThreadPoolExecutor(threads) as askers,
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        busy = [
            askers.submit(client.predict, "ranker", {"folder": str(tmp_path)}, signature="wait") for _ in range(threads)
        ]
        wait_until(lambda: under_way(server) == threads)
        one_more = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus.future(request, timeout=60)
        if not max_waiting:
            assert one_more.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        (tmp_path / "go").touch()
        assert all(answer.result()["polls"] > 0 for answer in busy)
        if max_waiting:
            assert one_more.result().model_version_status[0].version == 10


def under_way(server: Server) -> float | None:
    return server.metrics.registry.get_sample_value("mim_serving_requests_under_way")


def test_several_versions_and_labels_over_grpc(folder: Path, new: Path, tmp_path: Path) -> None:
    publish(new, folder / "2")
    config = tmp_path / "models.config"
    text = (
        f'model_config_list {{ config {{ name: "ranker" base_path: "{folder}" model_platform: "tensorflow" '
        'model_version_policy { all {} } version_labels { key: "stable" value: NUMBER } } }'
    )
    config.write_text(text.replace("NUMBER", "1"))
    with (
        Server(ModelConfigFile(config), port=0, poll_seconds=0.01) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        assert server.all_versions == {"ranker": [1, 2]}
        assert server.labels == {"ranker": {"stable": 1}}
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)

        def version(**choice: Any) -> int:
            spec = model_pb2.ModelSpec(name="ranker", signature_name="lookup", **choice)
            inputs = {"item_id": tf.make_tensor_proto(np.array([7]))}
            response = stub.Predict(predict_pb2.PredictRequest(model_spec=spec, inputs=inputs), timeout=30)
            scale = {1: 1.0, 2: 100.0}[response.model_spec.version.value]
            np.testing.assert_array_equal(tf.make_ndarray(response.outputs["embedding"]), [[scale, 2 * scale]])
            return response.model_spec.version.value

        assert [version(), version(version={"value": 1}), version(version_label="stable")] == [2, 1, 1]
        config.write_text(text.replace("NUMBER", "2"))
        wait_until(lambda: version(version_label="stable") == 2)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"max_waiting": -1}, r"`max_waiting` must be 0 or more\. Received: -1\."),
        ({"metrics_path": "/metrics"}, r"`metrics_path` must come with `rest_port`\. Received: /metrics\."),
    ],
)
def test_options_that_cannot_be(models: Path, options: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        Server(models, **options)
