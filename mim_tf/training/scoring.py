"""A ranker's predictions for the validation impressions."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from mim_tf.data.record_schema import VALIDATION, RecordSchema
from mim_tf.data.records import read_sessions
from mim_tf.data.session_batches import rows_in
from mim_tf.ranking import Ranker
from mim_tf.ranking.network import Features
from mim_tf.settings import RankSettings, Settings
from mim_tf.training.models import records_folder
from mim_tf.workdir import StageFolder


class Scored(NamedTuple):
    """Impressions with their predictions, in the order of the records."""

    labels: np.ndarray  # [impressions] 0 or 1
    users: np.ndarray  # [impressions] int64, or bytes
    categories: np.ndarray  # [impressions] bytes, of the items
    ages: np.ndarray  # [impressions] int64, seconds since the item first appeared
    probabilities: np.ndarray  # [impressions] float32


def score_validation(ranker: Ranker, settings: Settings, workdir: Path) -> Scored:
    """Predict every validation impression."""
    records = records_folder(StageFolder(workdir, "prepare"))
    return score(ranker, validation_sessions(records, settings.rank))


def validation_sessions(records: str | Path, options: RankSettings) -> tf.data.Dataset:
    """Batches of validation sessions: `rank.batch_size` impressions on average, `rank.candidates` of a row at most."""
    shards = RecordSchema.load(records).shards.get(VALIDATION, [])
    impressions = sum(shard.impressions for shard in shards)
    rows = round(options.batch_size * rows_in(shards, options.candidates) / max(1, impressions))
    return read_sessions(records, "validation", candidates=options.candidates, rows=max(1, rows), verify=False)


def score(ranker: Ranker, sessions: tf.data.Dataset) -> Scored:
    """Predict every impression of a dataset of batches of sessions, as `read_sessions` gives them."""
    columns = [_scored(ranker, batch) for batch in sessions]
    return Scored(*(np.concatenate(column) for column in zip(*columns, strict=True)))


def _scored(ranker: Ranker, batch: Features) -> Scored:
    """One batch; what a user does not see, the padding, is left out."""
    shown = batch["is_shown"].numpy()
    users = np.repeat(batch["user_id"].numpy(), shown.sum(axis=1))
    labels, categories, ages = (batch[name].numpy()[shown] for name in ("label", "category", "item_age"))
    return Scored(labels, users, categories, ages, ranker.score(batch).numpy()[shown])
