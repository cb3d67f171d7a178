"""What new embeddings cost a running server: the whole table as a new version, beside an `upsert` of the changed rows.

    .venv/bin/python -m benchmarks.reload                 # 10^6 items of 128 dimensions
    .venv/bin/python -m benchmarks.reload 4000000 128     # 8 GB of memory, 3 GB of disk

The stand-in server runs in a process of its own and answers look-ups all the time. They are sent at fixed times,
whether the ones before are answered or not, and a latency counts from the time at which the request was due: what
waits behind a slow answer is counted, too. A new version is copied beside the one that is served, renamed, loaded by
the server, and the one before dropped; its phase ends there. Memory is what the server's process holds (VmRSS), its
program and libraries included.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import mean
from typing import NamedTuple

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tensorflow as tf

from benchmarks.table import gaussian
from mim_tf.representation import EmbeddingTable
from mim_tf.serving.client import Client

MODEL = "table"
CLIENTS, RATE, IDS = 8, 100, 200  # threads; requests a second of all of them; ids in a request
CHANGED = 1000  # rows of an upsert
VERSIONS, UPSERTS = 5, 20
QUIET, PAUSE = 20.0, 0.5  # seconds; the latter after each turn


def main(items: int, dim: int) -> None:
    """Print all of it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save(items, dim, folder / MODEL / "1")
        megabytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
        print(
            f"{items:,} items of {dim} dimensions, a SavedModel of {megabytes:,.0f} MB; {RATE} look-ups/s of {IDS} ids"
        )
        with server(folder) as (address, process), Client(address, timeout=60) as client:
            measure(client, folder / MODEL, items, dim, process)


def measure(client: Client, folder: Path, items: int, dim: int, process: int) -> None:
    """Print the table, phase by phase."""
    rng = np.random.default_rng(0)
    phases: dict[str, tuple[int, Callable[[int], None]]] = {
        "quiet": (1, lambda turn: time.sleep(QUIET)),
        "new version": (VERSIONS, lambda turn: put_version(client, folder, turn + 2)),
        "quiet after it": (1, lambda turn: time.sleep(QUIET)),
        f"{CHANGED:,} rows": (UPSERTS, lambda turn: upsert(client, changes(rng, items, dim, turn))),
        "quiet after them": (1, lambda turn: time.sleep(QUIET)),
    }
    with Load(client, items) as load, Memory(process) as memory:
        time.sleep(2)  # the first requests warm up
        print(f"\n{'':16} times  seconds  requests  p50 ms  p99 ms  most ms  MB before    most   after")
        for name, (times, act) in phases.items():
            begin = time.perf_counter()
            seconds = [_timed(act, turn) for turn in range(times)]
            milliseconds = 1e3 * load.latencies(begin, time.perf_counter() - PAUSE)
            p50, p99, most = *np.percentile(milliseconds, [50, 99]), milliseconds.max()
            before, peak, after = (value / 1e6 for value in memory.before_most_after(begin))
            print(
                f"{name:16} {times:5} {mean(seconds):8.3f} {len(milliseconds):9} {p50:7.1f} {p99:7.1f} {most:8.1f} "
                f"{before:10,.0f} {peak:7,.0f} {after:7,.0f}",
                flush=True,
            )


def _timed(act: Callable[[int], None], turn: int) -> float:
    """What it takes; with a pause after it, in which the look-ups that were due are answered."""
    begin = time.perf_counter()
    act(turn)
    seconds = time.perf_counter() - begin
    time.sleep(PAUSE)
    return seconds


def put_version(client: Client, folder: Path, version: int) -> None:
    """Publish a version as a whole, and wait until the one before is dropped."""
    before, aside = folder / str(version - 1), folder / f"{version}.tmp"
    shutil.copytree(before, aside)
    aside.rename(folder / str(version))
    while client.model_status(MODEL).get(version) != "AVAILABLE" or client.model_status(MODEL)[version - 1] != "END":
        time.sleep(0.05)
    shutil.rmtree(before)


def upsert(client: Client, change: dict[str, np.ndarray]) -> None:
    """Send changed rows."""
    answer = client.predict(MODEL, change, signature="upsert")
    if answer["version"] != change["version"][0]:
        raise RuntimeError(f"The table must have the version {change['version'][0]}. Received: {answer['version']}.")


def changes(rng: np.random.Generator, items: int, dim: int, turn: int) -> dict[str, np.ndarray]:
    """Other embeddings, in fresh rows, of items drawn."""
    return {
        "item_id": item_ids(rng.choice(items, CHANGED, replace=False)),
        "row": items + CHANGED * turn + np.arange(CHANGED),
        "embedding": gaussian(CHANGED, dim).astype(np.float16),
        "since": np.full(CHANGED, turn),
        "version": np.full(CHANGED, turn + 1),
    }


class Load:
    """Look-ups at a steady rate, by threads, until it is left.

    Args:
        client: of the server.
        items: in the table.
    """

    def __init__(self, client: Client, items: int) -> None:
        self._client, self._items = client, items
        self._begin, self._stopped = time.perf_counter(), threading.Event()
        self._seen: list[tuple[float, float]] = []  # when a request was due, and what it took
        self._threads = [threading.Thread(target=self._send, args=[number]) for number in range(CLIENTS)]

    def latencies(self, begin: float, end: float) -> np.ndarray:
        """Seconds of each request that was due between two times."""
        return np.array([seconds for due, seconds in list(self._seen) if begin <= due < end])

    def _send(self, number: int) -> None:
        rng, turn = np.random.default_rng(number), number
        while not self._stopped.is_set():
            due = self._begin + turn / RATE
            time.sleep(max(0, due - time.perf_counter()))
            ids = item_ids(rng.integers(0, self._items, IDS))
            self._client.predict(MODEL, {"item_id": ids}, signature="lookup")
            self._seen.append((due, time.perf_counter() - due))
            turn += CLIENTS

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()


class Memory:
    """What a process holds, watched until it is left.

    Args:
        process: its id.
    """

    def __init__(self, process: int) -> None:
        self._status = Path(f"/proc/{process}/status")
        self._seen: list[tuple[float, int]] = []  # time, bytes
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def before_most_after(self, begin: float) -> tuple[int, int, int]:
        """Bytes just before a time, the most since then, and now."""
        seen = list(self._seen)
        before = [held for seconds, held in seen if seconds <= begin]
        since = [held for seconds, held in seen if seconds > begin]
        return before[-1], max(since), since[-1]

    def _watch(self) -> None:
        while not self._stopped.wait(0.01):
            fields = dict(line.split(":") for line in self._status.read_text(encoding="ascii").splitlines())
            self._seen.append((time.perf_counter(), 1024 * int(fields["VmRSS"].split()[0])))

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stopped.set()
        self._thread.join()


class Signatures(NamedTuple):
    """What a table is asked, as functions."""

    lookup: tf.types.experimental.ConcreteFunction
    upsert: tf.types.experimental.ConcreteFunction


def save(items: int, dim: int, folder: Path) -> None:
    """A table with spare rows as a SavedModel with the signatures `lookup` and `upsert`."""
    embeddings = gaussian(items, dim).astype(np.float16)
    holder = tf.Module()
    holder.table = EmbeddingTable(item_ids(np.arange(items)), embeddings, spare=CHANGED * UPSERTS)
    tf.saved_model.save(holder, str(folder), signatures=signatures(holder.table)._asdict())


def signatures(table: EmbeddingTable) -> Signatures:
    """Those of the table."""
    ids, row = tf.TensorSpec([None], tf.int64, "item_id"), tf.TensorSpec([None], tf.int64, "row")
    embedding = tf.TensorSpec([None, table.dim], tf.float16, "embedding")
    since, version = (tf.TensorSpec([None], tf.int64, name) for name in ("since", "version"))
    lookup = tf.function(lambda item_id: {"embedding": table.lookup(item_id)})
    change = tf.function(
        lambda item_id, row, embedding, since, version: {
            "version": table.upsert(item_id, row, embedding, since=since, version=version)
        }
    )
    return Signatures(
        lookup.get_concrete_function(ids), change.get_concrete_function(ids, row, embedding, since, version)
    )


def item_ids(numbers: np.ndarray) -> np.ndarray:
    """Ids of items by their numbers: spread over int64."""
    return numbers * 100_000_007 + 1


@contextmanager
def server(folder: Path) -> Iterator[tuple[str, int]]:
    """The address and the process of a server on a models folder."""
    command = [sys.executable, "-m", "mim_tf.serving", "--models", str(folder), "--port", "0"]
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        lines = iter(process.stdout or ())
        address = next((line.split()[2] for line in lines if line.startswith("Listening on ")), None)
        if address is None:
            raise RuntimeError(f"The server did not start: {process.communicate()[1]}")
        yield address, process.pid
    finally:
        process.terminate()
        process.communicate()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3] or (1_000_000, 128)))
