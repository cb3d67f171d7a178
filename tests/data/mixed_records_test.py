"""Days read as one: every impression of all of them once an epoch, whoever reads, and each batch of all days."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from mim_tf.data.demo_shop import make_demo_shop
from mim_tf.data.mixed_records import MixedRecords
from mim_tf.data.preparation import prepare
from mim_tf.data.record_files import RecordFiles
from mim_tf.data.record_schema import TRAIN, RecordSchema
from mim_tf.data.records import read_impressions, read_sessions
from mim_tf.errors import DataError

FIRST, DAY = 1_735_689_600, 86_400
ENDS = (12, 14, 16)  # days on which validation begins


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three runs, each of two days after the first: their training impressions do not overlap."""
    folder = tmp_path_factory.mktemp("days")
    make_demo_shop(folder / "shop", items=50, users=80, days=20, searches=10)
    for end in ENDS:
        prepare(
            items=folder / "shop" / "items.parquet",
            impressions=folder / "shop" / "impressions.parquet",
            folder=folder / str(end),
            train_from=FIRST + (end - 2) * DAY,
            validation_from=FIRST + end * DAY,
            shards=4,
        )
    return [folder / str(end) for end in reversed(ENDS)]


def seen(batches: tf.data.Dataset) -> Counter[tuple[int, ...]]:
    """The impressions of batches of sessions."""
    found: Counter[tuple[int, ...]] = Counter()
    for batch in batches.as_numpy_iterator():
        shown = batch["is_shown"]
        users = np.broadcast_to(batch["user_id"][:, np.newaxis], shown.shape)[shown]
        found.update(zip(users.tolist(), batch["item_id"][shown].tolist(), batch["label"][shown].tolist(), strict=True))
    return found


def there(folder: Path, split: str = "train") -> Counter[tuple[int, ...]]:
    """The impressions of a run, one by one."""
    rows = read_impressions(folder, split).as_numpy_iterator()
    return Counter((int(row["user_id"]), int(row["item_id"]), int(row["label"])) for row in rows)


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_an_epoch_holds_every_impression_of_all_days_once(days: list[Path], workers: int) -> None:
    mixed = MixedRecords(days[0], {str(days[1]): 1.0, str(days[2]): 1.0})
    contexts = [tf.distribute.InputContext(workers, worker, workers) for worker in range(workers)]
    shares = [
        seen(read_sessions(mixed, "train", candidates=4, rows=32, shuffle=1000, seed=1, context=context))
        for context in contexts
    ]
    assert sum(shares, Counter()) == sum((there(day) for day in days), Counter())


def test_a_batch_mixes_days(days: list[Path]) -> None:
    mixed = MixedRecords(days[0], {str(days[1]): 1.0, str(days[2]): 1.0})
    counts = np.array([there(day).total() for day in days])
    of_days = []
    for batch in read_impressions(mixed, "train", batch_size=256, shuffle=100_000).as_numpy_iterator():
        day = (batch["timestamp"] - FIRST) // DAY // 2  # two days each
        of_days.append(np.bincount(day, minlength=8)[[7, 6, 5]] / len(day))
    whole = counts / counts.sum()
    # A share p of 256 drawn rows has a deviation of sqrt(p (1 - p) / 256), at most 0.03; users come in groups.
    assert len(of_days) > 2
    assert np.abs(np.array(of_days[:-1]) - whole).max() < 0.15


def test_a_share_is_whole_files_that_the_seed_draws(days: list[Path]) -> None:
    def files(share: float, seed: int) -> list[str]:
        opened = RecordFiles.open(
            MixedRecords(days[0], {str(days[1]): share}, seed), [TRAIN], context=None, verify=True
        )
        assert opened.paths[:4] == [str(days[0] / shard.file) for shard in RecordSchema.load(days[0]).shards[TRAIN]]
        return opened.paths[4:]

    assert [len(files(share, 0)) for share in (0.01, 0.25, 0.26, 0.5, 1.0)] == [1, 1, 2, 2, 4]
    drawn = {tuple(files(0.5, seed)) for seed in range(20)}
    assert len(drawn) > 3  # of the six pairs
    assert files(0.5, 3) == files(0.5, 3)


def test_others_do_not_validate(days: list[Path]) -> None:
    opened = MixedRecords(days[0], {str(days[1]): 1.0})
    batches = read_impressions(opened.folder, "validation", batch_size=64)
    assert sum(len(batch["label"]) for batch in batches) == there(days[0], "validation").total()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"history_length": 7}, r"history_length is 7, not 50"),
        ({"user_id": "string"}, r"user_id is string, not int64"),
        ({"features": {"price": "float32"}}, r"features is \{'price': 'float32'\}, not \{'item_age': 'int64'\}"),
    ],
)
def test_other_fields_are_refused_by_name(days: list[Path], tmp_path: Path, change: dict[str, Any], said: str) -> None:
    schema = json.loads((days[1] / "schema.json").read_text())
    (tmp_path / "schema.json").write_text(json.dumps(schema | change))
    with pytest.raises(DataError, match=rf"`rank\.replay` must be runs whose .* Received: {tmp_path}, where {said}\."):
        RecordFiles.open(MixedRecords(days[0], {str(tmp_path): 1.0}), [TRAIN], context=None, verify=False)
