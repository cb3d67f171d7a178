"""One server that holds a table: which version it has, and how it gets the changes since."""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np

from mim_tf.errors import ServingError, SettingsError
from mim_tf.representation import EmbeddingStore, StoredEmbeddings
from mim_tf.serving.client import Client

_ROWS_AT_ONCE = 1000  # of an upsert: about 10 ms of a server's time


class TableState(NamedTuple):
    """What a server's table is."""

    version: int  # of the store, that it has
    capacity: int  # rows it can hold
    shard: int
    shards: int
    store: str  # the identity of the store that it was made from


class TableServer:
    """A table behind gRPC, baked into a ranker or a shard of its own.

    Args:
        address: `host:port/model`.
        timeout: longest wait for an answer, seconds.

    Raises:
        SettingsError: the address is none.
    """

    def __init__(self, address: str, timeout: float = 5.0):
        host, _, self._model = address.partition("/")
        if not host or not self._model or "/" in self._model:
            raise SettingsError(f"`realtime.servers` must be host:port/model. Received: {address!r}.")
        self.address = address
        self._client = Client(host, timeout=timeout)

    def state(self) -> TableState:
        """Ask the server.

        Raises:
            ServingError: it does not answer.
        """
        told = self._client.predict(self._model, {"request": np.zeros(1, np.int64)}, signature="version")
        version, capacity, shard, shards = (int(told[name][0]) for name in ("version", "capacity", "shard", "shards"))
        return TableState(version, capacity, shard, shards, told["store"][0].decode())

    def catch_up(self, store: EmbeddingStore) -> TableState:
        """Send what the store has and the server has not.

        It goes in pieces, after each of which the server gets as long for other requests as the piece took it.

        Returns:
            What the table is then.

        Raises:
            ServingError: the server does not answer, its table is of another store, or it is full.
            StageError: the store does not tell the changes since the server's version any more.
        """
        state = self.state()
        if state.store != store.identity:
            raise ServingError(
                f"{self.address} must hold a table of {store.path} ({store.identity}). Received: one of {state.store}. "
                "Export the model from this store."
            )
        if state.version >= store.version:
            return state
        changes = store.changes(state.version).shard(state.shard, state.shards)
        if changes.rows.max(initial=-1) >= state.capacity:
            raise ServingError(
                f"{self.address} is full: its table has {state.capacity} rows, version {changes.version} of the store "
                f"needs {changes.rows.max() + 1}. Export the model again, with more `export.spare`."
            )
        self._send(changes, state.version)
        return state._replace(version=changes.version)

    def warm_up(self, store: EmbeddingStore) -> None:
        """Send a change that changes nothing: the first one a server gets takes it longer than all others.

        Raises:
            ServingError: the server does not answer.
        """
        state = self.state()
        nothing = np.zeros(0, np.int64 if store.id_type == "int64" else object)
        self._upsert(nothing, nothing, np.zeros([0, store.dim], np.float16), state.version, state.version)

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()

    def _send(self, changes: StoredEmbeddings, since: int) -> None:
        starts = range(0, max(1, len(changes.rows)), _ROWS_AT_ONCE)
        for start in starts:
            piece = slice(start, start + _ROWS_AT_ONCE)
            last = start == starts[-1]
            begun = time.monotonic()
            part = changes.item_ids[piece], changes.rows[piece], changes.embeddings[piece]
            self._upsert(*part, since, changes.version if last else since)
            if not last:
                time.sleep(time.monotonic() - begun)

    def _upsert(self, ids: np.ndarray, rows: np.ndarray, embeddings: np.ndarray, since: int, version: int) -> None:
        if len(ids) == 0:  # padding: moves the version alone
            ids = np.array([-1]) if np.issubdtype(ids.dtype, np.integer) else np.array([""], object)
            rows, embeddings = np.zeros(1, np.int64), np.zeros([1, embeddings.shape[1]], np.float16)
        inputs = {
            "item_id": ids,
            "row": rows,
            "embedding": embeddings,
            "since": np.full(len(ids), since),
            "version": np.full(len(ids), version),
        }
        self._client.predict(self._model, inputs, signature="upsert")
