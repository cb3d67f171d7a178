"""A store, and a server of a table that was made from it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from mim_tf.representation import EmbeddingStore, EmbeddingTable
from mim_tf.representation.signatures import table_signatures
from mim_tf.serving.client import Client
from mim_tf.serving.server import Server


class ServedTable:
    """Items 0 .. 9, whose embedding is their number twice, in the model `table`.

    Args:
        folder: an empty one.
        server: starts the server.
        id_type: of the items; as strings they are "0" .. "9".
        spare: rows that are free.
        shard: which part of the store is served, of how many.
    """

    def __init__(
        self, folder: Path, closing: ExitStack, id_type: str = "int64", spare: int = 20, shard: tuple[int, int] = (0, 1)
    ):
        self._strings = id_type == "string"
        self.store_path = folder / f"{id_type}.lance"
        self.store = EmbeddingStore.create(self.store_path, id_type=id_type, dim=2, slots=2)
        self.put(range(10))
        stored = self.store.read().shard(*shard)
        holder = tf.Module()
        holder.table = EmbeddingTable.of(stored, spare=spare)
        self.capacity, self.models = holder.table.capacity, folder / "models"
        saved = self.models / "table" / "1"
        tf.saved_model.save(holder, str(saved), signatures=table_signatures(holder.table, stored))
        server = closing.enter_context(Server(self.models, port=0, poll_seconds=0.01))
        self.address = f"127.0.0.1:{server.port}"
        self.client = closing.enter_context(Client(self.address, timeout=60))

    def put(self, items: range) -> int:
        """Into the store."""
        embeddings = np.repeat(np.array(items, float)[:, np.newaxis], 2, axis=1)
        return self.store.upsert(self.ids(items), embeddings, encoder="e")

    def ids(self, items: range) -> np.ndarray:
        return np.array([str(item) for item in items], object) if self._strings else np.array(items)

    def held(self, ids: np.ndarray) -> np.ndarray:
        """`[items, 2]` what the table has of them; NaN where it has nothing."""
        answer = self.client.predict("table", {"item_id": ids}, signature="lookup")
        return np.where(answer["hit"][:, np.newaxis], answer["embedding"], np.nan)

    def state(self) -> tuple[int, int]:
        """The table's version of the store, and the changes that it has taken."""
        told = self.client.predict("table", {"request": [0]}, signature="version")
        return int(told["version"][0]), int(told["sequence"][0])


@pytest.fixture
def serve_table(tmp_path: Path) -> Iterator[Callable[..., ServedTable]]:
    with ExitStack() as closing:
        yield lambda **options: ServedTable(tmp_path, closing, **options)
