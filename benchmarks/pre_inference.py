"""Pre-inference: items per second of `represent`'s filling beside those of its encoder alone.

    .venv/bin/python -m benchmarks.pre_inference                # the encoders of configs/demo.yaml
    .venv/bin/python -m benchmarks.pre_inference my.yaml        # those of another config
    .venv/bin/python -m benchmarks.pre_inference W              # a workdir's records, and its encoder if it has one

A config's encoders get the drawn demo shop; records are repeated, with new ids, until a turn takes SECONDS. The filling
reads, digests, decodes, embeds and commits into an empty store; the encoder alone embeds one batch of pixels and token
ids that is in memory, again and again. Both are compiled before and take turns. Printed are medians, of the turns
and of the ratios within each. `input` is the filling without encoder and commits. CPU is milliseconds of all cores per
item: where the encoder runs on them too, its share of the CPU is about the most that the filling can reach.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tensorflow as tf

from mim_tf.data.demo_shop import make_demo_shop
from mim_tf.data.record_schema import RecordSchema
from mim_tf.data.records import read_items
from mim_tf.finetuning.item_encoder import ItemEncoder
from mim_tf.representation import EmbeddingStore
from mim_tf.settings import Settings, load_settings
from mim_tf.training.changed_items import ChangedItems, compared_at_once
from mim_tf.training.filling import embeddings_of, encoder_inputs, fill
from mim_tf.training.models import build_encoders, item_encoder_folder, load_item_encoder, records_folder
from mim_tf.training.represent import READ_AT_ONCE
from mim_tf.workdir import StageFolder

CONFIG = "configs/demo.yaml"
SECONDS, LEAST_BATCHES = 15, 16  # of a turn
TURNS = 5


class Clock:
    """Seconds that passed, and seconds of CPU, since it was started."""

    def __init__(self) -> None:
        self._begin: tuple[float, float] | None = None  # not yet

    def start(self) -> bool:
        """Start, unless it runs; whether it runs then."""
        self._begin = self._begin or self._now()
        return True

    def read(self) -> tuple[float, float]:
        """Both."""
        begin = self._begin or self._now()
        wall, cpu = self._now()
        return wall - begin[0], cpu - begin[1]

    def _now(self) -> tuple[float, float]:
        return time.perf_counter(), time.process_time()


class Sides:
    """What is timed, each in seconds that passed and seconds of CPU.

    Args:
        settings: of batches and commits.
        workdir: with records.
        encoder: to embed by.
    """

    def __init__(self, settings: Settings, workdir: Path, encoder: ItemEncoder):
        self._options, self._encoder = settings.represent, encoder
        self._records = records_folder(StageFolder(workdir, "prepare"))
        schema = RecordSchema.load(self._records)
        self._id_type, self._compare_rows = schema.item_id, compared_at_once(schema)
        [self._batch] = encoder_inputs(encoder, self._batches().unbatch(), self._options.batch_size).take(1)
        few = math.lcm(READ_AT_ONCE, self._options.batch_size)  # whole batches of both kinds
        self.items = few
        self.encoder()  # compiles
        self.items *= math.ceil(max(SECONDS / self.encoder()[0], LEAST_BATCHES * self._options.batch_size / few))

    def encoder(self) -> tuple[float, float]:
        """The encoder alone."""
        clock = Clock()
        clock.start()
        for _ in range(self.items // self._options.batch_size):
            embeddings_of(self._encoder, self._batch, self._options.batch_size)
        return clock.read()

    def input(self) -> tuple[float, float]:
        """All that comes before the encoder, from the first record read on."""
        clock = Clock()
        with self._store() as store:
            options = {"known_at": np.datetime64(0, "us"), "at_once": self._compare_rows, "skip": lambda items: None}
            changed = ChangedItems(self._wanted(clock), store, **options)
            for _ in encoder_inputs(self._encoder, changed.records(), self._options.batch_size):
                pass
            return clock.read()

    def filling(self) -> tuple[float, float]:
        """All of it, from the first record read to the last commit."""
        clock = Clock()
        sizes = {"batch_size": self._options.batch_size, "commit_rows": self._options.commit_rows}
        sizes |= {"total": self.items, "compare_rows": self._compare_rows, "known_at": 0.0}
        with self._store() as store:
            filled = fill(store, self._encoder, self._wanted(clock), **sizes)
            taken = clock.read()
        if filled.embedded != self.items:
            raise RuntimeError(f"{self.items} items were to be embedded, {filled.embedded} were.")
        return taken

    @contextmanager
    def _store(self) -> Iterator[EmbeddingStore]:
        """An empty one."""
        with tempfile.TemporaryDirectory() as folder:
            yield EmbeddingStore.create(f"{folder}/store", id_type=self._id_type, dim=self._encoder.fusion.dim)

    def _batches(self) -> tf.data.Dataset:
        """Batches of records for ever, each item with an id of its own."""

        def numbered(number: tf.Tensor, items: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            ids = number * READ_AT_ONCE + tf.range(READ_AT_ONCE, dtype=tf.int64)
            return items | {"item_id": tf.strings.as_string(ids) if self._id_type == "string" else ids}

        records = read_items(self._records, batch_size=READ_AT_ONCE, verify=False).repeat()
        return records.rebatch(READ_AT_ONCE).enumerate().map(numbered)

    def _wanted(self, clock: Clock) -> tf.data.Dataset:
        """As many as are wanted; reading the first ones starts the clock."""

        def started(items: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            tf.numpy_function(clock.start, [], tf.bool)
            return items

        return self._batches().take(self.items // READ_AT_ONCE).map(started)


def measure(sides: Sides) -> None:
    """Print the table."""
    turns = {"encoder": sides.encoder, "input": sides.input, "filling": sides.filling}
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in turns}
    for _ in range(TURNS):
        for name, side in turns.items():
            taken[name].append(side())
    print(f"{sides.items:,} items a turn, {TURNS} turns\n{'':8} {'items/s':>9} {'ratio':>7} {'CPU ms':>8} {'ratio':>7}")
    for name, times in taken.items():
        wall, cpu = (median(kind) for kind in zip(*times, strict=True))
        ratios = [
            median(alone[kind] / own[kind] for alone, own in zip(taken["encoder"], times, strict=True))
            for kind in (0, 1)
        ]
        print(f"{name:8} {sides.items / wall:9.1f} {ratios[0]:7.3f} {1e3 * cpu / sides.items:8.3f} {ratios[1]:7.3f}")


def main(path: Path) -> None:
    """Measure the encoder of a config or a workdir."""
    if path.is_dir():
        settings, represent = load_settings(path / "prepare" / "settings.yaml"), StageFolder(path, "represent")
        finished = item_encoder_folder(represent).exists()
        encoder = load_item_encoder(represent, settings.encoders.precision) if finished else untrained(settings, path)
        return measure(Sides(settings, path, encoder))
    with tempfile.TemporaryDirectory() as folder:
        workdir = Path(folder) / "work"
        make_demo_shop(Path(folder) / "shop")
        tables = [f"data.{name}={folder}/shop/{name}.parquet" for name in ("items", "impressions", "pairs")]
        settings = load_settings(path, tables)
        options = [part for table in tables for part in ("--set", table)]
        command = [sys.executable, "-m", "mim_tf.prepare", "--config", str(path), "--workdir", str(workdir), *options]
        subprocess.run(command, check=True, capture_output=True)
        return measure(Sides(settings, workdir, untrained(settings, workdir)))


def untrained(settings: Settings, workdir: Path) -> ItemEncoder:
    """The encoders as stage 1 begins with them, and the sum of their embeddings."""
    encoders = build_encoders(settings.encoders, StageFolder(workdir, "prepare"))
    return ItemEncoder(*encoders, (), settings.encoders.dim)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else CONFIG))
