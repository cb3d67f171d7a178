"""What stage 3 trains on: sessions of impressions, each impression once an epoch over all workers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import tensorflow as tf

from mim_tf.data.impression_parser import padding_of
from mim_tf.data.record_files import RecordFiles, Records
from mim_tf.data.record_schema import TRAIN
from mim_tf.data.records import read_sessions
from mim_tf.data.session_batches import rows_in
from mim_tf.errors import SettingsError
from mim_tf.ranking.network import Features
from mim_tf.settings import RankSettings
from mim_tf.training.input_server import InputServer
from mim_tf.training.workers import worker_of

_SHUFFLED = 100_000  # impressions; the records come shuffled, this varies the epochs


@dataclass(frozen=True)
class EpochPlan:
    """How epochs are cut into batches. It follows from the records alone: no worker has to ask the others.

    Attributes:
        rows: of a replica's batch. A row is a session, or a part of one with `rank.candidates` impressions.
        steps: of an epoch, until the worker with most rows has given them all.
    """

    rows: int
    steps: int

    @classmethod
    def of(cls, records: Records, options: RankSettings, workers: int = 1, replicas: int = 1) -> EpochPlan:
        """Plan the epochs of a training.

        Args:
            records: their folder, or several.
            options: impressions of a batch, on average, and of a row, at most; the share of those without a click to
                keep. Below 1, what is kept is an estimate, from the first file.
            workers: among whom the files are shared.
            replicas: of all workers, among whom a batch is shared.

        Raises:
            DataError: there are more workers than files.
        """
        shares = [tf.distribute.InputContext(workers, worker, replicas) for worker in range(workers)]
        shards = [RecordFiles.open(records, [TRAIN], context=share, verify=False).shards for share in shares]
        rows = [rows_in(of, options.candidates) for of in shards]
        impressions = sum(shard.impressions for of in shards for shard in of)
        rows_kept, impressions_kept = _kept(records, options)
        per_row = impressions * impressions_kept / (sum(rows) * rows_kept)
        batch = max(1, round(options.batch_size / replicas / per_row))
        batches = math.ceil(max(rows) * rows_kept / batch)
        return cls(batch, math.ceil(batches / (replicas // workers)))

    @classmethod
    def under(cls, strategy: tf.distribute.Strategy, records: Records, options: RankSettings) -> EpochPlan:
        """Plan the epochs of a training under a strategy; a pass over a file if `rank.negatives_kept` is below 1.

        Raises:
            SettingsError: the batch does not go evenly onto the replicas.
            DataError: there are more workers than files.
        """
        replicas = strategy.num_replicas_in_sync
        if options.batch_size % replicas:
            raise SettingsError(
                f"`rank.batch_size` must be a multiple of the {replicas} replicas. Received: {options.batch_size}."
            )
        several = isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
        workers = replicas // len(strategy.extended.worker_devices) if several else 1
        return cls.of(records, options, workers, replicas)


def training_sessions(
    records: Records,
    options: RankSettings,
    seed: int,
    plan: EpochPlan,
    first_epoch: int = 0,
    context: tf.distribute.InputContext | None = None,
) -> tf.data.Dataset:
    """Batches of training sessions for one worker, for ever: epoch after epoch, each in an order of its own.

    An epoch has as many batches as the plan says. Where this worker's rows are over before, a row without impressions
    stands for each batch. Where the plan is an estimate, impressions that it has no steps for are left out of the
    epoch; of each epoch others.

    Args:
        records: their folder, or several.
        options: as in `EpochPlan.of`; which impressions without a click are kept, each epoch draws anew.
        seed: of the orders and the draws, with the number of the epoch.
        plan: of the training.
        first_epoch: the one to begin with, from 0; it is as it would have been after those before it.
        context: reads only this worker's share of the files.

    Returns:
        Batches as `read_sessions` has them.
    """
    replicas = context.num_replicas_in_sync // context.num_input_pipelines if context else 1

    @tf.autograph.experimental.do_not_convert  # which would rewrite all that finds and opens the files
    def epoch(number: tf.Tensor) -> tf.data.Dataset:
        # Seeds are mixed with the graph's, which would be the program's.
        tf.compat.v1.set_random_seed(1)
        sessions = read_sessions(
            records,
            "train",
            candidates=options.candidates,
            rows=plan.rows,
            shuffle=_SHUFFLED,
            seed=tf.random.stateless_uniform([], [seed, number], maxval=None, minval=None, dtype=tf.int64),
            negatives_kept=options.negatives_kept,
            context=context,
            verify=False,
        )
        nothing = tf.data.Dataset.from_tensors(_no_impressions(sessions.element_spec)).repeat()
        return sessions.concatenate(nothing).take(plan.steps * replicas)

    epochs = tf.data.Dataset.range(first_epoch, tf.int64.max).flat_map(epoch)
    endless = epochs.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))
    return endless.prefetch(tf.data.AUTOTUNE)


def distributed_impressions(
    records: Records,
    options: RankSettings,
    seed: int,
    plan: EpochPlan,
    strategy: tf.distribute.Strategy,
    first_epoch: int = 0,
) -> tf.data.Dataset | tf.distribute.DistributedDataset:
    """`training_sessions` for the replicas of a strategy.

    Under parameter servers the chief, who else only waits, reads for all workers, as `InputServer` tells.

    Raises:
        DataError: a file is missing, truncated or corrupt.
    """
    if options.strategy == "parameter_server":
        RecordFiles.open(records, [TRAIN], context=None, verify=True).fetch()  # the workers' graphs cannot
        host = worker_of(options.strategy).addresses[0].rpartition(":")[0]  # the chief's, as the others know it
        # A step takes a batch for each GPU of the worker that does it.
        context = tf.distribute.InputContext(1, 0, strategy.num_replicas_in_sync)
        server = InputServer(training_sessions(records, options, seed, plan, first_epoch, context), host)
        return strategy.distribute_datasets_from_function(lambda _: server.batches())

    def of_one_worker(context: tf.distribute.InputContext) -> tf.data.Dataset:
        RecordFiles.open(records, [TRAIN], context=context, verify=True)  # damage shows now, not hours later
        return training_sessions(records, options, seed, plan, first_epoch, context)

    return strategy.distribute_datasets_from_function(of_one_worker)


def _kept(records: Records, options: RankSettings) -> tuple[float, float]:
    """The shares of rows and of impressions that stay when negatives are left out, in the first file."""
    if options.negatives_kept == 1:
        return 1.0, 1.0
    files = len(RecordFiles.open(records, [TRAIN], context=None, verify=False).paths)
    first = tf.distribute.InputContext(files, 0, files)
    shards = RecordFiles.open(records, [TRAIN], context=first, verify=False).shards
    sessions = read_sessions(
        records,
        "train",
        candidates=options.candidates,
        rows=4096,
        history_length=1,
        negatives_kept=options.negatives_kept,
        context=first,
        verify=False,
    )
    rows = impressions = 0
    for batch in sessions:
        is_shown = batch["is_shown"].numpy()
        rows, impressions = rows + len(is_shown), impressions + int(is_shown.sum())
    return rows / rows_in(shards, options.candidates), impressions / sum(shard.impressions for shard in shards)


def _no_impressions(batch: dict[str, tf.TensorSpec]) -> Features:
    """A row of a user without behaviours who was shown nothing."""
    return {name: tf.fill([1, *spec.shape[1:]], padding_of(name, spec.dtype)) for name, spec in batch.items()}
