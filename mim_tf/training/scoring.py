"""A ranker's predictions for the validation impressions."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from mim_tf.data.records import read_impressions
from mim_tf.ranking import Ranker
from mim_tf.settings import Settings
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
    return score(ranker, read_impressions(records, "validation", batch_size=settings.rank.batch_size, verify=False))


def score(ranker: Ranker, batches: tf.data.Dataset) -> Scored:
    """Predict every impression of a dataset of batches."""
    columns = [
        (
            *(batch[name].numpy() for name in ("label", "user_id", "category", "item_age")),
            ranker.score(batch).numpy(),
        )
        for batch in batches
    ]
    return Scored(*(np.concatenate(column) for column in zip(*columns, strict=True)))
