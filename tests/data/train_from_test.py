"""A day's records: what lies before it is history alone."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mim_tf.data.feature_statistics import FeatureStatistics
from mim_tf.data.preparation import prepare
from mim_tf.data.records import read_impressions
from mim_tf.errors import DataError

DAY = 86_400
TRAIN_FROM, VALIDATION_FROM = 60 * DAY, 80 * DAY


def rows_of(folder: Path, split: str) -> Counter[tuple[Any, ...]]:
    """Every field of every impression, histories and ages included."""
    rows = read_impressions(folder, split).as_numpy_iterator()
    return Counter(tuple((name, str(np.asarray(row[name]).tolist())) for name in sorted(row)) for row in rows)


def timestamp_of(row: tuple[Any, ...]) -> int:
    return int(dict(row)["timestamp"])


def test_a_days_rows_are_those_of_all_days_with_their_histories_and_ages(shop: Any) -> None:
    folders = [shop.folder / name for name in ("all", "day")]
    prepare(**shop.settings(folder=folders[0]))
    metrics = prepare(**shop.settings(folder=folders[1], train_from=TRAIN_FROM))
    every, day = (rows_of(folder, "train") for folder in folders)
    assert day == Counter({row: count for row, count in every.items() if timestamp_of(row) >= TRAIN_FROM})
    assert rows_of(folders[1], "validation") == rows_of(folders[0], "validation")
    times = shop.impressions.timestamp
    assert metrics["impressions_before"] == (times < TRAIN_FROM).sum()
    assert metrics["impressions_train"] == ((times >= TRAIN_FROM) & (times < VALIDATION_FROM)).sum()
    assert FeatureStatistics.load(folders[1]).impressions["item_age"].rows == day.total()


@pytest.mark.parametrize("when", [VALIDATION_FROM, VALIDATION_FROM + DAY])
def test_a_day_ends_where_validation_begins(shop: Any, when: int) -> None:
    with pytest.raises(
        DataError, match=rf"`data\.train_from` must lie before `data\.validation_from`\. Received: {when} "
    ):
        prepare(**shop.settings(train_from=when))


def test_a_day_must_hold_impressions_of_both_labels(shop: Any) -> None:
    in_day = (shop.impressions.timestamp >= TRAIN_FROM) & (shop.impressions.timestamp < VALIDATION_FROM)
    shop.impressions.loc[in_day, "label"] = 0
    with pytest.raises(DataError, match=r"labels 0 and 1 in the training period: .* Received: only 0\."):
        prepare(**shop.settings(folder=shop.folder / "again", train_from=TRAIN_FROM))
