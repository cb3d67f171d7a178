"""What stage 3 trains on: the impressions, of which some without a click may be left out."""

from __future__ import annotations

import math
from pathlib import Path

import tensorflow as tf

from mim_tf.data.record_schema import RecordSchema
from mim_tf.data.records import read_impressions
from mim_tf.settings import RankSettings

_SHUFFLED = 100_000  # impressions; the records come shuffled, this varies the epochs


def training_impressions(
    records: Path, options: RankSettings, seed: int, context: tf.distribute.InputContext | None = None
) -> tf.data.Dataset:
    """Batches of training impressions, for ever.

    Args:
        records: their folder.
        options: batch size, and the share of impressions without a click to keep; which ones, each epoch draws anew.
        seed: of the order and of the draws.
        context: reads only this worker's share of the files, and its share of a batch.
    """
    batches = read_impressions(
        records,
        "train",
        batch_size=options.batch_size,
        shuffle=_SHUFFLED,
        seed=seed,
        repeat=True,
        context=context,
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
