"""Pre-inference: items per second of `represent`'s filling beside those of its encoder alone.

    .venv/bin/python -m benchmarks.pre_inference                # the encoders of configs/demo.yaml
    .venv/bin/python -m benchmarks.pre_inference my.yaml        # those of another config
    .venv/bin/python -m benchmarks.pre_inference W              # a workdir's records, and its encoder if it has one

A config's encoders get the drawn demo shop; records are repeated, with new ids, until a turn takes SECONDS. The filling
reads, digests, decodes, embeds and commits into an empty store; the encoder alone embeds one batch of pixels and token
ids that is in memory, again and again. Both are compiled before, and take turns; printed are medians. `input` is the
filling without encoder and store. CPU is milliseconds of all cores per item: where the encoder runs on them too, the
filling cannot be faster than the ratio of the two.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

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


class Sides:
    """What is timed.

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
        self.items *= math.ceil(max(SECONDS / _timed(self.encoder)[0], LEAST_BATCHES * self._options.batch_size / few))

    def encoder(self) -> None:
        """The encoder alone."""
        for _ in range(self.items // self._options.batch_size):
            embeddings_of(self._encoder, self._batch, self._options.batch_size)

    def input(self) -> None:
        """All that comes before the encoder."""
        with tempfile.TemporaryDirectory() as folder:
            changed = ChangedItems(self._wanted(), self._store(folder), self._compare_rows, lambda items: None)
            for _ in encoder_inputs(self._encoder, changed.records(), self._options.batch_size):
                pass

    def filling(self) -> None:
        """All of it."""
        sizes = {"batch_size": self._options.batch_size, "commit_rows": self._options.commit_rows}
        sizes |= {"total": self.items, "compare_rows": self._compare_rows}
        with tempfile.TemporaryDirectory() as folder:
            filled = fill(self._store(folder), self._encoder, self._wanted(), **sizes)
        if filled.embedded != self.items:
            raise RuntimeError(f"{self.items} items were to be embedded, {filled.embedded} were.")

    def _store(self, folder: str) -> EmbeddingStore:
        return EmbeddingStore.create(f"{folder}/store", id_type=self._id_type, dim=self._encoder.fusion.dim)

    def _batches(self) -> tf.data.Dataset:
        """Batches of records for ever, each item with an id of its own."""

        def numbered(number: tf.Tensor, items: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            ids = number * READ_AT_ONCE + tf.range(READ_AT_ONCE, dtype=tf.int64)
            return items | {"item_id": tf.strings.as_string(ids) if self._id_type == "string" else ids}

        records = read_items(self._records, batch_size=READ_AT_ONCE, verify=False).repeat()
        return records.rebatch(READ_AT_ONCE).enumerate().map(numbered)

    def _wanted(self) -> tf.data.Dataset:
        return self._batches().take(self.items // READ_AT_ONCE)


def _timed(side: Callable[[], None]) -> tuple[float, float]:
    """Seconds that passed, and seconds of CPU."""
    begin, begin_cpu = time.perf_counter(), time.process_time()
    side()
    return time.perf_counter() - begin, time.process_time() - begin_cpu


def measure(sides: Sides) -> None:
    """Print the table."""
    turns = {"encoder": sides.encoder, "input": sides.input, "filling": sides.filling}
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in turns}
    for _ in range(TURNS):
        for name, side in turns.items():
            seconds[name].append(_timed(side))
    wall = {name: median(wall for wall, _ in taken) for name, taken in seconds.items()}
    print(f"{sides.items:,} items a turn\n{'':8} {'items/s':>9} {'CPU ms':>8} {'to the encoder':>15}")
    for name, taken in seconds.items():
        cpu = 1e3 * median(cpu for _, cpu in taken) / sides.items
        print(f"{name:8} {sides.items / wall[name]:9.1f} {cpu:8.3f} {wall['encoder'] / wall[name]:15.3f}")


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
