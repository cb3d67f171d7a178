"""Going on from earlier runs: yesterday's weights, the statistics its columns were built from, and older records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mim_tf.data.feature_statistics import FEATURES_FILE, FeatureStatistics
from mim_tf.data.mixed_records import MixedRecords
from mim_tf.data.record_files import Records
from mim_tf.errors import StageError
from mim_tf.ranking import Ranker
from mim_tf.settings import Settings
from mim_tf.training.models import records_folder
from mim_tf.training.represent import fingerprint_file
from mim_tf.workdir import StageFolder, changed_settings

# What the weights stand for. All else, such as epochs, rates and dropout, each run has of its own.
_NETWORK = {
    "data": ("item_features", "impression_features"),  # their order is that of the tower's inputs
    "encoders": ("dim",),
    "rank": (
        *("ubm", "ubm_options", "id_interest", "content", "fusion", "query", "embeddings"),
        *("item_dim", "category_dim", "hash_bins", "features", "tower_units", "activation", "cross_layers"),
        "negatives_kept",  # the share of the negatives moves all logits
    ),
}


class EarlierRun:
    """The finished `rank` stage of an earlier run, as `rank.start_from` names it.

    Its weights are handed over, and Adam's moments are not: they are of the last steps on another day, at the end of a
    schedule that begins anew, and models that went on with them were no better. What matters is the rate: it says how
    fast a run forgets, and one that suits a first run's epochs is soon too much for a day's few steps.

    Args:
        workdir: of that run.

    Raises:
        StageError: its `rank` stage is not finished.
    """

    def __init__(self, workdir: str | Path) -> None:
        self._stage = StageFolder(workdir, "rank")
        if not self._stage.finished:
            raise StageError(
                f"`rank.start_from` must be the workdir of a run whose rank stage is finished. Received: {workdir}. "
                f"Run first: python -m mim_tf.train --stage rank --workdir {workdir} --config (that run's)"
            )

    def check(self, settings: Settings, workdir: Path) -> None:
        """Refuse a run whose network, or whose items' embeddings, are others.

        Args:
            settings: of the run that goes on.
            workdir: its folder, whose `represent` stage is finished.

        Raises:
            StageError: naming every setting that differs.
        """
        self.check_network(settings)
        if settings.rank.content or settings.rank.fusion or settings.rank.query:
            self._check_embeddings(workdir)

    def check_network(self, settings: Settings) -> None:
        """Refuse settings of another network.

        Raises:
            StageError: naming every setting that differs.
        """
        then = self._stage.settings
        changes = [
            change
            for name in _NETWORK
            for change in changed_settings(name, _network(then)[name], _network(settings)[name])
        ]
        if settings.rank.seeds > then.rank.seeds:
            changes.append(f"rank.seeds was {then.rank.seeds}, now {settings.rank.seeds}")
        if settings.rank.base and not then.rank.base:
            changes.append("rank.base was False, now True")
        if changes:
            raise StageError(
                f"`rank.start_from` must be a run of the same click model. Received: {self._stage.workdir}, with other "
                f"settings: {'; '.join(changes)}."
            )

    def _check_embeddings(self, workdir: Path) -> None:
        here, there = (fingerprint_file(StageFolder(run, "represent")) for run in (workdir, self._stage.workdir))
        if here.read_text(encoding="utf-8") != there.read_text(encoding="utf-8"):
            raise StageError(
                f"`represent.encoder` must be the encoder of `rank.start_from`, {there.parent / 'item_encoder'}, whose "
                "embeddings its weights are for. Received: another one."
            )

    @property
    def statistics(self) -> FeatureStatistics:
        """What the columns of its network are built from."""
        return network_statistics(self._stage.settings, self._stage.workdir)

    def hand_over(self, ranker: Ranker, variant: str, seed: int) -> None:
        """Give a ranker the weights that one training ended with.

        Args:
            ranker: as `build_ranker` makes it.
            variant: one of `VARIANTS`.
            seed: which of the trainings, from 0.
        """
        ranker.checkpoint().read(str(weights_path(self._stage, variant, seed))).assert_existing_objects_matched()


def weights_path(rank: StageFolder, variant: str, seed: int) -> Path:
    """Prefix of a training's final checkpoint."""
    return rank.checkpoints / f"{variant}-{seed}"


def network_statistics(settings: Settings, workdir: str | Path) -> FeatureStatistics:
    """What the columns of a run's network are built from: its records', or in a chain of runs those of the first one.

    A finished run keeps its own copy, so it can be used when the runs before it are gone.

    Raises:
        StageError: the run is not finished, nor the one that it starts from.
        DataError: there are none.
    """
    kept = StageFolder(workdir, "rank")
    if kept.finished and (kept.path / FEATURES_FILE).exists():  # else it may be half written
        return FeatureStatistics.load(kept.path)
    if settings.rank.start_from is not None:
        return EarlierRun(settings.rank.start_from).statistics
    return FeatureStatistics.load(records_folder(StageFolder(workdir, "prepare")))


def check_earlier_runs(settings: Settings) -> None:
    """Refuse what `rank.start_from` and `rank.replay` name, as far as it shows before the run's own stages are made.

    Raises:
        StageError: a run is not finished as far as it is needed, or its click model is another.
    """
    if settings.rank.start_from is not None:
        EarlierRun(settings.rank.start_from).check_network(settings)
    for run in settings.rank.replay:
        _prepared(run)


def training_records(settings: Settings, workdir: str | Path, seed: int) -> Records:
    """What the click model trains on: the run's own records, and the share of earlier runs' that `rank.replay` names.

    Args:
        settings: of the run.
        workdir: its folder.
        seed: draws the files of a share.

    Raises:
        StageError: the records of an earlier run are not finished.
    """
    own = records_folder(StageFolder(workdir, "prepare"))
    replayed = {str(records_folder(_prepared(run))): share for run, share in settings.rank.replay.items()}
    return MixedRecords(own, replayed, seed) if replayed else own


def _prepared(workdir: str) -> StageFolder:
    stage = StageFolder(workdir, "prepare")
    if not stage.finished:
        raise StageError(
            f"`rank.replay` must name workdirs of runs that are prepared. Received: {workdir}. "
            f"Run first: python -m mim_tf.prepare --workdir {workdir} --config (that run's)"
        )
    return stage


def _network(settings: Settings) -> dict[str, Any]:
    tree = settings.model_dump(mode="json")
    return {section: {name: tree[section][name] for name in names} for section, names in _NETWORK.items()}
