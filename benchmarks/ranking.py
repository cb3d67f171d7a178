"""How fast the click models train, beside DeepCTR 0.9.4's DIN, and what a kept user state saves.

    .venv/bin/python -m benchmarks.ranking models                     # six models, 10^4 and 10^6 ids
    .venv/bin/python -m benchmarks.ranking models 10000 din sim       # some of them
    .venv/bin/python -m benchmarks.ranking vocabulary                 # Base DIN at 10^4 and 10^7 ids
    .venv/bin/python -m benchmarks.ranking state                      # 1,000 candidates of one user

`models` needs `pip install --no-deps deepctr==0.9.4`. A step is one call of Keras' train function, fed by `tf.data`
with random batches held in memory: 1024 impressions, histories of up to 50 behaviours, item and category of 32
dimensions each, an attention of 80 and 40 units, a tower of 256, 128 and 64. Ours hashes its ids and gets categories as
strings, as records hold them; DeepCTR's looks integers up. Lengths are all 50 ("full") or uniform in 1..50 ("random");
ids are uniform, which is the worst case for caches, or drawn as in shops, rank r in proportion to 1 / r ("zipf").
Base+MIM looks its 64-dimensional float16 content embeddings up in a table of all ids.

Times are taken in turns, one step of each contestant after the other, so that all of them meet the same load. A ratio
is the median over the turns of the ratio within the turn; samples/s are those of the fastest step.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from statistics import median
from types import ModuleType
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["TF_USE_LEGACY_KERAS"] = "1"  # TFRS and DeepCTR want tf_keras

import numpy as np

BATCH, LENGTH, DIM, MM_DIM = 1024, 50, 32, 64
CATEGORIES = 1000
TOWER = (256, 128, 64)
BATCHES = 8  # different ones, in turns
TURNS = 15
UBMS = ("average", "din", "dien", "bst", "sim", "twin")
Step = Callable[[], Any]


def impressions(ids: int, full: bool, zipf: bool = False) -> dict[str, np.ndarray]:
    """Random impressions by field, `[batches, batch, ...]`; ids are 1..ids, histories padded with -1 at the end."""
    rng = np.random.default_rng(0)
    lengths = np.full([BATCHES, BATCH], LENGTH) if full else rng.integers(1, LENGTH + 1, [BATCHES, BATCH])
    items = drawn(rng, ids, (BATCHES, BATCH, 1 + LENGTH), zipf)
    categories = items % CATEGORIES + 1
    padded = np.arange(LENGTH) >= lengths[..., np.newaxis]
    return {
        "item_id": items[..., 0],
        "category": categories[..., 0],
        "timestamp": np.full([BATCHES, BATCH], 10**6),
        "history_item_id": np.where(padded, -1, items[..., 1:]),
        "history_category": np.where(padded, -1, categories[..., 1:]),
        "history_timestamp": rng.integers(0, 10**6, [BATCHES, BATCH, LENGTH]),
        "label": rng.integers(0, 2, [BATCHES, BATCH]),
    }


def drawn(rng: np.random.Generator, ids: int, shape: tuple[int, ...], zipf: bool) -> np.ndarray:
    """Ids in 1..ids: uniform, or the integer part of `(ids + 1)^u`, whose density is as 1 / id."""
    return np.floor((ids + 1.0) ** rng.random(shape)).astype(np.int64) if zipf else rng.integers(1, ids + 1, shape)


def as_recorded(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same with categories as strings, "" where there is no behaviour."""
    names = np.array([b"", *(b"category %d" % category for category in range(CATEGORIES + 1))])  # of -1, 0, 1, ..
    return columns | {name: names[columns[name] + 1] for name in ("category", "history_category")}


def distinct_rows(columns: dict[str, np.ndarray], bins: int) -> float:
    """Rows of the id table that a batch touches, the mean over batches."""
    from mim_tf.ranking.hashed_embedding import hash_bins

    ids = np.concatenate([columns["item_id"][..., np.newaxis], columns["history_item_id"]], axis=-1)
    return float(np.mean([np.unique(hash_bins(batch, bins)).size for batch in ids]))


def ours(ubm: str, ids: int, mim: bool) -> Any:
    """The product's model, as stage 3 trains it."""
    from mim_tf.interest import UBMS as LAYERS
    from mim_tf.ranking import DeepCTR, Ranker, RankingNetwork
    from mim_tf.ranking.row_sparse_adam import RowSparseAdam
    from mim_tf.ranking.tfrs_model import RankingModel

    dims = {"item_dim": DIM, "category_dim": DIM, "hash_bins": ids}
    network = RankingNetwork(LAYERS[ubm](), content=mim, fusion=mim, tower=DeepCTR(TOWER), **dims)
    model = RankingModel(Ranker(network, content_table(ids) if mim else None))
    model.compile(optimizer=RowSparseAdam(epsilons={"item_embedding": 0.01}))
    return model


def content_table(ids: int) -> Any:
    """Content embeddings of all ids."""
    from mim_tf.representation import EmbeddingTable

    rows = np.random.default_rng(1).standard_normal([ids, MM_DIM], np.float32)
    return EmbeddingTable(np.arange(1, ids + 1), rows)


def deepctr_din(ids: int) -> Any:
    """DeepCTR's DIN with its defaults: Dice in the attention, ReLU in the tower, L2 on the embeddings, Adam."""
    silent: Any = ModuleType("deepctr.utils")  # on import it would ask the network for its newest version
    silent.check_version = lambda version: None
    sys.modules["deepctr.utils"] = silent
    from deepctr.feature_column import SparseFeat, VarLenSparseFeat
    from deepctr.models import DIN

    of_target = [SparseFeat("item", ids + 1, DIM), SparseFeat("category", CATEGORIES + 1, DIM)]
    of_history = [
        VarLenSparseFeat(
            SparseFeat(f"hist_{feature.name}", feature.vocabulary_size, DIM, embedding_name=feature.name),
            maxlen=LENGTH,
            length_name="length",
        )
        for feature in of_target
    ]
    model = DIN([*of_target, *of_history], ["item", "category"], dnn_hidden_units=TOWER)
    model.compile("adam", "binary_crossentropy")
    return model


def deepctr_inputs(columns: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The same impressions as DeepCTR wants them: padded with 0, and lengths."""
    histories = {f"hist_{name}": columns[f"history_{field}"] for name, field in _NAMES.items()}
    inputs = {name: np.maximum(column, 0) for name, column in histories.items()}
    inputs |= {"item": columns["item_id"], "category": columns["category"]}
    return inputs | {"length": (columns["history_item_id"] != -1).sum(-1)}, columns["label"]


_NAMES = {"item": "item_id", "category": "category"}


def training_step(model: Any, columns: Any) -> Step:
    """One step of Keras' train function on the next batch."""
    import tensorflow as tf

    batches = iter(tf.data.Dataset.from_tensor_slices(columns).cache().repeat().prefetch(2))
    train = model.make_train_function()
    return lambda: float(train(batches)["loss"])  # waits for the step's end


def seconds_in_turns(steps: list[Step], turns: int = TURNS) -> np.ndarray:
    """Seconds of each turn, of each step, `[turns, steps]`, after two that count not: one traces, one warms up."""
    return np.array([[_seconds(step) for step in steps] for _ in range(turns + 2)])[2:]


def _seconds(step: Step) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def ratio(turns: np.ndarray, one: int, other: int) -> float:
    """Median ratio of two contestants' times within a turn."""
    return median(turns[:, one] / turns[:, other])


def models(ids: int, ubms: list[str]) -> Iterator[tuple[str, ...]]:
    """The rows of a table: samples/s of Base, Base+MIM and DeepCTR's DIN."""
    theirs = deepctr_din(ids)
    for ubm in ubms:
        base, mim = ours(ubm, ids, mim=False), ours(ubm, ids, mim=True)
        for lengths in ("full", "random"):
            columns = impressions(ids, lengths == "full")
            steps = [training_step(model, as_recorded(columns)) for model in (base, mim)]
            turns = seconds_in_turns([*steps, training_step(theirs, deepctr_inputs(columns))])
            rates = [f"{BATCH / fastest:,.0f}" for fastest in turns.min(0)]
            ratios = ratio(turns, 2, 0), ratio(turns, 2, 1), ratio(turns, 1, 0)
            yield f"{ids:,}", lengths, ubm, *rates, *(f"{value:.2f}" for value in ratios)


def vocabulary(sizes: tuple[int, int] = (10**4, 10**7)) -> Iterator[tuple[str, ...]]:
    """The rows of a table: Base DIN's step at two sizes."""
    trained = [ours("din", ids, mim=False) for ids in sizes]
    for kind in ("uniform", "zipf"):
        for lengths in ("full", "random"):
            columns = [impressions(ids, lengths == "full", kind == "zipf") for ids in sizes]
            steps = [training_step(model, as_recorded(of)) for model, of in zip(trained, columns, strict=True)]
            turns = seconds_in_turns(steps)
            rows = [f"{distinct_rows(of, size):,.0f}" for of, size in zip(columns, sizes, strict=True)]
            times = [f"{1000 * fastest:.1f}" for fastest in turns.min(0)]
            yield kind, lengths, *rows, *times, f"{ratio(turns, 1, 0):.2f}"


def state(candidates: int = 1000, lengths: tuple[int, int] = (100, 10_000)) -> Iterator[tuple[str, ...]]:
    """The rows of a table: content and fusion interest of one user's candidates."""
    import tensorflow as tf

    from mim_tf.interest import UserState
    from mim_tf.interest.content_attention import content_weighted_sums

    targets = tf.random.normal([1, candidates, MM_DIM])
    histories = [(tf.random.normal([1, n, MM_DIM]), tf.random.normal([1, n, 2 * DIM])) for n in lengths]
    states = [UserState.from_history(*history) for history in histories]
    kept = tf.function(lambda user: (user.content_interest(targets), user.fusion_interest(targets)))
    anew = tf.function(lambda contents, ids: content_weighted_sums(targets, contents, [contents, ids]))
    steps = [lambda user=user: kept(user)[1].numpy() for user in states]
    steps += [lambda history=history: anew(*history)[1].numpy() for history in histories]
    turns = seconds_in_turns(steps, 20 * TURNS)
    ways = [(way, n) for way in ("kept state", "whole history") for n in lengths]
    for place, (way, n) in enumerate(ways):
        fastest = f"{1000 * turns[:, place].min():.2f}"
        yield f"{candidates:,}", f"{n:,}", way, fastest, f"{ratio(turns, place, 0):.2f}"


HEADERS = {
    "models": (
        "ids",
        "lengths",
        "model",
        "Base/s",
        "Base+MIM/s",
        "DeepCTR DIN/s",
        "Base to it",
        "MIM to it",
        "MIM/Base",
    ),
    "vocabulary": ("ids", "lengths", "rows, 10^4", "rows, 10^7", "ms, 10^4", "ms, 10^7", "ratio"),
    "state": ("candidates", "behaviours", "from", "ms", "to the first"),
}


def main(arguments: list[str]) -> None:
    """Print the tables that are asked for."""
    part, *rest = arguments or ["all"]
    sizes = [int(argument) for argument in rest if argument.isdigit()] or [10**4, 10**6]
    ubms = [argument for argument in rest if argument in UBMS] or list(UBMS)
    tables = {"models": (models(ids, ubms) for ids in sizes), "vocabulary": [vocabulary()], "state": [state()]}
    for name in tables if part == "all" else [part]:
        print("".join(f"{column:>15}" for column in HEADERS[name]))
        for table in tables[name]:
            for row in table:
                print("".join(f"{column:>15}" for column in row), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
