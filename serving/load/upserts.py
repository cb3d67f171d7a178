"""Changes of a served table while load goes on, which change nothing that anybody asks for."""

from __future__ import annotations

import threading
import time
from typing import NamedTuple

import numpy as np

from mim_tf.errors import ServingError, SettingsError
from mim_tf.representation import EmbeddingStore, StoredEmbeddings
from mim_tf.representation.inspection import opened
from mim_tf.representation.store_records import IN_USE
from mim_tf.serving.client import Client
from mim_tf.serving.load.phases import Notes

_FIRST_ID = np.iinfo(np.int64).min + 2  # after the two that the index needs for itself


class _Held(NamedTuple):
    """What a table says of itself."""

    version: int
    sequence: int
    capacity: int
    shard: int
    shards: int


class Upserts:
    """Writes ids of its own into the last rows of a table, over and over, as fast as wanted.

    Known items cannot be written: where their rows are, the store alone knows, and a row that another item has got
    meanwhile would be damaged. The last rows are free as long as the table is not full, and the store says whether it
    is: before each call its newest version is looked at. At most half of the rows that are free are used, so that the
    store cannot get there between this look and the call. `since` and `version` are the table's own, which therefore
    stays at its version, and `sequence` lets a call be refused that comes after another writer's. Another writer's
    call that comes after one of these is refused, too, and its writer begins anew, as it does after a reload.

    What stays until the model is loaded anew: as many ids that no shop has, in rows that the store overwrites when it
    needs them.

    Args:
        client: of the server.
        model: whose table is written.
        store: from which that table was made.
        rows: of each call.
        per_second: calls, each after the one before was answered.
        seed: of the embeddings.

    Raises:
        SettingsError: the table is of another store, or too few of its rows are free.
        ServingError: the server does not answer, or the model has no table.
        StageError: the store does not have the table's version any more.
    """

    def __init__(
        self, client: Client, model: str, store: EmbeddingStore, *, rows: int, per_second: float, seed: int = 0
    ):
        if rows < 1 or not 0 < per_second < float("inf"):
            raise ValueError(f"`rows` and `per_second` must be positive. Received: {rows}, {per_second}.")
        self._client, self._model, self._store, self._pause = client, model, store, 1 / per_second
        self._embeddings = np.random.default_rng(seed).normal(size=[rows, store.dim]).astype(np.float16)
        self._ids = np.arange(rows) + _FIRST_ID
        if store.id_type == "string":
            self._ids = np.array([f"mim_tf load test {number}" for number in range(rows)], object)
        self._oldest, self._newest = np.inf, 0  # versions of the store that were looked at
        self._used = 0  # rows from the table's beginning, which items have or may get
        self._check_free(self._held())

    def write(self, over: threading.Event) -> Notes:
        """Write until the event is set.

        Returns:
            Calls answered, and failed (another writer came between, or the server did not answer), the rows of each,
            and milliseconds that the answered ones took.

        Raises:
            SettingsError: the table has too few free rows by now, or is of another store.
        """
        begun, took, failed = time.monotonic(), list[float](), 0
        while not over.wait(max(0.0, begun + (len(took) + failed) * self._pause - time.monotonic())):
            try:
                took.append(self._write_once())
            except ServingError:
                failed += 1
        notes: Notes = {"upserts": len(took), "upserts_failed": failed, "upsert_rows": len(self._ids)}
        if took:
            notes |= {"upsert_p50_ms": 1e3 * float(np.median(took)), "upsert_max_ms": 1e3 * max(took)}
        return notes

    def _write_once(self) -> float:
        """How many seconds the call took."""
        held = self._held()
        self._check_free(held)
        sent = time.monotonic()
        self._client.predict(self._model, self._change(held), signature="upsert", outputs=["version"])
        return time.monotonic() - sent

    def _held(self) -> _Held:
        told = self._client.predict(self._model, {"request": np.zeros(1, np.int64)}, signature="version")
        if told["store"][0].decode() != self._store.identity:
            raise SettingsError(
                f"`store` must be the one that {self._model} was made from. Received: {self._store.path} "
                f"({self._store.identity}), the table is of {told['store'][0].decode()}."
            )
        return _Held(**{name: int(told[name][0]) for name in _Held._fields})

    def _check_free(self, held: _Held) -> None:
        """At least twice as many rows as are written must be free at the table's end."""
        if held.version < self._oldest:  # at first, and when an older model is loaded; newer ones may have let rows go
            self._look(_without_embeddings(self._store, held.version), held)
            self._oldest = held.version
        if self._store.version > self._newest:
            self._look(self._store.changes(self._newest), held)
        free = held.capacity - self._used
        if free < 2 * len(self._ids):
            raise SettingsError(
                f"`upsert_rows` must be at most half of the {free} free rows of {self._model}. "
                f"Received: {len(self._ids)}."
            )

    def _look(self, stored: StoredEmbeddings, held: _Held) -> None:
        """Note the rows that a version of the store, or its changes, need."""
        if np.isin(self._ids, stored.item_ids).any():
            raise SettingsError(f"`store` must not hold the load test's own ids. Received: {self._ids[0]!r} or more.")
        rows = stored.shard(held.shard, held.shards).rows
        self._used = max(self._used, int(rows.max(initial=-1)) + 1)
        self._newest = max(self._newest, stored.version)

    def _change(self, held: _Held) -> dict[str, np.ndarray]:
        """Inputs of `upsert`."""
        count = len(self._ids)
        numbers = {"since": held.version, "version": held.version, "sequence": held.sequence}
        rows = held.capacity - count + np.arange(count)
        change: dict[str, np.ndarray] = {"item_id": self._ids, "row": rows, "embedding": self._embeddings}
        return change | {name: np.full(count, number) for name, number in numbers.items()}


def _without_embeddings(store: EmbeddingStore, version: int) -> StoredEmbeddings:
    """A version's items and their rows: the embeddings, which nobody asks for here, may be gigabytes."""
    records = opened(store, version).to_table(columns=["item_id", "row"], filter=IN_USE)
    return StoredEmbeddings(
        item_ids=records["item_id"].to_numpy(),
        rows=records["row"].to_numpy(),
        embeddings=np.empty([len(records), 0], np.float16),
        encoder=store.encoder or "",
        version=version,
        store=store.identity,
        slots=store.slots,
    )
