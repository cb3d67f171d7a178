"""What embedding a catalogue costs, here and by Spark: `python -m benchmarks.bulk_embedding`.

    .venv/bin/python -m benchmarks.bulk_embedding --items 4000

The items of a demo shop, by the encoders of configs/demo.yaml with random weights, into an empty store: by one process
on all cores, by one that has one core, and by Spark with one and with two executors of a core each. Rates are items by
the seconds that the stage says, from the first record to the last commit: with Spark, starting the Python workers and
loading the encoder there are in them, starting Spark is not. `whole` are the seconds of the whole command.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

_TITLES = ("red", "blue", "summer", "winter", "dress", "shirt", "shoe", "bag", "cotton", "wool")
WAYS: dict[str, tuple[list[str], list[str]]] = {
    "local": ([], []),
    "local, one core": (["taskset", "-c", "0"], []),
    "spark, 1 executor": ([], ["--engine", "spark", "--engine-option", "spark.master=local-cluster[1,1,1024]"]),
    "spark, 2 executors": ([], ["--engine", "spark", "--engine-option", "spark.master=local-cluster[2,1,1024]"]),
}
"""By name what stands before the command, and its arguments."""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bulk_embedding", description=__doc__)
    parser.add_argument("--items", type=int, default=4000, help="in the shop")
    items = parser.parse_args().items
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _run([sys.executable, "-m", "mim_tf.data.demo_shop", "--out", str(folder / "shop"), "--items", str(items)])
        config = folder / "config.yaml"
        config.write_text(yaml.safe_dump(_settings(folder)), encoding="utf-8")
        run = ["--config", str(config), "--workdir", str(folder / "prepared")]
        _run([sys.executable, "-m", "mim_tf.prepare", *run])
        _save_encoder(folder / "encoder")
        print("way                 items/s  seconds    whole")
        for way in WAYS:
            print(_measured(folder, way), flush=True)


def _settings(folder: Path) -> dict[str, object]:
    encoders = yaml.safe_load(Path("configs/demo.yaml").read_text(encoding="utf-8"))["encoders"]
    return {
        "data": {"items": str(folder / "shop" / "items.parquet"), "shards": 16},
        "encoders": encoders,
        "represent": {"encoder": str(folder / "encoder")},
    }


def _save_encoder(folder: Path) -> None:
    import tensorflow as tf

    from mim_tf.encoders import text_encoder, vision_encoder, vocabulary_files
    from mim_tf.encoders.tokenizers import learn_vocabulary
    from mim_tf.finetuning.item_encoder import ItemEncoder
    from mim_tf.settings import load_settings

    options = load_settings("configs/demo.yaml", []).encoders
    files = vocabulary_files(learn_vocabulary(tf.data.Dataset.from_tensor_slices([" ".join(_TITLES)])))
    vision = vision_encoder(options.vision.name, dim=options.dim, image_size=options.vision.image_size)
    text = text_encoder(options.text.name, dim=options.dim, length=options.text.length, files=files)
    folder.mkdir()
    ItemEncoder(vision, text, (), options.dim).save_folder(folder)


def _measured(folder: Path, way: str) -> str:
    """A line of the table."""
    before, arguments = WAYS[way]
    workdir = shutil.copytree(folder / "prepared", folder / way.replace(",", "").replace(" ", "_"))
    run = ["--config", str(folder / "config.yaml"), "--workdir", str(workdir)]
    start = time.monotonic()
    _run([*before, sys.executable, "-m", "mim_tf.represent", *run, *arguments])
    whole = time.monotonic() - start
    metrics = json.loads((workdir / "represent" / "metrics.json").read_text(encoding="utf-8"))
    return f"{way:18}  {metrics['items_per_second']:7.1f}  {metrics['seconds']:7.1f}  {whole:7.1f}"


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"})


if __name__ == "__main__":
    main()
