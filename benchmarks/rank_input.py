"""Whether the click model's training waits for its input, and what sessions are worth.

    .venv/bin/python -m benchmarks.rank_input configs/hm.yaml WORKDIR            # three models; 1 and 8 candidates
    .venv/bin/python -m benchmarks.rank_input configs/hm.yaml WORKDIR sim 1 5    # some of them

WORKDIR has a finished `prepare` stage of that configuration. Its training impressions are read as stage 3 reads them,
with so many candidates to a row: 1, each impression with a history of its own, and more. Items' embeddings are random;
they cost what others do. Per number of candidates: the share of a batch that is padding, impressions per second of the
input alone, of the training with it, and the share of the training's time spent in waiting for the next batch. The
trainings take turns, step by step, so that all of them meet the same load: their ratio to the first is a median.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["TF_USE_LEGACY_KERAS"] = "1"  # TFRS wants tf_keras

import numpy as np
import tensorflow as tf

from mim_tf.data.records import read_items
from mim_tf.ranking.network import IS_SHOWN, Features
from mim_tf.representation import EmbeddingTable
from mim_tf.settings import Settings, load_settings
from mim_tf.training.models import records_folder
from mim_tf.training.rank_fit import compiled
from mim_tf.training.rank_input import EpochPlan, training_sessions
from mim_tf.training.rankers import build_ranker
from mim_tf.workdir import StageFolder

STEPS = 20
WARM_UP = 3  # steps that trace and fill buffers


@dataclass
class Training:
    """One contestant: seconds of each step, of which it waited, and impressions of each."""

    settings: Settings
    workdir: Path
    table: EmbeddingTable
    waited: list[float] = field(default_factory=list)
    took: list[float] = field(default_factory=list)
    impressions: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        ranker = build_ranker(self.settings, self.workdir, "model", table=self.table)
        model = compiled(ranker, self.settings.rank, STEPS)
        self._train = tf.function(model.train_step, reduce_retracing=True)
        self._batches = iter(batches_of(self.settings, self.workdir))

    def step(self) -> None:
        """One step."""
        start = time.perf_counter()
        batch = next(self._batches)
        waited = time.perf_counter() - start
        float(self._train(batch)["loss"])  # waits for its end
        self.took.append(time.perf_counter() - start)
        self.waited.append(waited)
        self.impressions.append(int(batch[IS_SHOWN].numpy().sum()))

    def rates(self) -> np.ndarray:
        """Impressions per second of each step, but of the first ones."""
        return (np.array(self.impressions) / np.array(self.took))[WARM_UP:]

    def waiting(self) -> float:
        """Share of the time."""
        return sum(self.waited[WARM_UP:]) / sum(self.took[WARM_UP:])


def batches_of(settings: Settings, workdir: Path) -> tf.data.Dataset:
    """What stage 3 trains on."""
    records = records_folder(StageFolder(workdir, "prepare"))
    return training_sessions(records, settings.rank, 0, EpochPlan.of(records, settings.rank))


def input_alone(settings: Settings, workdir: Path) -> tuple[float, float]:
    """Impressions per second over an epoch, and the share of padding."""
    records = records_folder(StageFolder(workdir, "prepare"))
    steps = EpochPlan.of(records, settings.rank).steps
    batches = iter(batches_of(settings, workdir))
    next(batches)  # fills the buffers
    start = time.perf_counter()
    shown = [_shown(next(batches)) for _ in range(steps - 1)]
    seconds = time.perf_counter() - start
    impressions, places = np.sum(shown, axis=0)
    return impressions / seconds, 1 - impressions / places


def _shown(batch: Features) -> tuple[int, int]:
    """Impressions of a batch, and places for them."""
    return int(batch[IS_SHOWN].numpy().sum()), batch[IS_SHOWN].shape.num_elements()


def random_table(settings: Settings, workdir: Path) -> EmbeddingTable:
    """Embeddings of all items."""
    items = read_items(records_folder(StageFolder(workdir, "prepare")), batch_size=1024, verify=False)
    ids = np.concatenate([batch["item_id"].numpy() for batch in items])
    rows = np.random.default_rng(0).standard_normal([len(ids), settings.encoders.dim], np.float32)
    return EmbeddingTable(ids, rows)


def table(config: str, workdir: Path, ubms: list[str], candidates: list[int]) -> Iterator[tuple[str, ...]]:
    """The rows, one for each user behaviour model and number of candidates."""
    inputs = {}
    for count in candidates:
        inputs[count] = input_alone(load_settings(config, [f"rank.candidates={count}"]), workdir)
    items = random_table(load_settings(config), workdir)
    for ubm in ubms:
        overrides = ([f"rank.ubm={ubm}", f"rank.candidates={count}"] for count in candidates)
        trainings = [Training(load_settings(config, of), workdir, items) for of in overrides]
        for _ in range(WARM_UP + STEPS):
            for training in trainings:
                training.step()
        for count, training in zip(candidates, trainings, strict=True):
            alone, padding = inputs[count]
            faster = median(training.rates() / trainings[0].rates())
            rates = f"{alone:,.0f}", f"{median(training.rates()):,.0f}", f"{training.waiting():.1%}", f"{faster:.2f}"
            yield ubm, str(count), f"{padding:.1%}", *rates


def main(config: str, workdir: str, *arguments: str) -> None:
    """Print the table."""
    header = ("model", "candidates", "padding", "input/s", "training/s", "waiting", "to the first")
    print("".join(f"{column:>14}" for column in header))
    ubms = [argument for argument in arguments if not argument.isdigit()] or ["average", "din", "sim"]
    candidates = [int(argument) for argument in arguments if argument.isdigit()] or [1, 8]
    for row in table(config, Path(workdir), ubms, candidates):
        print("".join(f"{column:>14}" for column in row), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
