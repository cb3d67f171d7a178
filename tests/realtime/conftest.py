"""A store, and servers of tables made from it."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from mim_tf.representation import EmbeddingStore, EmbeddingTable
from mim_tf.representation.signatures import table_signatures
from mim_tf.serving.client import Client
from mim_tf.serving.server import Server


class Tables:
    """A store of two numbers an item, and what was exported from it."""

    def __init__(self, folder: Path, closing: ExitStack):
        self.store = EmbeddingStore.create(folder / "store.lance", id_type="int64", dim=2)
        self.models, self._closing = folder / "models", closing
        self.put({7: 1, 8: 2})

    def put(self, items: dict[int, float]) -> int:
        embeddings = np.repeat(np.array(list(items.values()))[:, np.newaxis], 2, axis=1)
        return self.store.upsert(np.array(list(items)), embeddings, encoder="e")

    def export(self, name: str = "table", shard: tuple[int, int] = (0, 1), spare: int = 2000) -> None:
        stored = self.store.read().shard(*shard)
        holder = tf.Module()
        holder.table = EmbeddingTable.of(stored, spare=spare)
        tf.saved_model.save(holder, str(self.models / name / "1"), signatures=table_signatures(holder.table, stored))

    def serve(self, port: int = 0) -> Server:
        """As what was exported, however it was changed before."""
        server = Server(self.models, port=port)
        self._closing.enter_context(server)
        return server

    def held(self, port: int, items: list[int], name: str = "table") -> dict[int, float]:
        """What a server has of some items."""
        with Client(f"127.0.0.1:{port}") as client:
            answer = client.predict(name, {"item_id": np.array(items)}, signature="lookup")
        found = zip(items, answer["embedding"][:, 0].tolist(), answer["hit"], strict=True)
        return {item: value for item, value, hit in found if hit}


@pytest.fixture
def tables(tmp_path: Path) -> Iterator[Tables]:
    with ExitStack() as closing:
        yield Tables(tmp_path, closing)
