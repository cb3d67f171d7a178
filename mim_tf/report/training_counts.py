"""How often items and users of the validation impressions were met in training."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from mim_tf.data.record_files import RecordFiles
from mim_tf.data.record_schema import TRAIN

_READ_AT_ONCE = 256  # records, of up to 128 impressions each


class TrainingCounts(NamedTuple):
    """Training impressions, for each validation impression.

    Attributes:
        of_item: `[impressions]` int64, how many showed its item.
        of_user: `[impressions]` int64, how many its user was shown.
    """

    of_item: np.ndarray
    of_user: np.ndarray


def training_counts(records: Path, items: np.ndarray, users: np.ndarray) -> TrainingCounts:
    """Read the training impressions once, and count.

    Args:
        records: what `prepare` wrote.
        items: `[impressions]`, ids of the validation impressions' items.
        users: `[impressions]`, of their users.

    Raises:
        DataError: a file of records is missing or not as it was written.
    """
    files = RecordFiles.open(records, [TRAIN], context=None, verify=False)
    fields = files.schema.fields("impressions")
    features = {
        "user_id": tf.io.FixedLenFeature([], fields["user_id"]),
        "item_id": tf.io.RaggedFeature(fields["item_id"], row_splits_dtype=tf.int64),
    }
    of_item, of_user = _Counted(items), _Counted(users)
    for examples in files.read(0, None).batch(_READ_AT_ONCE):
        parsed = tf.io.parse_example(examples, features)
        shown = parsed["item_id"]
        of_item.add(shown.flat_values.numpy(), np.ones(shown.flat_values.shape[0], np.int64))
        of_user.add(parsed["user_id"].numpy(), shown.row_lengths().numpy())
    return TrainingCounts(of_item.counts(), of_user.counts())


class _Counted:
    """Counts of those ids alone that are asked for."""

    def __init__(self, ids: np.ndarray):
        self._names, self._numbers = np.unique(ids, return_inverse=True)
        self._counts = np.zeros(len(self._names), np.int64)

    def add(self, ids: np.ndarray, counts: np.ndarray) -> None:
        places = np.minimum(np.searchsorted(self._names, ids), len(self._names) - 1)
        known = self._names[places] == ids
        np.add.at(self._counts, places[known], counts[known])

    def counts(self) -> np.ndarray:
        """`[ids]`, as they were asked for."""
        return self._counts[self._numbers]
