"""Publishers follow a store to servers that come, go and come back."""

import time
from collections.abc import Callable, Iterator

import pytest

from mim_tf.realtime.metrics import Metrics
from mim_tf.realtime.publisher import Publisher
from mim_tf.realtime.table_server import TableServer
from tests.realtime.conftest import Tables


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture
def publish(tables: Tables) -> Iterator[Callable[[int], Publisher]]:
    """Starts a publisher to a port; all are stopped in the end."""
    publishers: list[Publisher] = []

    def start(port: int) -> Publisher:
        server = TableServer(f"127.0.0.1:{port}/table", timeout=2.0)
        publishers.append(Publisher(server, tables.store.path, Metrics(), poll_seconds=0.05))
        publishers[-1].start()
        return publishers[-1]

    yield start
    for publisher in publishers:
        publisher.stop()
        publisher.join(60)
        assert not publisher.is_alive()
        assert publisher.error is None


def test_commits_of_others_are_seen(tables: Tables, publish: Callable[[int], Publisher]) -> None:
    tables.export()
    port = tables.serve().port
    publisher = publish(port)
    version = tables.put({9: 9})  # nobody announces it
    wait_for(lambda: publisher.version == version)
    assert tables.held(port, [9]) == {9: 9}


def test_freshness_is_from_arrival_to_the_server(tables: Tables, publish: Callable[[int], Publisher]) -> None:
    tables.export()
    publisher = publish(tables.serve().port)
    arrived = time.time() - 7
    publisher.announce(tables.put({9: 9}), [arrived, arrived])
    wait_for(lambda: sample(publisher, "freshness_seconds_count") == 2)
    assert 14 <= sample(publisher, "freshness_seconds_sum") < 14 + 2 * 30


def test_a_server_that_comes_back_gets_all_it_missed(
    tables: Tables, publish: Callable[[int], Publisher], capsys: pytest.CaptureFixture[str]
) -> None:
    tables.export()
    server = tables.serve()
    publisher = publish(server.port)
    version = tables.put({9: 9})
    wait_for(lambda: publisher.version == version)
    server.stop()
    version = tables.put({7: 70, 10: 10})
    wait_for(lambda: sample(publisher, "failures_total", part="server") >= 2)
    tables.serve(server.port)  # from its SavedModel, which knows neither 9 nor 10
    wait_for(lambda: publisher.version == version)
    assert tables.held(server.port, [7, 9, 10]) == {7: 70, 9: 9, 10: 10}
    told = capsys.readouterr().err.splitlines()
    assert sum("Is the server running" in line for line in told) == 1  # not at every attempt
    assert told[-1] == f"127.0.0.1:{server.port}/table is up to date again."


def sample(publisher: Publisher, name: str, **labels: str) -> float:
    labels = labels or {"server": publisher.name.removeprefix("publisher of ")}
    return publisher._metrics.registry.get_sample_value(f"mim_realtime_{name}", labels) or 0.0


def test_what_ends_a_publisher_is_known(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    tables.export()
    publisher = Publisher(TableServer(f"127.0.0.1:{tables.serve().port}/table"), tables.store.path, Metrics())

    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(TableServer, "catch_up", broken)
    publisher.start()
    publisher.join(60)
    assert str(publisher.error) == "broken"
