"""A ranker's predictions for the validation impressions."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import pyarrow as pa
import tensorflow as tf
from pyarrow import parquet

from mim_tf.data.record_schema import VALIDATION, RecordSchema
from mim_tf.data.records import read_sessions
from mim_tf.data.session_batches import rows_in
from mim_tf.errors import StageError
from mim_tf.ranking import Ranker
from mim_tf.ranking.network import Features
from mim_tf.settings import RankSettings, Settings
from mim_tf.training.models import records_folder
from mim_tf.workdir import StageFolder

_COLUMNS = ("label", "user_id", "item_id", "timestamp", "category", "item_age", "probability")


class Scored(NamedTuple):
    """Impressions with their predictions, in the order of the records."""

    labels: np.ndarray  # [impressions] 0 or 1
    users: np.ndarray  # [impressions] int64, or bytes
    items: np.ndarray  # [impressions] int64, or bytes
    timestamps: np.ndarray  # [impressions] int64, seconds since 1970 UTC, of the first of its row
    categories: np.ndarray  # [impressions] bytes, of the items
    ages: np.ndarray  # [impressions] int64, seconds since the item first appeared
    probabilities: np.ndarray  # [impressions] float32

    def save(self, path: Path) -> None:
        """Write a Parquet file of these columns, `users` as `user_id` and so on, so that it is there whole or not."""
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f"{path.name}.partial")
        parquet.write_table(pa.table([pa.array(column) for column in self], names=list(_COLUMNS)), aside)
        aside.rename(path)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` has written.

        Raises:
            StageError: there is no such file.
        """
        if not path.exists():
            raise StageError(f"{path} is missing. Delete {path.parents[1]} and run the rank stage again.")
        table = parquet.read_table(path)
        return cls(*(table[name].to_numpy() for name in _COLUMNS))


def predictions_path(workdir: Path, variant: str, seed: int) -> Path:
    """Where the rank stage leaves one training's predictions for the validation impressions."""
    return StageFolder(workdir, "rank").path / "validation" / f"{variant}-{seed}.parquet"


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
    users, timestamps = (np.repeat(batch[name].numpy(), shown.sum(axis=1)) for name in ("user_id", "timestamp"))
    names = ("label", "item_id", "category", "item_age")
    labels, items, categories, ages = (batch[name].numpy()[shown] for name in names)
    return Scored(labels, users, items, timestamps, categories, ages, ranker.score(batch).numpy()[shown])
