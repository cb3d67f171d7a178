"""The probe against a server whose table somebody else changes: it sees what happened, when, and what it changed."""

import threading
import time
from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from mim_tf.demo import freshness
from mim_tf.demo.freshness import Fresh, FreshnessProbe
from mim_tf.demo.new_items import new_items
from mim_tf.errors import ServingError
from mim_tf.realtime.table_server import TableServer
from mim_tf.representation import EmbeddingStore, EmbeddingTable
from mim_tf.representation.signatures import table_signatures
from mim_tf.serving.server import Server


def save_ranker(store: EmbeddingStore, folder: Path) -> None:
    """A ranker whose probability is half of the embedding's first number and a quarter for everybody."""
    stored = store.read()
    holder = tf.Module()
    holder.table = EmbeddingTable.of(stored, spare=1000)

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.int64, "item_id"), tf.TensorSpec([None], tf.string, "category")]
    )
    def predict(item_id: tf.Tensor, category: tf.Tensor) -> dict[str, tf.Tensor]:
        probability = 0.25 + tf.cast(holder.table.lookup(item_id)[:, 0], tf.float32) / 2
        return {"probability": probability + 0 * tf.cast(tf.strings.length(category), tf.float32)}

    signatures = {"predict": predict, **table_signatures(holder.table, stored)}
    tf.saved_model.save(holder, str(folder / "ranker" / "1"), signatures=signatures)


@pytest.mark.parametrize("lost", [0, 2])
def test_every_item_is_followed_from_a_miss_to_its_score(
    lost: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(freshness, "_PATIENCE", 5.0 if lost else 60.0)
    store = EmbeddingStore.create(tmp_path / "store.lance", id_type="int64", dim=1)
    store.upsert(np.array([1]), np.ones([1, 1]), encoder="e")
    save_ranker(store, tmp_path / "models")
    incoming = tmp_path / "incoming"
    incoming.mkdir()
    over = threading.Event()
    candidates = {"item_id": np.array([1, 1]), "category": np.array([b"a", b"b"], object), "label": np.array([0, 1])}
    told: list[Fresh] = []
    with Server(tmp_path / "models", port=0) as server:
        address = f"127.0.0.1:{server.port}"
        table = TableServer(f"{address}/ranker")

        def take_in() -> None:
            """Each item half a second after its file is there, but for the lost ones."""
            while not over.wait(0.05):
                ids = [int(path.stem) for path in incoming.glob("*.jsonl") if time.time() - path.stat().st_mtime > 0.5]
                ids = [item_id for item_id in ids if item_id >= 100 + lost]
                if ids:
                    store.upsert(np.array(ids), np.full([len(ids), 1], 0.5), encoder="e")
                    table.catch_up(store)

        taker = threading.Thread(target=take_in)
        taker.start()
        probe = FreshnessProbe(address, "ranker", incoming, candidates, islice(new_items(100, 0), 8), told.append)
        measured = probe.run(seconds=2.0, items_per_second=5.0, requests_per_second=20.0)
        over.set()
        taker.join()
        table.close()
    assert measured.lost == lost
    fresh = sorted(measured.fresh, key=lambda one: one.item.item_id)
    assert [one.item.item_id for one in fresh] == list(range(100 + lost, 108))
    assert told == measured.fresh
    assert all(one.arrived < other.arrived for one, other in pairwise(fresh))
    for one in fresh:
        assert (one.miss, one.score) == (0.25, 0.5)
        assert one.seconds > 0.5
        assert one.arrived >= 0.2 * (one.item.item_id - 100) - 0.01  # five a second; a busy machine is late
    assert measured.failed == 0
    assert len(measured.requests) > 2


CANDIDATES = {"item_id": np.array([1, 1]), "category": np.array([b"a", b"b"], object)}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Serves a ranker whose table nobody changes."""
    store = EmbeddingStore.create(tmp_path / "store.lance", id_type="int64", dim=1)
    store.upsert(np.array([1]), np.ones([1, 1]), encoder="e")
    save_ranker(store, tmp_path / "models")
    (tmp_path / "incoming").mkdir()
    with Server(tmp_path / "models", port=0) as server:
        yield server


def test_a_server_that_dies_ends_the_run_and_its_threads(server: Server, tmp_path: Path) -> None:
    items = islice(new_items(100, 0), 10_000)
    probe = FreshnessProbe(f"127.0.0.1:{server.port}", "ranker", tmp_path / "incoming", CANDIDATES, items)
    dying = threading.Timer(1.0, server.stop, [0.0])
    dying.start()
    with pytest.raises(ServingError, match=r"127\.0\.0\.1"):
        probe.run(seconds=1e6, items_per_second=5.0, requests_per_second=20.0)
    dying.join()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("freshness")]


def test_an_item_that_cannot_arrive_ends_the_run(server: Server, tmp_path: Path) -> None:
    items = islice(new_items(100, 0), 10_000)
    probe = FreshnessProbe(f"127.0.0.1:{server.port}", "ranker", tmp_path / "nowhere", CANDIDATES, items)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        probe.run(seconds=1e6, items_per_second=5.0, requests_per_second=20.0)
