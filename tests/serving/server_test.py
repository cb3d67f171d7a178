"""The server as a whole: its port, its models, many requests at once."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from mim_tf.errors import ServingError
from mim_tf.serving.client import Client
from mim_tf.serving.server import Server


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
