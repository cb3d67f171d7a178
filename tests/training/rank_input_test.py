"""What the click model trains on: every impression once an epoch over all workers, whatever their number."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from mim_tf.data.record_schema import TRAIN, RecordSchema
from mim_tf.data.records import read_impressions
from mim_tf.errors import DataError, SettingsError
from mim_tf.settings import RankSettings
from mim_tf.training import rank_input
from mim_tf.training.rank_input import EpochPlan, distributed_impressions, training_sessions
from tests.training.toy_sessions import write_records

Batches = list[dict[str, np.ndarray]]
FIELDS = ("user_id", "item_id", "timestamp", "label")


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_records(tmp_path_factory.mktemp("rank"), shards=5)


@pytest.fixture(scope="module")
def there(records: Path) -> Counter:
    """Every impression of the split, read one by one."""
    found: Counter = Counter()
    for batch in read_impressions(records, "train", batch_size=512):
        found.update(zip(*(batch[name].numpy().tolist() for name in ("user_id", "item_id", "label")), strict=True))
    return found


def epochs(
    records: Path, options: RankSettings, workers: int, replicas: int, count: int = 1, first: int = 0, seed: int = 0
) -> list[list[Batches]]:
    """The batches of each worker, epoch by epoch."""
    plan = EpochPlan.of(records, options, workers, replicas)
    steps = plan.steps * replicas // workers
    read = []
    for worker in range(workers):
        context = tf.distribute.InputContext(workers, worker, replicas)
        batches = training_sessions(records, options, seed, plan, first, context).take(count * steps)
        held = list(batches.as_numpy_iterator())
        read.append([held[epoch * steps : (epoch + 1) * steps] for epoch in range(count)])
    return read


def seen(batches: Batches) -> list[tuple[int, int, int]]:
    """The impressions shown, in their order."""
    found: list[tuple[int, int, int]] = []
    for batch in batches:
        shown = batch["is_shown"]
        users = np.broadcast_to(batch["user_id"][:, np.newaxis], shown.shape)
        columns = (column[shown].tolist() for column in (users, batch["item_id"], batch["label"]))
        found += zip(*columns, strict=True)
    return found


@pytest.mark.parametrize(
    ("workers", "replicas", "candidates"), [(1, 1, 4), (1, 2, 4), (2, 2, 1), (2, 4, 4), (3, 3, 4), (5, 5, 1000)]
)
def test_every_impression_comes_once_an_epoch_over_all_workers(
    records: Path, there: Counter, workers: int, replicas: int, candidates: int
) -> None:
    options = RankSettings(batch_size=60, candidates=candidates)
    read = epochs(records, options, workers, replicas, count=2)
    for epoch in range(2):
        assert sum((Counter(seen(of_worker[epoch])) for of_worker in read), Counter()) == there
    assert seen(read[0][0]) != seen(read[0][1])  # in another order


def test_a_worker_whose_rows_are_over_goes_on_with_nothing(records: Path) -> None:
    """Of five files, one worker of two has three: at the other's end are rows without impressions or behaviours."""
    options = RankSettings(batch_size=20, candidates=4)
    longer, shorter = (of_worker[0] for of_worker in epochs(records, options, 2, 2))
    empty = [batch for batch in shorter if not batch["is_shown"].any()]
    assert len(longer) == len(shorter)
    assert longer[-1]["is_shown"].any()
    assert len(empty) >= len(longer) // 4
    for batch in empty:
        assert batch["label"].sum() == 0
        assert (batch["item_id"] == -1).all()
        assert (batch["history_item_id"] == -1).all()


def test_a_row_without_impressions_is_padded_as_the_others_are() -> None:
    """-1 for the items themselves alone: a column that ends alike is padded with 0, as `ImpressionParser` does."""
    names = {"item_id": -1, "history_item_id": -1, "parent_item_id": 0, "item_parent_item_id": 0, "label": 0}
    row = rank_input._no_impressions({name: tf.TensorSpec([None, 2], tf.int64) for name in names})
    assert {name: column.numpy().tolist() for name, column in row.items()} == {
        name: [[padding, padding]] for name, padding in names.items()
    }


def test_the_plan_by_hand(records: Path) -> None:
    shards = RecordSchema.load(records).shards[TRAIN]
    impressions = sum(shard.impressions for shard in shards)
    rows = [sum(-(-int(size) // 3) * count for size, count in shard.sessions.items()) for shard in shards]
    of_batch = round(64 / 2 * sum(rows) / impressions)
    plan = EpochPlan.of(records, RankSettings(batch_size=64, candidates=3), workers=2, replicas=2)
    assert plan == EpochPlan(of_batch, -(-(rows[0] + rows[2] + rows[4]) // of_batch))
    # The impressions of a batch are 64 on average, over both replicas.
    assert 2 * of_batch * impressions / sum(rows) == pytest.approx(64, rel=0.05)


def test_an_interrupted_training_goes_on_with_the_order_of_its_epoch(records: Path) -> None:
    options = RankSettings(batch_size=64, negatives_kept=0.5)
    [[_, _, third]] = epochs(records, options, 1, 1, count=3)
    [[again]] = epochs(records, options, 1, 1, first=2)
    assert seen(again) == seen(third)


def test_the_seed_decides_the_order_and_the_draws(records: Path) -> None:
    options = RankSettings(batch_size=64, negatives_kept=0.5)
    orders = [seen(epochs(records, options, 1, 1, seed=seed)[0][0]) for seed in (0, 0, 1)]
    tf.random.set_seed(7)  # the program's own seed has no say
    orders.append(seen(epochs(records, options, 1, 1)[0][0]))
    assert orders[0] == orders[1] == orders[3] != orders[2]


def test_clicks_are_all_kept_and_a_share_of_the_rest(records: Path, there: Counter) -> None:
    options = RankSettings(batch_size=64, candidates=4, negatives_kept=0.25)
    clicks = sum(count for (*_, label), count in there.items() if label)
    others = there.total() - clicks
    [read] = epochs(records, options, 1, 1, count=4)
    kept = [label for epoch in read for *_, label in seen(epoch)]
    # Four epochs draw anew: of 4 `others` a quarter, five standard deviations either way; and the plan, an estimate
    # of the first file, leaves out a few.
    assert abs(kept.count(0) - others) < 5 * np.sqrt(4 * others * 0.25 * 0.75) + 0.05 * others
    assert 0.95 * 4 * clicks <= kept.count(1) <= 4 * clicks
    assert max(Counter(seen(read[0])).values()) <= max(there.values())


def test_a_strategy_gets_its_replicas_shares(records: Path, there: Counter) -> None:
    alone, options = tf.distribute.get_strategy(), RankSettings(batch_size=64)
    plan = EpochPlan.under(alone, records, options)
    batches = list(distributed_impressions(records, options, 0, plan, alone).take(plan.steps).as_numpy_iterator())
    assert Counter(seen(batches)) == there


def test_workers_of_parameter_servers_take_a_batch_for_each_of_their_gpus(
    records: Path, there: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    class OfTwoGpus:
        num_replicas_in_sync = 2

        def distribute_datasets_from_function(self, of_worker: Callable[[None], tf.data.Dataset]) -> tf.data.Dataset:
            return of_worker(None)

    class Served:
        def __init__(self, dataset: tf.data.Dataset, host: str) -> None:
            self.batches = lambda: dataset

    monkeypatch.setattr(rank_input, "InputServer", Served)
    monkeypatch.setattr(rank_input, "worker_of", lambda _: SimpleNamespace(addresses=["chief:1"]))
    options = RankSettings(batch_size=64, strategy="parameter_server")
    plan = EpochPlan.under(OfTwoGpus(), records, options)
    served = list(distributed_impressions(records, options, 0, plan, OfTwoGpus()).take(4 * plan.steps))
    batches = [{name: column.numpy() for name, column in batch.items()} for batch in served]
    for epoch in range(2):
        assert Counter(seen(batches[2 * plan.steps * epoch : 2 * plan.steps * (epoch + 1)])) == there


def test_batches_and_files_must_go_onto_the_replicas(records: Path) -> None:
    class OfThree:
        num_replicas_in_sync = 3

    with pytest.raises(SettingsError, match=r"`rank.batch_size` must be a multiple of the 3 replicas\. Received: 64\."):
        EpochPlan.under(OfThree(), records, RankSettings(batch_size=64))
    with pytest.raises(DataError, match=r"`data.shards` must be at least the number of workers, 6\. Received: 5"):
        EpochPlan.of(records, RankSettings(), workers=6, replicas=6)
