"""Stage 3: train the click model, once as the settings say and once without content, and compare them."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow import keras

from mim_tf.data.record_cache import transfers_explained
from mim_tf.data.record_files import RecordFiles
from mim_tf.data.record_schema import TRAIN
from mim_tf.errors import DataError, StageError
from mim_tf.metrics import Interval, paired_seed_interval, ranking_metrics, relative_improvement, seed_interval
from mim_tf.ranking import Ranker
from mim_tf.ranking.ranker import ContentTable
from mim_tf.representation import EmbeddingStore
from mim_tf.settings import Settings
from mim_tf.training.earlier_run import EarlierRun, network_statistics, training_records, weights_path
from mim_tf.training.hyper_parameters import write_hyper_parameters
from mim_tf.training.models import records_folder
from mim_tf.training.rank_fit import backup_of, fit
from mim_tf.training.rank_summaries import RankSummaries, show_gains
from mim_tf.training.rankers import VARIANTS, build_ranker, reads_table, variants_of
from mim_tf.training.ranking_report import COLUMNS, ranking_report
from mim_tf.training.represent import store_path
from mim_tf.training.sample_histories import SampleHistories
from mim_tf.training.scoring import Scored, predictions_path, score_validation
from mim_tf.training.strategies import make_strategy, no_worker_lost, wait_for_all, write_checkpoint
from mim_tf.training.table_versions import TableVersions
from mim_tf.workdir import StageFolder

_SPARE = 0.25  # rows of a training's table for items to come, as a share of those there


@transfers_explained()
def run(settings: Settings, workdir: Path) -> dict[str, float]:
    """Train the variants with each seed and measure them on the validation impressions."""
    start = time.monotonic()
    strategy = make_strategy(settings.rank.strategy)  # before anything else of TensorFlow
    if settings.rank.start_from is not None:
        EarlierRun(settings.rank.start_from).check(settings, workdir)
    # What `rank.replay` names too: refused before the folder holds anything, so the settings can still be mended.
    RecordFiles.open(training_records(settings, workdir, settings.seed), [TRAIN], context=None, verify=False)
    scores: dict[str, list[dict[str, float]]] = {variant: [] for variant in VARIANTS}
    for seed in range(settings.rank.seeds):
        scored: dict[str, Scored] = {}
        for variant in variants_of(settings):
            ranker = _trained(settings, workdir, variant, seed, strategy)
            scored[variant] = _scored(ranker, settings, workdir)
            scores[variant].append(_measured(scored[variant]))
            if strategy.extended.should_checkpoint:
                scored[variant].save(predictions_path(workdir, variant, seed))
                _show_settings(settings, workdir, variant, seed, scores[variant][-1])
        if "base" in scored and strategy.extended.should_checkpoint:
            show_gains(StageFolder(workdir, "rank").tensorboard, seed, scored["model"], scored["base"])
    if strategy.extended.should_checkpoint:
        network_statistics(settings, workdir).save(str(StageFolder(workdir, "rank").path))
    summary = _summary(scores["model"], scores["base"]) | _store_versions(settings, workdir)
    return summary | {"seconds": time.monotonic() - start}


@transfers_explained()
def evaluate(settings: Settings, workdir: Path) -> str:
    """Tables of what the trained models of all seeds are worth on the validation impressions.

    Raises:
        DataError: the validation impressions cannot be measured.
    """
    scored = {
        variant: [
            score_validation(load_ranker(settings, workdir, variant, seed), settings, workdir)
            for seed in range(settings.rank.seeds)
        ]
        for variant in variants_of(settings)
    }
    with _measurable():
        return ranking_report(scored["model"], scored.get("base", []))


def load_ranker(
    settings: Settings, workdir: Path, variant: str, seed: int = 0, *, table: ContentTable | None = None
) -> Ranker:
    """A trained ranker of the finished `rank` stage.

    Args:
        settings: of the run.
        workdir: its folder.
        variant: one of `VARIANTS`.
        seed: which of the trainings, from 0 to `rank.seeds` - 1.
        table: as in `build_ranker`.
    """
    ranker = build_ranker(settings, workdir, variant, table=table)
    ranker.checkpoint().read(str(weights_path(StageFolder(workdir, "rank"), variant, seed))).assert_consumed()
    return ranker


def _trained(settings: Settings, workdir: Path, variant: str, seed: int, strategy: tf.distribute.Strategy) -> Ranker:
    """One variant, trained from one seed; an interrupted training continues after its last whole epoch."""
    stage = StageFolder(workdir, "rank")
    path = weights_path(stage, variant, seed)
    if path.with_name(f"{path.name}.index").exists():  # written last
        return load_ranker(settings, workdir, variant, seed)
    version = None
    if reads_table(settings, variant):
        with no_worker_lost():
            version = _begun_with(settings, workdir, path, strategy)
    keras.utils.set_random_seed(settings.seed + seed)  # both variants start from the same draw
    ranker = build_ranker(settings, workdir, variant, strategy, version=version, spare=_SPARE)
    with no_worker_lost():
        if settings.rank.start_from is not None:
            EarlierRun(settings.rank.start_from).hand_over(ranker, variant, seed)
        is_chief = strategy.extended.should_checkpoint
        summaries = _summaries(ranker, settings, stage, variant, path.name) if is_chief else None

        def measure(epoch: int) -> dict[str, float]:
            scored = _scored(ranker, settings, workdir)
            if summaries:
                summaries.write(scored, epoch)
            return _measured(scored)

        fit(ranker, settings, path, settings.seed + seed, strategy, measure)
        write_checkpoint(ranker.checkpoint(), str(path), strategy)
    if strategy.extended.should_checkpoint:
        shutil.rmtree(backup_of(path), ignore_errors=True)  # not before the weights are safe
    return ranker


def _begun_with(settings: Settings, workdir: Path, path: Path, strategy: tf.distribute.Strategy) -> int:
    """The version of the store that a training begins with, or goes on with: the chief's newest, for all workers."""
    versions = TableVersions(path)
    if strategy.extended.should_checkpoint:
        versions.note(EmbeddingStore(store_path(settings, workdir)).version)
    wait_for_all(strategy)
    return versions.last


def _show_settings(settings: Settings, workdir: Path, variant: str, seed: int, metrics: dict[str, float]) -> None:
    """A row in TensorBoard's table of hyper-parameters."""
    stage = StageFolder(workdir, "rank")
    name = weights_path(stage, variant, seed).name
    write_hyper_parameters(stage, settings, metrics, name, variant=variant, training_seed=settings.seed + seed)


def _store_versions(settings: Settings, workdir: Path) -> dict[str, float]:
    """The versions of the store that the first training began with and the last one ended with."""
    seeds = (0, settings.rank.seeds - 1)
    first, last = (TableVersions(weights_path(StageFolder(workdir, "rank"), "model", seed)) for seed in seeds)
    return {"store_version": last.last, "store_version_first": first.first} if first.known and last.known else {}


def _summaries(ranker: Ranker, settings: Settings, stage: StageFolder, variant: str, name: str) -> RankSummaries:
    """What shows a training's validation impressions; users' histories where the model weighs their contents."""
    histories, weighs = None, settings.rank.content or settings.rank.fusion
    if ranker.table is not None and weighs and reads_table(settings, variant):
        records = records_folder(StageFolder(stage.workdir, "prepare"))
        histories = SampleHistories(records, settings.rank, ranker.table)
    return RankSummaries(stage.tensorboard / name, variant, histories)


def _scored(ranker: Ranker, settings: Settings, workdir: Path) -> Scored:
    """The validation impressions with their predictions.

    Raises:
        StageError: the model gives no finite probabilities.
    """
    scored = score_validation(ranker, settings, workdir)
    if not np.isfinite(scored.probabilities).all():
        raise StageError("the click model has diverged: lower `rank.learning_rate`, or set `rank.warmup`.")
    return scored


def _measured(scored: Scored) -> dict[str, float]:
    """The ranking metrics on the validation impressions.

    Raises:
        DataError: no user of them has both bought and not bought.
    """
    with _measurable():
        return ranking_metrics(scored.labels, scored.probabilities, scored.users)


@contextmanager
def _measurable() -> Iterator[None]:
    """Say what could not be measured."""
    try:
        yield
    except ValueError as error:
        raise DataError(f"the validation impressions cannot be measured: {error}") from error


def _summary(model: list[dict[str, float]], base: list[dict[str, float]]) -> dict[str, float]:
    """Means over seeds of the model's metrics and, with a base, of its (`..._base`) and of the gain (`..._gain`)."""
    summary = {name: seed_interval([scores[name] for scores in model]).estimate for name in model[0]}
    for name in COLUMNS:
        of_model, of_base = [scores[name] for scores in model], [scores[name] for scores in base]
        summary |= _ends(name, seed_interval(of_model))
        if base:
            summary |= _ends(f"{name}_base", seed_interval(of_base))
            summary |= _ends(f"{name}_gain", paired_seed_interval(of_model, of_base))
    if base and summary["auc_base"] > 0.5:
        summary["auc_relative_improvement"] = relative_improvement(summary["auc"], summary["auc_base"])
    return summary


def _ends(name: str, interval: Interval) -> dict[str, float]:
    """The mean and, where there are seeds to tell, the ends of its 95% interval."""
    mean = {name: interval.estimate}
    ends = {f"{name}_lower": interval.lower, f"{name}_upper": interval.upper}
    return mean | ends if interval.lower == interval.lower else mean
