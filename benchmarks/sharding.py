"""What it costs to keep the table on machines of its own: the model with its table inside against 1, 2 and 4 shards.

    .venv/bin/python -m benchmarks.sharding                # 200,000 items of 128 dimensions
    .venv/bin/python -m benchmarks.sharding 2000000 128    # 3 GB of memory, 3 GB of disk

A request ranks 200 candidates for one user with 50 behaviours; other items for each request. Servers are the stand-in,
each in a process of its own, all on this machine: shards add work here, and no machines. What can be read from it is
the cost of the detour, and what `rank` saves, which gets the user's history once and not with each candidate. Below
stands the arithmetic for 1.42 billion items, the paper's catalogue.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["TF_USE_LEGACY_KERAS"] = "1"

import numpy as np
import tensorflow as tf

from mim_tf.export.saved_model import save_ranker
from mim_tf.export.table_model import save_table
from mim_tf.interest import UBMS
from mim_tf.ranking import Ranker, RankingNetwork
from mim_tf.representation import StoredEmbeddings
from mim_tf.representation.slots import assigned_rows, slots_of
from mim_tf.serving.client import Client, open_ranker
from mim_tf.serving.client.call import Call
from mim_tf.serving.client.deadline import Deadline
from mim_tf.settings import Settings
from mim_tf.training.tables import table_of

CANDIDATES, BEHAVIOURS = 200, 50
SLOTS, SHARDS = 64, (1, 2, 4)
MOST_PAIRS = 2**24  # of a request that is served
TURNS, REQUESTS, WARM_UP, THREADS = 8, 25, 10, (1, 4)
CATALOGUE, MACHINES = 1_420_000_000, (8, 16, 32, 64)  # the paper's items
SPARE, LOAD_FACTOR, BUCKET = 1.25, 0.8, 12  # rows with the spare ones; of DenseHashTable; its bytes: int64 and int32
Inputs = dict[str, np.ndarray]
Predict = Callable[[Inputs], Any]
DTYPES = {name: tf.int64 for name in ("item_id", "history_item_id", "timestamp", "history_timestamp")}
DTYPES |= {name: tf.string for name in ("category", "history_category")}


def main(items: int, dim: int) -> None:
    """Print all of it."""
    stored = make_embeddings(items, dim)
    print(f"{items:,} items of {dim} dimensions; {CANDIDATES} candidates, {BEHAVIOURS} behaviours of one user\n")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as running:
        export(stored, Path(folder))
        race(connect(Path(folder), running), stored.item_ids)
    print_arithmetic(dim)


def make_embeddings(items: int, dim: int) -> StoredEmbeddings:
    """Random items in the rows that a store would give them."""
    rng = np.random.default_rng(0)
    ids = rng.permutation(items) * np.int64(2**62 // items) + rng.integers(0, 2**62 // items, items)
    rows = assigned_rows(slots_of(ids, SLOTS), np.zeros(0, np.int64), np.zeros(SLOTS, np.int64))
    embeddings = rng.standard_normal((items, dim), np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    return StoredEmbeddings(ids, rows, embeddings.astype(np.float16), "e", 1, store="benchmark", slots=SLOTS)


def export(stored: StoredEmbeddings, folder: Path) -> None:
    """`baked`, `network`, and for each number of shards a folder of models for each machine."""
    settings = Settings.model_validate({"data": {"items": "none"}})
    network = RankingNetwork(UBMS["sim"]())
    baked, alone = Ranker(network, table_of(stored, settings, spare=0.25)), Ranker(network)
    baked.logits({name: tf.constant(column) for name, column in request(stored.item_ids, 0).items()})
    save_ranker(baked, folder / "baked" / "ranker" / "1", dtypes=DTYPES, stored=stored, most_pairs=MOST_PAIRS)
    save_ranker(alone, folder / "network" / "ranker" / "1", dtypes=DTYPES, stored=stored, most_pairs=MOST_PAIRS)
    for count in SHARDS:
        for shard in range(count):
            model = folder / f"table_{shard}_of_{count}" / f"ranker_table_{shard}" / "1"
            part = stored.shard(shard, count)
            save_table(table_of(part, settings, spare=0.25), part, model)


def request(item_ids: np.ndarray, seed: int) -> Inputs:
    """Inputs of one user's candidates."""
    rng = np.random.default_rng(seed)
    chosen = item_ids[rng.integers(0, len(item_ids), CANDIDATES + BEHAVIOURS)]
    return {
        "item_id": chosen[:CANDIDATES],
        "category": np.full(CANDIDATES, b"mug", object),
        "history_item_id": np.tile(chosen[CANDIDATES:], (CANDIDATES, 1)),
        "history_category": np.full((CANDIDATES, BEHAVIOURS), b"mug", object),
        "timestamp": np.full(CANDIDATES, 10**6),
        "history_timestamp": np.tile(np.arange(BEHAVIOURS), (CANDIDATES, 1)),
    }


def connect(folder: Path, running: ExitStack) -> dict[str, Predict]:
    """Start all servers, and connect to them in every way there is to compare."""
    rankers = {"the model": open_ranker(running.enter_context(serve(folder / "baked")), timeout=60)}
    network = running.enter_context(serve(folder / "network"))
    for count in SHARDS:
        tables = [running.enter_context(serve(folder / f"table_{shard}_of_{count}")) for shard in range(count)]
        rankers[f"{count} shards"] = open_ranker(network, tables, timeout=60)
    ways: dict[str, Predict] = {}
    for name, ranker in rankers.items():
        running.enter_context(ranker)
        ways[name] = ranker.predict
        ways[f"{name}, rank"] = lambda inputs, rank=ranker.rank: rank(of_one_user(inputs))
    return ways


def of_one_user(inputs: Inputs) -> Inputs:
    """What `rank` is asked where `predict` is asked for the candidates of one user: the history once."""
    targets = ("item_id", "category")
    return {name: column if name in targets else column[0] for name, column in inputs.items()}


def race(ways: dict[str, Predict], item_ids: np.ndarray) -> None:
    """Print a line for each way and number of threads. They take turns, so that what else runs here hits all alike."""
    sizes = {}
    for name, predict in ways.items():
        for seed in range(WARM_UP):
            predict(request(item_ids, seed))
        sizes[name] = bytes_of(lambda predict=predict: predict(request(item_ids, 0)))
    print("table in         threads  requests/s  p50 ms  p99 ms  from tables kB  to network kB")
    for threads in THREADS:
        rounds: dict[str, list[tuple[float, list[float]]]] = {name: [] for name in ways}
        for turn in range(TURNS):
            for name, predict in ways.items():
                rounds[name].append(timed(predict, threads, item_ids, turn))
        for name, timings in rounds.items():
            rate = np.median([len(seconds) / whole for whole, seconds in timings])
            p50, p99 = 1e3 * np.percentile([second for _, seconds in timings for second in seconds], [50, 99])
            from_tables, to_network = (size / 1e3 for size in sizes[name])
            print(
                f"{name:15} {threads:8} {rate:11.1f} {p50:7.1f} {p99:7.1f} {from_tables:15.1f} {to_network:14.1f}",
                flush=True,
            )


def timed(predict: Predict, threads: int, item_ids: np.ndarray, turn: int) -> tuple[float, list[float]]:
    """Seconds of a turn, and of each of its requests."""
    requests = [request(item_ids, 1000 * turn + seed) for seed in range(REQUESTS)]
    begin = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        seconds = list(pool.map(lambda inputs: _seconds(predict, inputs), requests))
    return time.perf_counter() - begin, seconds


def _seconds(predict: Predict, inputs: Inputs) -> float:
    begin = time.perf_counter()
    predict(inputs)
    return time.perf_counter() - begin


def bytes_of(call: Callable[[], Any]) -> tuple[int, int]:
    """Bytes of the messages of one request: both ways between client and tables, and to the network."""
    with_tables, to_network, lock = [0], [0], threading.Lock()
    ask = Client.ask

    def counted(self: Client, asked: Call[Any], deadline: Deadline) -> Any:
        def read(response: Any) -> Any:
            with lock:
                if asked.model == "ranker":
                    to_network[0] += asked.request.ByteSize()
                else:
                    with_tables[0] += asked.request.ByteSize() + response.ByteSize()
            return asked.read(response)

        return ask(self, replace(asked, read=read), deadline)

    Client.ask = counted  # type: ignore[method-assign]
    try:
        call()
    finally:
        Client.ask = ask  # type: ignore[method-assign]
    return with_tables[0], to_network[0]


@contextmanager
def serve(models: Path) -> Iterator[str]:
    """The stand-in in a process of its own; yields its address."""
    command = [sys.executable, "-m", "mim_tf.serving", "--models", str(models), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            yield next(line.split()[2] for line in server.stdout or () if line.startswith("Listening on "))
        finally:
            server.terminate()


def print_arithmetic(dim: int) -> None:
    """What P machines hold of the paper's catalogue, and what a request fetches."""
    print(f"\n{CATALOGUE:,} items of {dim} dimensions on P machines, a quarter of the rows spare; GB on each\n")
    print(" P    items  rows float16  rows int8  index  in all float16  in all int8  items of a request")
    for machines in MACHINES:
        held = CATALOGUE / machines
        halves, eights = (held * SPARE * size / 1e9 for size in (2 * dim, dim + 4))
        index = BUCKET * buckets(held * SPARE) / 1e9
        print(
            f"{machines:2} {held / 1e6:6.1f} M {halves:13.1f} {eights:10.1f} {index:6.1f} {halves + index:15.1f} "
            f"{eights + index:12.1f} {(CANDIDATES + BEHAVIOURS) / machines:19.1f}"
        )
    items, pairs = CANDIDATES + BEHAVIOURS, CANDIDATES * (BEHAVIOURS + 1)
    print(
        f"\nWhatever P, a request fetches {items * (8 + 2 * dim) / 1e3:.0f} kB of ids and float16. TF Serving writes "
        f"float16 in 2 or 3 bytes each,\n{items * (8 + 2.5 * dim) / 1e3:.0f} kB, unless "
        "--enable_serialization_as_tensor_content is on. The network is sent "
        f"{pairs * 2 * dim / 1e3:.0f} kB of contents,\n{items * 2 * dim / 1e3:.0f} kB with the history once."
    )


def buckets(keys: float) -> int:
    """How many a DenseHashTable has for so many keys: the power of two that keeps it at most so full."""
    return 2 ** int(np.ceil(np.log2(keys / LOAD_FACTOR)))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:] or ("200000", "128")))
