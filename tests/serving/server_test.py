"""The server as a whole: its port, its models, many requests at once, new versions meanwhile."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest
from tensorflow_serving.apis import get_model_status_pb2, model_pb2, model_service_pb2_grpc

from mim_tf.errors import ServingError
from mim_tf.serving.client import Client
from mim_tf.serving.server import Server
from tests.serving.conftest import BIG
from tests.serving.publishing import publish, wait_until


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
        Client(f"127.0.0.1:{port}", timeout=1) as client,
        pytest.raises(ServingError, match=f"UNAVAILABLE.*Is the server running at 127.0.0.1:{port}"),
    ):
        client.model_status("ranker")
    with Server(models, port=port):
        pass


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
