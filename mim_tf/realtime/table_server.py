"""One server that holds a table: which version it has, and how it gets the changes since."""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np

from mim_tf.errors import ServingError, SettingsError
from mim_tf.representation import EmbeddingStore, StoredEmbeddings
from mim_tf.serving.client import Client, Tls

_ROWS_AT_ONCE = 1000  # of an upsert: about 10 ms of a server's time


class TableState(NamedTuple):
    """What a server's table is."""

    version: int  # of the store, that it has
    sequence: int  # changes that it has taken since it was loaded
    capacity: int  # rows it can hold
    shard: int
    shards: int
    store: str  # the identity of the store that it was made from
    rows: int = 0  # that it needs for what it was sent last; 0: nothing


class TableServer:
    """A table behind gRPC, baked into a ranker or a shard of its own.

    Args:
        address: `host:port/model`.
        timeout: longest wait for an answer, seconds.
        tls: how the connection is encrypted; None for not at all.

    Raises:
        SettingsError: the address is none.
        ServingError: a file of `tls` is not what it should be.
    """

    def __init__(self, address: str, timeout: float = 5.0, tls: Tls | None = None):
        host, _, self._model = address.partition("/")
        if not host or not self._model or "/" in self._model:
            raise SettingsError(f"`realtime.servers` must be host:port/model. Received: {address!r}.")
        self.address = address
        self._client = Client(host, timeout=timeout, tls=tls)

    def state(self) -> TableState:
        """Ask the server.

        Raises:
            ServingError: it does not answer.
        """
        told = self._client.predict(self._model, {"request": np.zeros(1, np.int64)}, signature="version")
        try:
            numbers = {name: int(told[name][0]) for name in TableState._fields if name not in ("store", "rows")}
            return TableState(**numbers, store=told["store"][0].decode())
        except KeyError as error:
            raise ServingError(f"{self.address} is no table of this release: its `version` has no {error}.") from error

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
        rows = int(changes.rows.max(initial=-1)) + 1
        if rows > state.capacity:
            raise ServingError(
                f"{self.address} is full: its table has {state.capacity} rows, version {changes.version} of the store "
                f"needs {rows}. Export the model again, with more `export.spare`."
            )
        self._send(changes, state)
        return state._replace(version=changes.version, rows=rows)

    def warm_up(self, store: EmbeddingStore) -> None:
        """Send a change that changes nothing: the first one a server gets takes it longer than all others.

        Raises:
            ServingError: the server does not answer.
        """
        state = self.state()
        nothing = np.zeros(0, np.int64 if store.id_type == "int64" else object)
        self._upsert(nothing, nothing, np.zeros([0, store.dim], np.float16), state, state.version)

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()

    def _send(self, changes: StoredEmbeddings, state: TableState) -> None:
        """Each piece names how many changes the table must have taken: else another table than got the rest gets it."""
        starts = range(0, max(1, len(changes.rows)), _ROWS_AT_ONCE)
        for number, start in enumerate(starts):
            piece = slice(start, start + _ROWS_AT_ONCE)
            last = start == starts[-1]
            begun = time.monotonic()
            part = changes.item_ids[piece], changes.rows[piece], changes.embeddings[piece]
            expected = state._replace(sequence=state.sequence + number)
            self._upsert(*part, expected, changes.version if last else state.version)
            if not last:
                time.sleep(time.monotonic() - begun)

    def _upsert(
        self, ids: np.ndarray, rows: np.ndarray, embeddings: np.ndarray, state: TableState, version: int
    ) -> None:
        if len(ids) == 0:  # padding: moves the version alone
            ids = np.array([-1]) if np.issubdtype(ids.dtype, np.integer) else np.array([""], object)
            rows, embeddings = np.zeros(1, np.int64), np.zeros([1, embeddings.shape[1]], np.float16)
        numbers = {"since": state.version, "version": version, "sequence": state.sequence}
        inputs = {"item_id": ids, "row": rows, "embedding": embeddings}
        inputs |= {name: np.full(len(ids), number) for name, number in numbers.items()}
        self._client.predict(self._model, inputs, signature="upsert")
