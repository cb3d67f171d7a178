"""What stage 3 trains on: the impressions, of which some without a click may be left out."""

from __future__ import annotations

import math
from pathlib import Path

import tensorflow as tf

from mim_tf.data.record_schema import RecordSchema
from mim_tf.data.records import read_impressions
from mim_tf.errors import SettingsError
from mim_tf.settings import RankSettings

_SHUFFLED = 100_000  # impressions; the records come shuffled, this varies the epochs


def training_impressions(
    records: Path,
    options: RankSettings,
    seed: int | None,
    context: tf.distribute.InputContext | None = None,
    verify: bool = True,
) -> tf.data.Dataset:
    """Batches of training impressions, for ever.

    Args:
        records: their folder.
        options: batch size, and the share of impressions without a click to keep; which ones, each epoch draws anew.
        seed: of the order and of the draws; None leaves both to chance.
        context: reads only this worker's share of the files, and its share of a batch.
        verify: as in `read_impressions`.
    """
    batches = read_impressions(
        records,
        "train",
        batch_size=options.batch_size,
        shuffle=_SHUFFLED,
        seed=seed,
        repeat=True,
        context=context,
        verify=verify,
    )
    if options.negatives_kept == 1:
        return batches
    size = options.batch_size if context is None else context.get_per_replica_batch_size(options.batch_size)
    draws = tf.data.Dataset.random(seed=seed).batch(2, drop_remainder=True)

    def sample(impressions: dict[str, tf.Tensor], draw: tf.Tensor) -> dict[str, tf.Tensor]:
        labels = impressions["label"]
        kept = tf.random.stateless_uniform(tf.shape(labels), seed=draw) < options.negatives_kept
        return {name: tf.boolean_mask(column, (labels == 1) | kept) for name, column in impressions.items()}

    return tf.data.Dataset.zip((batches, draws)).map(sample, tf.data.AUTOTUNE).rebatch(size).prefetch(tf.data.AUTOTUNE)


def distributed_impressions(
    records: Path, options: RankSettings, seed: int, strategy: tf.distribute.Strategy
) -> tf.data.Dataset | tf.distribute.DistributedDataset:
    """`training_impressions` for the replicas of a strategy.

    Under parameter servers each worker reads all files at its own pace, in an order of its own that no seed tells:
    TensorFlow makes one dataset for all of them, which knows no worker's number.

    Raises:
        SettingsError: the batch does not go evenly onto the replicas.
    """
    replicas = strategy.num_replicas_in_sync
    if options.batch_size % replicas:
        raise SettingsError(
            f"`rank.batch_size` must be a multiple of the {replicas} replicas. Received: {options.batch_size}."
        )
    if options.strategy == "parameter_server":
        read_impressions(records, "train")  # checks the files: the workers' graphs cannot
        return strategy.distribute_datasets_from_function(lambda context: _in_any_order(records, options, context))
    return strategy.distribute_datasets_from_function(
        lambda context: training_impressions(records, options, seed, context)
    )


def _in_any_order(records: Path, options: RankSettings, context: tf.distribute.InputContext) -> tf.data.Dataset:
    """Batches of a graph that gives every worker that runs it another order."""
    tf.random.set_seed(None)  # of this graph alone: a seed would be in it, the same for all
    return training_impressions(records, options, None, context, verify=False)


def steps_per_epoch(records: Path, options: RankSettings) -> int:
    """Steps in which each training impression comes once, of those without a click the share that is kept."""
    impressions = RecordSchema.load(records).counts["impressions/train"]
    if options.negatives_kept < 1:
        clicks = _clicks(records)
        impressions = clicks + round((impressions - clicks) * options.negatives_kept)
    return math.ceil(impressions / options.batch_size)


def _clicks(records: Path) -> int:
    batches = read_impressions(records, "train", batch_size=4096, history_length=1, verify=False)
    return int(batches.reduce(tf.zeros([], tf.int64), lambda total, batch: total + tf.reduce_sum(batch["label"])))
