"""What a ranking costs to serve: the stand-in over gRPC against the bare C API, and a kept state against its history.

    .venv/bin/python -m benchmarks.serving                 # SIM, 200,000 items of 64 dimensions
    .venv/bin/python -m benchmarks.serving din 1000000 128

One user asks at a time. `bare` is TensorFlow's C API inside a C++ program, measured there: no server, no network, no
Python. `served` is what a Python client waits for. Both take turns, so that what else runs on the machine hits both.

The floor of a served call beyond the bare one is its messages: the request's ids and strings and the answer's floats,
encoded, sent and decoded once each way. The last lines compare 1,000 candidates of a history of 10,000 behaviours,
summed up as a `user_state` beside the newest 100, with a history of 100 alone: what is more is the state's bytes.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["TF_USE_LEGACY_KERAS"] = "1"

import numpy as np
import tensorflow as tf

from benchmarks.sharding import DTYPES, MOST_PAIRS, make_embeddings, serve
from mim_tf.export.gate import Case, measure
from mim_tf.export.ranker_signatures import STATE
from mim_tf.export.saved_model import save_ranker
from mim_tf.interest import UBMS
from mim_tf.ranking import Ranker, RankingNetwork
from mim_tf.representation import EmbeddingTable
from mim_tf.serving.client import Client
from mim_tf.serving.signature import Signature

TURNS, REPEAT = 5, 50
Inputs = dict[str, np.ndarray]


class Request(NamedTuple):
    """What is asked."""

    name: str
    signature: str
    inputs: Inputs


def main(ubm: str, items: int, dim: int) -> None:
    """Print the table."""
    stored = make_embeddings(items, dim)
    network = RankingNetwork(UBMS[ubm]())
    ranker = Ranker(network, EmbeddingTable.of(stored, spare=1024))
    ranker.logits({name: tf.constant(column) for name, column in rows(stored.item_ids, 2, 3).items()})
    print(f"{ubm}, {items:,} items of {dim} dimensions; milliseconds of {TURNS * REPEAT} calls each\n")
    with tempfile.TemporaryDirectory() as folder:
        version = Path(folder) / "ranker" / "1"
        save_ranker(ranker, version, dtypes=DTYPES, stored=stored, most_pairs=MOST_PAIRS)
        with serve(Path(folder)) as address, Client(address, timeout=60) as client:
            race(version, client, requests(client, stored.item_ids))


def rows(item_ids: np.ndarray, count: int, length: int, seed: int = 0) -> Inputs:
    """Rows of `predict`: one user's history, with `count` targets."""
    rng = np.random.default_rng(seed)
    chosen = item_ids[rng.integers(0, len(item_ids), count + length)]
    return {
        "item_id": chosen[:count],
        "category": rng.choice(np.array([b"mug", b"dress", b"lamp"], object), count),
        "history_item_id": np.tile(chosen[count:], (count, 1)),
        "history_category": np.tile(rng.choice(np.array([b"mug", b"dress"], object), length), (count, 1)),
        "timestamp": np.full(count, 10**6),
        "history_timestamp": np.tile(np.arange(length), (count, 1)),
    }


def ranking(item_ids: np.ndarray, count: int, length: int) -> Inputs:
    """A request of `rank`: one user."""
    of_rows = rows(item_ids, count, length)
    targets = ("item_id", "category")
    request = {name: column[np.newaxis] if name in targets else column[:1] for name, column in of_rows.items()}
    return request | {"top_k": np.array([10])}


def requests(client: Client, item_ids: np.ndarray) -> list[Request]:
    """All that is compared, by increasing history."""
    inputs = client.signatures("ranker")["user_state"].inputs
    long = ranking(item_ids, 1000, 10_000)
    zeros = {name: np.zeros([1, *inputs[name].shape[1:]]) for name in STATE[:2]} | {STATE[2]: np.array([b""], object)}
    summed = {name: long[name] for name in inputs if name in long}
    begin = time.perf_counter()
    state = client.predict("ranker", summed | zeros, signature="user_state")
    print(f"10,000 behaviours are summed up in {1e3 * (time.perf_counter() - begin):.0f} ms, the first call\n")
    newest = {name: column[:, -100:] if name.startswith("history_") else column for name, column in long.items()}
    every = [
        Request("predict, 500 x 50", "predict", rows(item_ids, 500, 50)),
        Request("rank, 500 x 50", "rank", ranking(item_ids, 500, 50)),
        Request("rank, 1000 x 100", "rank", newest),
        Request("rank, 1000 x 10000 by state", "rank_with_state", newest | state),
    ]
    signatures = client.signatures("ranker")  # not every behaviour model asks for times
    return [request._replace(inputs=_known(request, signatures)) for request in every]


def _known(request: Request, signatures: dict[str, Signature]) -> Inputs:
    return {name: values for name, values in request.inputs.items() if name in signatures[request.signature].inputs}


def race(version: Path, client: Client, asked: list[Request]) -> None:
    """Print a line per request: medians of turns, and the median of their ratios."""
    print(f"{'':28} {'bare p50':>9} {'served p50':>11} {'served p99':>11} {'p50 ratio':>10} {'request kB':>11}")
    for request in asked:
        case = Case(request.signature, request.inputs, {"probability": np.zeros(0)})
        bare, served = [], []
        for _ in range(TURNS):
            bare.append(measure(version, case, REPEAT) / 1e3)
            served.append(_milliseconds(client, request))
        ratio = np.median([np.median(one) / np.median(other) for one, other in zip(served, bare, strict=True)])
        size = sum(tf.make_tensor_proto(values).ByteSize() for values in request.inputs.values()) / 1e3
        print(
            f"{request.name:28} {np.median(bare):9.2f} {np.median(served):11.2f} {np.percentile(served, 99):11.2f} "
            f"{ratio:10.2f} {size:11.1f}",
            flush=True,
        )


def _milliseconds(client: Client, request: Request) -> np.ndarray:
    """Of each call, after ten that are not measured."""
    taken = []
    for _ in range(10 + REPEAT):
        begin = time.perf_counter()
        client.predict("ranker", request.inputs, signature=request.signature)
        taken.append(1e3 * (time.perf_counter() - begin))
    return np.array(taken[10:])


if __name__ == "__main__":
    options = sys.argv[1:] or ["sim", "200000", "64"]
    main(options[0], *map(int, options[1:] or ("200000", "64")))
