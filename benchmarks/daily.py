"""What it is worth to go on from yesterday's click models, and what it costs.

    .venv/bin/python -m benchmarks.daily                     # a drawn shop whose fashions change
    .venv/bin/python -m benchmarks.daily --fashion 0         # one whose do not
    .venv/bin/python -m benchmarks.daily --config configs/hm.yaml --from 2020-01-01 --days 30 --windows 5 --seeds 2

A log is cut at `--from` and then every `--days`. The first run trains on what was before. Each later window is asked of
models that have seen what was before it and nothing of it: the first run's as they are; those that a chain of runs went
on with, an epoch of each window, at several rates, and with record files of the first run beside the window's; and
those of a run of its own over everything. AUCs and log losses are means over windows and seeds; `change` is the model's
AUC less that of the first run's, window by window. Steps and seconds are those of `rank`, of both models, for a window
and a seed.

Contents are the principal components of the words in titles, so that no encoder has to be trained. The drawn shop has
a thousand items, of which half arrive while the log runs, and 91 days before the first cut.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["TF_USE_LEGACY_KERAS"] = "1"

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from sklearn.decomposition import PCA
from sklearn.feature_extraction.text import TfidfVectorizer

from mim_tf.data.demo_shop import FIRST_SECOND, make_demo_shop
from mim_tf.data.records import read_items
from mim_tf.errors import SettingsError
from mim_tf.metrics import ranking_metrics
from mim_tf.representation import EmbeddingStore
from mim_tf.settings import Settings, load_settings, parse_settings
from mim_tf.training import prepare, rank
from mim_tf.training.earlier_run import EarlierRun, training_records
from mim_tf.training.models import records_folder
from mim_tf.training.rank_input import EpochPlan
from mim_tf.training.rankers import VARIANTS, build_ranker
from mim_tf.training.represent import fingerprint_file
from mim_tf.training.scoring import score_validation
from mim_tf.workdir import StageFolder

DAY, FIRST_DAYS, ITEMS, DIM = 86_400, 91, 1000, 64


@dataclass(frozen=True)
class Way:
    """How the models come about that a window is asked of.

    Attributes:
        name: in the table.
        goes_on: from the run of the window before, on that window alone; otherwise its run begins anew, on everything.
        rank: what it changes in the settings of `rank`.
        replayed: share of the first run's record files beside the window's.
    """

    name: str
    goes_on: bool
    rank: dict[str, Any]
    replayed: float = 0.0


def ways(rates: list[float], replayed: float) -> list[Way]:
    """Going on at each rate; at the first of them with files of the first run; and beginning anew."""
    on = [{"epochs": 1, "learning_rate": rate, "schedule": "constant"} for rate in rates]
    return [
        *(Way(f"on, rate {options['learning_rate']:g}", True, options) for options in on),
        Way(f"on, and {replayed:.0%} of the first", True, on[0], replayed),
        Way("anew on everything", False, {}),
    ]


@dataclass(frozen=True)
class Log:
    """A log and where it is cut.

    Attributes:
        settings: of a run over it.
        cuts: seconds UTC at which windows begin, and at which the last one ends.
        folder: of all runs.
    """

    settings: Settings
    cuts: list[int]
    folder: Path

    @property
    def measured(self) -> range:
        """The windows that all ways are measured on; the one before them is the first that is gone on with."""
        return range(1, len(self.cuts) - 1)

    def run(self, window: int, *, alone: bool, **rank_options: Any) -> Settings:
        """Settings of a run that is validated on a window: trained on the one before it alone, or on everything."""
        tree = self.settings.model_dump(exclude_unset=True)
        tree["data"] |= {"impressions": str(self._until(window + 1)), "validation_from": self.cuts[window]}
        tree["data"] |= {"train_from": self.cuts[window - 1]} if alone else {}
        tree["encoders"] = {"dim": DIM}
        tree["represent"] = {"store": str(self.folder / "store.lance")}
        tree["rank"] = tree.get("rank", {}) | rank_options
        return parse_settings(tree, "benchmark")

    def _until(self, cut: int) -> Path:
        """The log as it was at a cut."""
        path = self.folder / f"until-{cut}.parquet"
        if not path.exists():
            log = pq.read_table(str(self.settings.data.impressions))
            pq.write_table(log.filter(pc.less(log["timestamp"], self.cuts[cut])), path)
        return path


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.daily", description=__doc__)
    parser.add_argument("--config", help="of a run over a log in Parquet; default: over a drawn shop")
    parser.add_argument("--from", dest="begin", type=np.datetime64, help="date, UTC, of the first cut; with --config")
    parser.add_argument("--days", type=int, default=7, help="of a window")
    parser.add_argument("--windows", type=int, default=3, help="to be measured on, after the one first gone on with")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--rates", type=float, nargs="+", default=[0.002, 0.005], help="at which runs go on")
    parser.add_argument("--replayed", type=float, default=0.25, help="share of the first run's files")
    parser.add_argument("--users", type=int, default=3000, help="of the drawn shop")
    parser.add_argument("--fashion", type=float, default=0.5, help="how strong it is in the drawn shop")
    parser.add_argument("--set", action="append", default=[], help="as of the commands: rank.ubm=average, ...")
    parser.add_argument("--folder", type=Path, help="where runs are made; default: a temporary folder")
    arguments = parser.parse_args()
    if (arguments.config is None) != (arguments.begin is None):
        parser.error("--config and --from go together")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        try:
            log = opened(arguments, Path(name))
        except SettingsError as error:
            parser.error(str(error))
        first = prepared(log, 0, alone=False)
        ranked(log.run(0, alone=False), first)
        print(f"{'':26}     AUC  log loss  base AUC   steps  seconds  change")
        still = unchanged(log, first)
        print(line("first run, unchanged", still, still), flush=True)
        for number, way in enumerate(ways(arguments.rates, arguments.replayed)):
            metrics = trained(log, way, first, folder=log.folder / f"way-{number}")
            print(line(way.name, metrics, still), flush=True)


def opened(arguments: argparse.Namespace, folder: Path) -> Log:
    """The log that the command names, or a drawn one.

    Raises:
        SettingsError: it cannot be measured, as `check` tells, or its settings are wrong.
    """
    windows = arguments.windows + 1
    if arguments.config is None:
        begin = FIRST_SECOND + FIRST_DAYS * DAY
        shop, days = folder / "shop", FIRST_DAYS + windows * arguments.days
        make_demo_shop(
            shop, items=ITEMS, users=arguments.users, days=days, searches=100, fashion_strength=arguments.fashion
        )
        arguments.config = folder / "shop.yaml"
        arguments.config.write_text(
            f"data: {{items: {shop}/items.parquet, impressions: {shop}/impressions.parquet, first_seen: first_seen}}\n"
            "rank: {ubm: din, epochs: 3, item_epsilon: 0.003, hash_bins: 4096}\n"
        )
    else:
        begin = int(arguments.begin.astype("datetime64[s]").astype(int))
    fixed = [f"rank.seeds={arguments.seeds}", "data.pairs=null", "data.pairs_share=0", "data.shards=8"]
    settings = load_settings(arguments.config, [*arguments.set, *fixed])
    check(settings)
    return Log(settings, [begin + window * arguments.days * DAY for window in range(windows + 1)], folder)


def check(settings: Settings) -> None:
    """Make sure that a log can be cut, and that it is known how many epochs its runs train.

    Raises:
        SettingsError: it is not so.
    """
    impressions = settings.data.impressions
    try:
        pq.ParquetDataset(str(impressions))
    except (pa.ArrowInvalid, OSError) as error:
        raise SettingsError(
            f"`data.impressions` must be Parquet, a file or a folder, to be cut into days. Received: {impressions}."
        ) from error
    if settings.rank.patience is not None:
        raise SettingsError(
            "`rank.patience` must be null: steps are counted for all of `rank.epochs`. "
            f"Received: {settings.rank.patience}."
        )


def prepared(log: Log, window: int, *, alone: bool) -> Path:
    """The workdir of a run, as it is before its `rank`."""
    workdir = log.folder / f"{'alone' if alone else 'all'}-{window}"
    if workdir.exists():
        return workdir
    settings = log.run(window, alone=alone)
    with StageFolder(workdir, "prepare").begin(settings):
        StageFolder(workdir, "prepare").finish(prepare.run(settings, workdir))
    StageFolder(workdir, "represent").path.mkdir()
    fingerprint_file(StageFolder(workdir, "represent")).write_text("words\n")
    if not (log.folder / "store.lance").exists():
        fill(log, workdir)
    return workdir


def fill(log: Log, workdir: Path) -> None:
    """Put what the items' titles say into the store."""
    items = list(read_items(records_folder(StageFolder(workdir, "prepare"))).as_numpy_iterator())
    words = TfidfVectorizer(min_df=2).fit_transform([item["title"].decode() for item in items])
    vectors = PCA(DIM, svd_solver="arpack", random_state=0).fit_transform(words)
    store = EmbeddingStore.create(str(log.folder / "store.lance"), id_type="int64", dim=DIM)
    store.upsert(np.array([item["item_id"] for item in items]), vectors, encoder="words")


def trained(log: Log, way: Way, first: Path, folder: Path) -> list[dict[str, float]]:
    """The metrics of a way's runs, window by window."""
    replay = {"replay": {str(first): way.replayed}} if way.replayed else {}
    metrics, earlier = [], first
    for window in log.measured:
        workdir = folder / str(window)
        shutil.copytree(prepared(log, window, alone=way.goes_on), workdir)
        start = {"start_from": str(earlier)} if way.goes_on else {}
        metrics.append(ranked(log.run(window, alone=way.goes_on, **way.rank, **replay, **start), workdir))
        earlier = workdir
    return metrics


def ranked(settings: Settings, workdir: Path) -> dict[str, float]:
    """Train the click models of a prepared run; its metrics, and a seed's steps and seconds."""
    with StageFolder(workdir, "rank").begin(settings):
        metrics = rank.run(settings, workdir)
        StageFolder(workdir, "rank").finish(metrics)
    plan = EpochPlan.of(training_records(settings, workdir, settings.seed), settings.rank)
    steps = len(VARIANTS) * plan.steps * settings.rank.epochs
    return metrics | {"steps": steps, "seconds": metrics["seconds"] / settings.rank.seeds}


def unchanged(log: Log, first: Path) -> list[dict[str, float]]:
    """What the first run's models are worth, window by window."""
    return [
        asked(log.run(window, alone=True, start_from=str(first)), prepared(log, window, alone=True), first)
        for window in log.measured
    ]


def asked(settings: Settings, workdir: Path, first: Path) -> dict[str, float]:
    """The metrics of an earlier run's models on a run's validation impressions, means of the seeds."""
    found: dict[str, list[float]] = {}
    for variant in VARIANTS:
        for seed in range(settings.rank.seeds):
            ranker = build_ranker(settings, workdir, variant)
            EarlierRun(first).hand_over(ranker, variant, seed)
            scored = score_validation(ranker, settings, workdir)
            for name, value in ranking_metrics(scored.labels, scored.probabilities, scored.users).items():
                found.setdefault(name if variant == "model" else f"{name}_base", []).append(value)
    return {name: float(np.mean(values)) for name, values in found.items()} | {"steps": 0, "seconds": 0}


def line(way: str, metrics: list[dict[str, float]], first: list[dict[str, float]]) -> str:
    """A line of the table."""
    auc, log_loss, base, steps = (
        np.mean([of[name] for of in metrics]) for name in ("auc", "log_loss", "auc_base", "steps")
    )
    seconds = np.mean([of["seconds"] for of in metrics])
    changes = "  ".join(f"{of['auc'] - to['auc']:+.4f}" for of, to in zip(metrics, first, strict=True))
    return f"{way:26}  {auc:.4f}    {log_loss:.4f}    {base:.4f}  {steps:6.0f}  {seconds:7.1f}  {changes}"


if __name__ == "__main__":
    main()
