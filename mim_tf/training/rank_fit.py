"""One training of stage 3: Keras' `fit` with all that happens beside its steps."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf
from tensorflow import keras

from mim_tf.data.record_schema import RecordSchema
from mim_tf.ranking import Ranker
from mim_tf.ranking.end_to_end_model import EndToEndModel
from mim_tf.ranking.tfrs_model import RankingModel
from mim_tf.representation import DistributedTable, EmbeddingTable
from mim_tf.settings import RankSettings, Settings
from mim_tf.training.earlier_run import training_records
from mim_tf.training.follow_store import FollowStore
from mim_tf.training.models import records_folder
from mim_tf.training.rank_callbacks import BestEpoch, Progress, Traced
from mim_tf.training.rank_input import EpochPlan, distributed_impressions
from mim_tf.training.rank_optimizer import encoder_optimizer, rank_optimizer
from mim_tf.training.rankers import one_row
from mim_tf.training.represent import store_path
from mim_tf.training.step_trace import StepTrace
from mim_tf.workdir import StageFolder


def fit(
    ranker: Ranker,
    settings: Settings,
    path: Path,
    seed: int,
    strategy: tf.distribute.Strategy,
    measure: Callable[[int], dict[str, float]],
) -> None:
    """Train a ranker, from where an interrupted training has stopped.

    Args:
        ranker: made under `strategy`.
        settings: of the run.
        path: prefix of the training's checkpoints in the folder of the `rank` stage.
        seed: of the order of the impressions.
        strategy: that it is trained under.
        measure: gives the metrics on validation impressions after the epoch of a number, on every worker.
    """
    stage = StageFolder(path.parents[2], "rank")
    options, is_chief = settings.rank, strategy.extended.should_checkpoint
    records = records_folder(StageFolder(stage.workdir, "prepare"))
    mixed = training_records(settings, stage.workdir, seed)
    plan, first_epoch = EpochPlan.under(strategy, mixed, options), first_epoch_of(path)
    with strategy.scope():
        model = compiled(ranker, options, plan.steps * options.epochs)
    model(one_row(RecordSchema.load(records)))  # BackupAndRestore wants a model that was called
    if first_epoch:
        print(f"{path.name}: continues at epoch {first_epoch} of {options.epochs}", file=sys.stderr, flush=True)
    with StepTrace(stage.tensorboard / path.name if is_chief else None, options.profile) as trace:
        shown = [
            keras.callbacks.TensorBoard(str(stage.tensorboard / path.name), profile_batch=0),
            Progress(path.name, options.epochs, plan.steps),
            *([Traced(trace, plan.steps)] if options.profile else []),
        ]
        model.fit(
            distributed_impressions(mixed, options, seed, plan, strategy, first_epoch),
            epochs=options.epochs,
            steps_per_epoch=plan.steps,
            verbose=0,
            callbacks=[
                BestEpoch(ranker.checkpoint(), path, options.patience, measure, strategy),
                keras.callbacks.BackupAndRestore(str(backup_of(path)), delete_checkpoint=False),
                *_followers(ranker, settings, stage, path, strategy),
                *(shown if is_chief else []),
            ],
        )


def compiled(ranker: Ranker, options: RankSettings, steps: int) -> RankingModel:
    """The ranker ready for `fit`.

    Args:
        ranker: as `build_ranker` makes it.
        options: of how it learns.
        steps: of the whole training.
    """
    optimizer = rank_optimizer(options, steps)
    if ranker.table is None or not ranker.table.trainable_variables:
        model = RankingModel(ranker, options.batch_size)
        model.compile(optimizer=optimizer)
        return model
    end_to_end = EndToEndModel(ranker, options.batch_size)
    end_to_end.compile(optimizer=optimizer, encoder_optimizer=encoder_optimizer(options, steps))
    return end_to_end


def _followers(
    ranker: Ranker, settings: Settings, stage: StageFolder, path: Path, strategy: tf.distribute.Strategy
) -> list[keras.callbacks.Callback]:
    """What keeps a table up to date, where it can change."""
    table = ranker.table
    if not isinstance(table, EmbeddingTable) or isinstance(table, DistributedTable):
        return []
    return [FollowStore(table, store_path(settings, stage.workdir), path, strategy)]


def backup_of(path: Path) -> Path:
    """Folder of what a training goes on from."""
    return path.with_name(f"{path.name}-backup")


def first_epoch_of(path: Path) -> int:
    """The epoch that a training begins with, or goes on with: after the last that `BackupAndRestore` has saved."""
    saved = tf.Variable(-1, dtype=tf.int64)
    newest = tf.train.latest_checkpoint(str(backup_of(path) / "chief"))
    if newest is not None:
        tf.train.Checkpoint(ckpt_saved_epoch=saved).read(newest).assert_existing_objects_matched().expect_partial()
    return int(saved.numpy()) + 1
