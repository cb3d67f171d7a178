"""Counts of training impressions, against pandas on the log itself."""

from pathlib import Path

import numpy as np
import pandas as pd

from mim_tf.report.training_counts import training_counts
from tests.training.toy_sessions import write_records

VALIDATION_FROM = 1_735_689_600 + 15 * 86_400


def test_items_and_users_are_counted(tmp_path: Path) -> None:
    records = write_records(tmp_path, shards=2)
    log = pd.read_parquet(tmp_path / "shop" / "impressions.parquet")
    log = log[log.timestamp < VALIDATION_FROM]
    items, users = np.array([*log.item_id.unique(), 10**9, log.item_id.iloc[0]]), np.array([*log.user_id.unique(), -5])
    counts = training_counts(records, items, users)
    assert counts.of_item.tolist() == [int((log.item_id == item).sum()) for item in items]
    assert counts.of_user.tolist() == [int((log.user_id == user).sum()) for user in users]
    assert counts.of_item.max() > counts.of_item.min() == 0
