"""What the click model trains on: every impression once an epoch, or the share of the negatives that is wanted."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from mim_tf.data.demo_shop import make_demo_shop
from mim_tf.data.preparation import prepare
from mim_tf.data.records import read_impressions
from mim_tf.settings import RankSettings
from mim_tf.training.rank_input import steps_per_epoch, training_impressions


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rank")
    make_demo_shop(folder / "shop", items=50, users=60, days=20, searches=10)
    prepare(
        items=folder / "shop" / "items.parquet",
        impressions=folder / "shop" / "impressions.parquet",
        folder=folder / "records",
        validation_from=1_735_689_600 + 15 * 86_400,
    )
    return folder / "records"


def labels(records: Path) -> np.ndarray:
    return np.concatenate([batch["label"] for batch in read_impressions(records, "train", batch_size=512)])


def epoch(records: Path, options: RankSettings, seed: int = 0) -> list[tuple[int, int, int]]:
    batches = training_impressions(records, options, seed).take(steps_per_epoch(records, options))
    columns = [[batch[name].numpy() for name in ("user_id", "item_id", "label")] for batch in batches]
    assert all(len(column[0]) == options.batch_size for column in columns)
    return list(zip(*(np.concatenate(column).tolist() for column in zip(*columns, strict=True)), strict=True))


def test_an_epoch_holds_every_impression(records: Path) -> None:
    options = RankSettings(batch_size=64)
    every = Counter(epoch(records, options))
    assert steps_per_epoch(records, options) == -(-len(labels(records)) // 64)
    there = Counter()
    for batch in read_impressions(records, "train", batch_size=512):
        there.update(zip(*(batch[name].numpy().tolist() for name in ("user_id", "item_id", "label")), strict=True))
    assert not there - every


def test_clicks_are_all_kept_and_a_share_of_the_rest(records: Path) -> None:
    there = labels(records)
    options = RankSettings(batch_size=64, negatives_kept=0.25)
    clicks, others = int(there.sum()), int((there == 0).sum())
    assert steps_per_epoch(records, options) == -(-(clicks + round(others / 4)) // 64)
    kept = np.array([label for *_, label in epoch(records, options)])
    # Sampling others at 1/4: clicks make up clicks / (clicks + others / 4), three standard deviations either way.
    share = clicks / (clicks + others / 4)
    assert abs(kept.mean() - share) < 3 * np.sqrt(share * (1 - share) / len(kept)) + 0.02


def test_the_seed_decides_the_order_and_the_draws(records: Path) -> None:
    options = RankSettings(batch_size=64, negatives_kept=0.5)
    assert epoch(records, options) == epoch(records, options)
    assert epoch(records, options) != epoch(records, options, seed=1)
