"""What embedding a catalogue costs, here and by Spark: `python -m benchmarks.bulk_embedding`.

    .venv/bin/python -m benchmarks.bulk_embedding --items 4000 20000

Items have the demo shop's pictures, a thousand different ones, and titles of their own; the encoders are those of
configs/demo.yaml with random weights, and the store is empty. They are embedded by one process on all cores, by one
that has one core, and by Spark with one and with two executors of a core each. Seconds are what the stage says, from
the first record to the last commit: with Spark, starting the Python workers and loading the encoder there are in them,
starting Spark is not. `further` are the items a second between the numbers of items before and this one, without what a
start costs. `whole` are the seconds of the whole command, memory the peak of its processes. The first lines are the
floor, the encoder's forward pass alone on a batch that lies ready.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf
import yaml

from benchmarks.peak_memory import run_module
from mim_tf.data.demo_shop import make_demo_shop
from mim_tf.encoders import text_encoder, vision_encoder, vocabulary_files
from mim_tf.encoders.tokenizers import learn_vocabulary
from mim_tf.finetuning.item_encoder import ItemEncoder
from mim_tf.settings import load_settings

CONFIG, DRAWN, GB = "configs/demo.yaml", 1000, 2**30
ONE_CORE = ["taskset", "-c", "0"]
FLOORS: dict[str, list[str]] = {"forward pass": [], "forward pass, one core": ONE_CORE}
WAYS: dict[str, tuple[list[str], str | None]] = {
    "local": ([], None),
    "local, one core": (ONE_CORE, None),
    "spark, 1 executor": ([], "local-cluster[1,1,1024]"),
    "spark, 2 executors": ([], "local-cluster[2,1,1024]"),
}
"""By name what stands before the command, and Spark's master."""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bulk_embedding", description=__doc__)
    parser.add_argument("--items", type=int, nargs="+", default=[4000, 20_000], help="in each catalogue")
    parser.add_argument("--folder", type=Path, help="where all is made; default: a temporary folder")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        make_demo_shop(folder / "shop", items=DRAWN, users=10, searches=10)
        save_encoder(folder)
        print(f"{'':22}    items  items/s  further  seconds    whole  memory GB")
        for floor, before in FLOORS.items():
            print(f"{floor:22}  {'':7}  {forward_rate(folder, before):7.1f}", flush=True)
        seconds: dict[str, tuple[int, float]] = {}
        for items in arguments.items:
            prepare(folder, items)
            for way in WAYS:
                print(line(folder, items, way, seconds), flush=True)


def save_encoder(folder: Path) -> None:
    """An item encoder of random weights, with a vocabulary of the drawn titles."""
    options = load_settings(CONFIG).encoders
    titles = pq.read_table(folder / "shop" / "items.parquet", columns=["title"])["title"].to_pylist()
    files = vocabulary_files(learn_vocabulary(tf.data.Dataset.from_tensor_slices(titles)))
    vision = vision_encoder(options.vision.name, dim=options.dim, image_size=options.vision.image_size)
    text = text_encoder(options.text.name, dim=options.dim, length=options.text.length, files=files)
    (folder / "encoder").mkdir()
    ItemEncoder(vision, text, (), options.dim).save_folder(folder / "encoder")


def forward_rate(folder: Path, before: list[str]) -> float:
    """Items a second of the forward pass alone."""
    result = folder / "rate.json"
    items = folder / "shop" / "items.parquet"
    run_module("benchmarks.forward_worker", str(folder / "encoder"), str(items), str(result), before=before)
    rate: float = json.loads(result.read_text(encoding="utf-8"))["items_per_second"]
    return rate


def prepare(folder: Path, items: int) -> None:
    """The records of a catalogue."""
    drawn = pq.read_table(folder / "shop" / "items.parquet").drop_columns(["item_id", "first_seen"])
    table = drawn.take(np.arange(items) % DRAWN)
    titles = [f"{title} {number}" for number, title in enumerate(table["title"].to_pylist())]
    table = table.set_column(table.schema.get_field_index("title"), "title", pa.array(titles))
    catalogue = folder / f"items-{items}.parquet"
    pq.write_table(table.append_column("item_id", pa.array(range(items))), catalogue)
    tree = {
        "data": {"items": str(catalogue), "shards": 16},
        "encoders": yaml.safe_load(Path(CONFIG).read_text(encoding="utf-8"))["encoders"],
        "represent": {"encoder": str(folder / "encoder")},
    }
    config(folder, items).write_text(yaml.safe_dump(tree), encoding="utf-8")
    run_module("mim_tf.prepare", "--config", str(config(folder, items)), "--workdir", str(folder / f"prepared-{items}"))


def config(folder: Path, items: int) -> Path:
    """Where a catalogue's settings are."""
    return folder / f"config-{items}.yaml"


def line(folder: Path, items: int, way: str, seconds: dict[str, tuple[int, float]]) -> str:
    """A line of the table; notes its items and seconds for the next number of items."""
    before, master = WAYS[way]
    workdir = shutil.copytree(folder / f"prepared-{items}", folder / f"way-{list(WAYS).index(way)}-{items}")
    engine = [] if master is None else ["--engine", "spark", "--engine-option", f"spark.master={master}"]
    run = ["--config", str(config(folder, items)), "--workdir", str(workdir)]
    begun = time.monotonic()
    peak = run_module("mim_tf.represent", *run, *engine, before=before)
    whole = time.monotonic() - begun
    metrics = json.loads((workdir / "represent" / "metrics.json").read_text(encoding="utf-8"))
    fewer, sooner = seconds.get(way, (0, 0.0))
    further = f"{(items - fewer) / (metrics['seconds'] - sooner):7.1f}" if fewer else f"{'':7}"
    seconds[way] = items, metrics["seconds"]
    return (
        f"{way:22}  {items:7,}  {metrics['items_per_second']:7.1f}  {further}  {metrics['seconds']:7.1f}  {whole:7.1f}"
        f"  {peak / GB:9.1f}"
    )


if __name__ == "__main__":
    main()
