"""What a new week's impressions are worth to a click model, and what it costs to learn from them.

    .venv/bin/python -m benchmarks.daily                  # 3,000 users, one seed
    .venv/bin/python -m benchmarks.daily 8000 3

The shop is drawn: a thousand items, of which half arrive while the log runs, and 105 days. A first run trains on 91 of
them. Four ways to go on with the seven days after those are measured on the last seven: the first run's weights as they
are; started from them and trained on the new week, with and without a warm-up of Adam's rate, and with a share of the
first run's records; and a run of its own over all 98 days. Contents are small pictures, 48 numbers per item, so no
encoder has to be trained. Seconds are those of `prepare` and `rank` with both models; AUCs are means of the seeds.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["TF_USE_LEGACY_KERAS"] = "1"

import numpy as np
import tensorflow as tf

from mim_tf.data.demo_shop import make_demo_shop
from mim_tf.data.records import read_items
from mim_tf.metrics import ranking_metrics
from mim_tf.representation import EmbeddingStore
from mim_tf.settings import Settings, parse_settings
from mim_tf.training import prepare, rank
from mim_tf.training.earlier_run import EarlierRun
from mim_tf.training.models import records_folder
from mim_tf.training.rankers import VARIANTS, build_ranker
from mim_tf.training.represent import fingerprint_file, store_path
from mim_tf.training.scoring import score_validation
from mim_tf.workdir import StageFolder

ITEMS, SIDE = 1000, 4
FIRST, DAY = 1_735_689_600, 86_400  # the log's first second, of 2025
WEEK, NEXT, DAYS = 91, 98, 105
EPOCHS, REPLAYED = 3, 0.25


def main(users: int, seeds: int) -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_demo_shop(folder / "shop", items=ITEMS, users=users, days=DAYS, searches=100)
        first, new, anew = (folder / run for run in ("first", "new", "anew"))
        of_first = settings_of(folder, WEEK, seeds=seeds)
        seconds = {
            "first": prepared(first, of_first),
            "new": prepared(new, settings_of(folder, NEXT, WEEK)),
            "anew": prepared(anew, settings_of(folder, NEXT)),
        }
        started = {"start_from": str(first), "epochs": 1, "seeds": seeds}
        ways: dict[str, tuple[str, dict[str, Any]]] = {
            "on from it": ("new", started),
            "on from it, warm-up 0.1": ("new", started | {"warmup": 0.1}),
            f"and {REPLAYED:.0%} of the first days": (
                "new",
                started | {"warmup": 0.1, "replay": {str(first): REPLAYED}},
            ),
            "anew on all days": ("anew", {"seeds": seeds}),
        }
        print(f"{users:,} users; {'':24} AUC     base AUC  prepare s   rank s  impressions")
        metrics = ranked(first, of_first)
        print(f"{'first run, on its own next days':42}{row(metrics, seconds['first'], first)}")
        unchanged = measured(settings_of(folder, NEXT, WEEK, **started), new)
        print(f"{'first run, unchanged':42}{unchanged['model']:.4f}  {unchanged['base']:.4f}")
        for way, (run, options) in ways.items():
            workdir = folder / f"{run}-{way}"
            shutil.copytree(folder / run, workdir)
            settings = settings_of(folder, NEXT, WEEK if run == "new" else None, **options)
            print(f"{way:42}{row(ranked(workdir, settings), seconds[run], workdir)}")


def settings_of(folder: Path, validation_day: int, first_day: int | None = None, **options: Any) -> Settings:
    """A run over some days."""
    files = {name: str(folder / "shop" / f"{name}.parquet") for name in ("items", "impressions")}
    data = {"validation_from": FIRST + validation_day * DAY, "shards": 8, "first_seen": "first_seen"}
    days = {} if first_day is None else {"train_from": FIRST + first_day * DAY}
    network = {"ubm": "din", "item_epsilon": 0.003, "hash_bins": 4096}
    tree = {
        "data": files | data | days,
        "encoders": {"dim": 3 * SIDE**2},
        "rank": {"epochs": EPOCHS} | network | options,
    }
    return parse_settings(tree, "benchmark")


def prepared(workdir: Path, settings: Settings) -> float:
    """Prepare a run, with its items' contents; returns the seconds of the first."""
    begun = time.perf_counter()
    with StageFolder(workdir, "prepare").begin(settings):
        StageFolder(workdir, "prepare").finish(prepare.run(settings, workdir))
    seconds = time.perf_counter() - begun
    StageFolder(workdir, "represent").path.mkdir()
    store = EmbeddingStore.create(store_path(settings, workdir), id_type="int64", dim=settings.encoders.dim)
    store.upsert(*pictures(workdir), encoder="pictures")
    fingerprint_file(StageFolder(workdir, "represent")).write_text("pictures\n")
    return seconds


def pictures(workdir: Path) -> tuple[np.ndarray, np.ndarray]:
    """The items' ids and small pictures, around their mean."""
    items = list(read_items(records_folder(StageFolder(workdir, "prepare"))).as_numpy_iterator())
    images = [tf.image.decode_jpeg(item["image"], channels=3) for item in items]
    small = np.stack([tf.image.resize(image, [SIDE, SIDE], method="area").numpy().ravel() for image in images]) / 255
    return np.array([item["item_id"] for item in items]), small - small.mean(axis=0)


def ranked(workdir: Path, settings: Settings) -> dict[str, float]:
    """Train the click models of a prepared run."""
    with StageFolder(workdir, "rank").begin(settings):
        metrics = rank.run(settings, workdir)
        StageFolder(workdir, "rank").finish(metrics)
    return metrics


def measured(settings: Settings, workdir: Path) -> dict[str, float]:
    """The AUC of each variant, mean of the seeds, with the weights that a run begins with."""
    aucs: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    for variant in VARIANTS:
        for seed in range(settings.rank.seeds):
            ranker = build_ranker(settings, workdir, variant)
            EarlierRun(str(settings.rank.start_from)).hand_over(ranker, variant, seed)
            scored = score_validation(ranker, settings, workdir)
            aucs[variant].append(ranking_metrics(scored.labels, scored.probabilities, scored.users)["auc"])
    return {variant: float(np.mean(of)) for variant, of in aucs.items()}


def row(metrics: dict[str, float], seconds: float, workdir: Path) -> str:
    """One line of the table."""
    impressions = StageFolder(workdir, "prepare").metrics["impressions_train"]
    return (
        f"{metrics['auc']:.4f}  {metrics['auc_base']:.4f}    {seconds:7.1f}  {metrics['seconds']:7.1f}"
        f"  {impressions:11,.0f}"
    )


if __name__ == "__main__":
    main(*(int(argument) for argument in (sys.argv[1:] or ["3000", "1"])))
