"""A ranker's predictions for the validation impressions, and what they are worth."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from mim_tf.data.records import read_impressions
from mim_tf.errors import DataError
from mim_tf.metrics import ranking_metrics
from mim_tf.ranking import Ranker
from mim_tf.settings import Settings
from mim_tf.training.models import records_folder
from mim_tf.workdir import StageFolder


class Scored(NamedTuple):
    """Impressions with their predictions, in the order of the records."""

    labels: np.ndarray  # [impressions] 0 or 1
    probabilities: np.ndarray  # [impressions] float32
    users: np.ndarray  # [impressions] int64, or bytes


def score_validation(ranker: Ranker, settings: Settings, workdir: Path) -> dict[str, float]:
    """AUC, grouped AUC and log loss of a ranker on the validation impressions.

    Raises:
        DataError: no user of them has both bought and not bought.
    """
    records = records_folder(StageFolder(workdir, "prepare"))
    batches = read_impressions(records, "validation", batch_size=settings.rank.batch_size, verify=False)
    scored = score(ranker, batches)
    try:
        return ranking_metrics(scored.labels, scored.probabilities, scored.users)
    except ValueError as error:
        raise DataError(f"the validation impressions cannot be measured: {error}") from error


def score(ranker: Ranker, batches: tf.data.Dataset) -> Scored:
    """Predict every impression of a dataset of batches."""
    probabilities_of = tf.function(ranker.probabilities)
    columns = [(batch["label"].numpy(), probabilities_of(batch).numpy(), batch["user_id"].numpy()) for batch in batches]
    return Scored(*(np.concatenate(column) for column in zip(*columns, strict=True)))
