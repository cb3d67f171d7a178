"""A version change of the load test: a copy is published, served, and gone at the end."""

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mim_tf.errors import ServingError
from mim_tf.serving.client import Client
from mim_tf.serving.load.reload import Reload
from mim_tf.serving.server import Server
from tests.serving.publishing import publish, wait_until


@pytest.fixture
def client(folder: Path) -> Iterator[Client]:
    with (
        Server(folder.parent, port=0, poll_seconds=0.01) as server,
        Client(f"127.0.0.1:{server.port}", timeout=60) as client,
    ):
        yield client


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_copy_is_served_and_taken_away(client: Client, folder: Path) -> None:
    with Reload(client, folder.parent, "ranker") as reload:
        notes = reload.publish(threading.Event())
        assert client.model_status("ranker")[2] == "AVAILABLE"
        answer = client.predict("ranker", {"item_id": [7]}, signature="lookup", version=2)["embedding"]
        np.testing.assert_array_equal(answer, [[1.0, 2.0]])
        assert set(notes) == {"copy_seconds", "load_seconds"}
        assert min(notes.values()) > 0
    assert names(folder) == ["1"]
    assert client.model_status("ranker")[1] == "AVAILABLE"
    client.predict("ranker", {"item_id": [7]}, signature="lookup", version=1)


def test_nothing_happens_where_nothing_is_published(client: Client, folder: Path) -> None:
    with Reload(client, folder.parent, "ranker"):
        assert names(folder) == ["1"]
    assert names(folder) == ["1"]


def test_a_folder_that_is_not_served_is_refused(client: Client, old: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere" / "ranker"
    elsewhere.mkdir(parents=True)
    publish(old, elsewhere / "9")
    with (
        Reload(client, elsewhere.parent, "ranker") as reload,
        pytest.raises(ServingError, match=r"must be the folder that the server serves, whose highest version is 9"),
    ):
        reload.publish(threading.Event())
    assert names(elsewhere) == ["9"]


def test_a_run_that_is_stopped_takes_it_away(client: Client, folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt), Reload(client, folder.parent, "ranker") as reload:  # noqa: PT012
        reload.publish(threading.Event())
        raise KeyboardInterrupt
    assert names(folder) == ["1"]


def test_a_version_that_somebody_else_published_is_left_alone(client: Client, folder: Path, new: Path) -> None:
    with Reload(client, folder.parent, "ranker") as reload:
        publish(new, folder / "2")
        with pytest.raises(OSError, match="not empty"):
            reload.publish(threading.Event())
    assert names(folder) == ["1", "2"]
    wait_until(lambda: client.model_status("ranker").get(2) == "AVAILABLE")
    answer = client.predict("ranker", {"item_id": [7]}, signature="lookup")["embedding"]
    np.testing.assert_array_equal(answer, [[100.0, 200.0]])


def test_a_copy_that_cannot_be_loaded(client: Client, folder: Path) -> None:
    (folder / "1" / "saved_model.pb").write_bytes(b"no graph")  # what is served is in memory
    with (
        pytest.raises(ServingError, match="version 2 of ranker failed to load: the server's log says why"),
        Reload(client, folder.parent, "ranker") as reload,
    ):
        reload.publish(threading.Event())
    assert names(folder) == ["1"]


def test_a_server_that_does_not_look(folder: Path) -> None:
    with (
        Server(folder.parent, port=0, poll_seconds=None) as server,
        Client(f"127.0.0.1:{server.port}", timeout=60) as client,
        pytest.raises(ServingError, match=r"ranker did not change its version within 1\.5 s: \{1: 'AVAILABLE'\}"),
        Reload(client, folder.parent, "ranker", timeout=1.5) as reload,
    ):
        reload.publish(threading.Event())
    assert names(folder) == ["1"]


def test_a_folder_without_the_model(client: Client, tmp_path: Path) -> None:
    with pytest.raises(ServingError, match=r"`models` must be the served folder, with a version of mug\. Received: "):
        Reload(client, tmp_path, "mug")
