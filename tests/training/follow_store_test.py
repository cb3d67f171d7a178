"""A table that trains follows its store between epochs, alone and on replicas, and says where it cannot."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from mim_tf.representation import EmbeddingStore, EmbeddingTable
from tests.training.rank_replicas_test import free_addresses, outputs, start, tasks_of
from tests.training.toy_ranking import make_workdir

pytestmark = pytest.mark.legacy_keras

SCRIPT = Path(__file__).with_name("followed_replicas.py")
ASKED = [1, 2, 7]  # items of which a training sees the embeddings; the store begins with the first two
Write = Callable[[EmbeddingStore, int], None]


def write(store: EmbeddingStore, **values: float) -> int:
    """Give items, `i1` and so on, an embedding of one number."""
    ids = np.array([int(name[1:]) for name in values])
    return store.upsert(ids, np.array([[value] for value in values.values()]), encoder="e")


@pytest.fixture
def store(tmp_path: Path) -> EmbeddingStore:
    store = EmbeddingStore.create(tmp_path / "store.lance", id_type="int64", dim=1, slots=1)
    write(store, i1=0.25, i2=0.5)
    return store


class Run:
    """A `fit` of three epochs that looks items up at each step, while the store is written to after each epoch."""

    def __init__(self, store: EmbeddingStore, folder: Path, spare: int, after_epoch: Write):
        from tensorflow import keras

        from mim_tf.training.follow_store import FollowStore
        from mim_tf.training.table_versions import TableVersions

        table = self.table = EmbeddingTable.of(store.read(), spare=spare)
        self.versions = TableVersions(folder / "model")
        self.versions.note(int(table.version))

        class Seen(keras.Model):
            def train_step(self, data: tf.Tensor) -> dict[str, tf.Tensor]:
                found = table.lookup(tf.constant(ASKED, tf.int64))[:, 0]
                return {f"i{item}": found[place] for place, item in enumerate(ASKED)}

        model = Seen()
        model.compile()
        follow = FollowStore(table, store.path, folder / "model", tf.distribute.get_strategy())
        writer = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: after_epoch(store, epoch))
        data = tf.data.Dataset.from_tensors(tf.ones([1]))
        self.seen: dict[str, list[float]] = model.fit(data, epochs=3, verbose=0, callbacks=[follow, writer]).history


def test_each_epoch_has_the_version_before_it(store: EmbeddingStore, tmp_path: Path) -> None:
    def after(store: EmbeddingStore, epoch: int) -> None:
        write(store, i2=epoch + 1, **({"i7": 0.125} if epoch == 0 else {}))

    begun = store.version
    run = Run(store, tmp_path, 4, after)
    assert run.seen == {"i1": [0.25, 0.25, 0.25], "i2": [0.5, 1, 2], "i7": [0, 0.125, 0.125]}
    assert (run.versions.first, run.versions.last) == (begun, int(run.table.version))
    anew, asked = EmbeddingTable.of(store.read(run.versions.last)), tf.constant(ASKED, tf.int64)
    np.testing.assert_array_equal(run.table.lookup(asked), anew.lookup(asked))
    assert store.version > run.versions.last  # what came after the last epoch
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model-store.json", "store.lance"]


def test_without_changes_nothing_changes(store: EmbeddingStore, tmp_path: Path, capsys: Any) -> None:
    run = Run(store, tmp_path, 4, lambda store, epoch: None)
    assert run.seen["i1"] == [0.25] * 3
    assert run.versions.first == run.versions.last == store.version
    assert capsys.readouterr().err == ""


def assert_stays(run: Run, version: int) -> None:
    assert run.seen == {"i1": [0.25] * 3, "i2": [0.5] * 3, "i7": [0] * 3}
    assert run.versions.first == run.versions.last == int(run.table.version) == version


def test_a_full_table_stays_and_training_goes_on(store: EmbeddingStore, tmp_path: Path, capsys: Any) -> None:
    begun = store.version
    run = Run(store, tmp_path, 0, lambda store, epoch: write(store, i2=3, i7=epoch + 1) and None)
    assert_stays(run, begun)
    first, second = capsys.readouterr().err.splitlines()  # a line for each epoch that could not follow
    assert f"The table stays at version {begun} of {store.path}: version {begun + 1} has a row 3" in first
    assert "the table ends at 2" in second


def test_a_version_that_was_removed_is_told(store: EmbeddingStore, tmp_path: Path, capsys: Any) -> None:
    def after(store: EmbeddingStore, epoch: int) -> None:
        write(store, i2=3 + epoch)
        write(store, i2=4 + epoch)
        store.compact(keep_versions=1)

    begun = store.version
    assert_stays(Run(store, tmp_path, 9, after), begun)
    first, _ = capsys.readouterr().err.splitlines()
    assert f"stays at version {begun} of" in first
    assert "was removed by `compact`" in first


def test_another_store_in_its_place_is_told(store: EmbeddingStore, tmp_path: Path, capsys: Any) -> None:
    def after(store: EmbeddingStore, epoch: int) -> None:
        shutil.rmtree(store.path)
        other = EmbeddingStore.create(store.path, id_type="int64", dim=1, slots=1)
        for value in range(5):
            write(other, i1=value)

    begun = store.version
    assert_stays(Run(store, tmp_path, 9, after), begun)
    assert "there is another store now" in capsys.readouterr().err


def test_a_store_that_is_away_is_told(store: EmbeddingStore, tmp_path: Path, capsys: Any) -> None:
    begun = store.version
    assert_stays(Run(store, tmp_path, 9, lambda store, epoch: shutil.rmtree(store.path, ignore_errors=True)), begun)
    assert "is no embedding store that can be opened" in capsys.readouterr().err


def assert_followed(workdir: Path, shown: list[str]) -> None:
    """All processes end with the chief's version, and with what a table made of it anew holds."""
    found = [json.loads(lines.splitlines()[-1]) for lines in shown]
    store = EmbeddingStore(workdir / "represent" / "store.lance")
    stored = store.read(found[0]["version"])
    assert store.version > stored.version > found[0]["first"]  # it has moved, and so has the store after it
    anew = EmbeddingTable.of(stored).lookup(stored.item_ids).numpy().astype(float)
    for process in found:
        assert (process["version"], process["first"]) == (found[0]["version"], found[0]["first"])
        np.testing.assert_array_equal(process["embeddings"], anew)


@pytest.mark.slow
def test_replicas_of_a_process_follow(tmp_path: Path) -> None:
    make_workdir(tmp_path, epochs=3)
    assert_followed(tmp_path, outputs([start([SCRIPT, tmp_path, "mirrored"])]))


@pytest.mark.slow
def test_all_workers_follow_their_chief(tmp_path: Path) -> None:
    make_workdir(tmp_path, epochs=3)
    tasks = tasks_of({"worker": free_addresses(2)})
    assert_followed(tmp_path, outputs([start([SCRIPT, tmp_path, "multi_worker"], task) for task in tasks]))


@pytest.mark.slow
def test_rank_tells_which_versions_it_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mim_tf.training import rank

    settings = make_workdir(tmp_path, epochs=2, seeds=2)
    store, score = EmbeddingStore(tmp_path / "represent" / "store.lance"), rank._scored
    begun, used = store.version, []

    def scored(ranker: Any, *arguments: Any) -> Any:
        if ranker.table is not None:
            used.append(int(ranker.table.version))
            dim = ranker.table.dim
            store.upsert(np.array([10**9 + len(used)]), np.ones([1, dim]), encoder="random")
        return score(ranker, *arguments)

    monkeypatch.setattr(rank, "_scored", scored)
    metrics = rank.run(settings, tmp_path)
    # Each training is scored after both epochs and once more at its end.
    assert used == [begun, begun + 1, begun + 1, begun + 3, begun + 4, begun + 4]
    assert (metrics["store_version_first"], metrics["store_version"]) == (begun, begun + 4)
