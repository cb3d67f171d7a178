"""Validation by sessions: every impression once, with the probability that it has alone."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from mim_tf.data.records import read_impressions, read_sessions
from mim_tf.errors import StageError
from mim_tf.interest import DIN
from mim_tf.ranking import DeepCTR, HashedEmbedding, Ranker, RankingNetwork
from mim_tf.settings import RankSettings
from mim_tf.training.scoring import Scored, predictions_path, score, validation_sessions
from tests.training.toy_sessions import write_records


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_records(tmp_path_factory.mktemp("scoring"), shards=8)


@pytest.fixture(scope="module")
def ranker() -> Ranker:
    """Of a model that does not look at the time between impression and behaviour, which a session has once."""
    sizes = {"item_dim": 4, "category_dim": 2, "hash_bins": 64, "content": False, "fusion": False}
    users = {"user_id": HashedEmbedding(16, 2), "item_age": HashedEmbedding(16, 2)}
    return Ranker(RankingNetwork(DIN((6,), "relu"), impression_features=users, tower=DeepCTR((8,)), **sizes))


def awakened(ranker: Ranker, batch: dict[str, tf.Tensor]) -> None:
    """Weights that let every input through: fresh embeddings are near zero."""
    ranker.logits(batch)
    rng = np.random.default_rng(1)
    ranker.network.set_weights([rng.normal(0, 0.5, weight.shape) for weight in ranker.network.get_weights()])


def by_key(*columns: np.ndarray) -> list[tuple[float, ...]]:
    return sorted(zip(*(column.tolist() for column in columns), strict=True))


@pytest.mark.parametrize("candidates", [1, 3, 64])
def test_sessions_are_scored_as_impressions_alone(records: Path, ranker: Ranker, candidates: int) -> None:
    [alone] = read_impressions(records, "validation", batch_size=100_000)
    awakened(ranker, alone)
    scored = score(ranker, read_sessions(records, "validation", candidates=candidates, rows=16))
    fields = [alone[name].numpy() for name in ("user_id", "label", "item_age")]
    found = by_key(scored.users, scored.labels, scored.ages, scored.probabilities)
    np.testing.assert_allclose(found, by_key(*fields, ranker.probabilities(alone).numpy()), rtol=1e-4, atol=1e-6)
    assert sorted(scored.categories.tolist()) == sorted(alone["category"].numpy().tolist())
    assert np.ptp(scored.probabilities) > 1e-3


@pytest.mark.parametrize("candidates", [1, 3, 1000])
def test_batches_hold_as_many_impressions_as_meant(records: Path, candidates: int) -> None:
    batches = validation_sessions(records, RankSettings(batch_size=32, candidates=candidates))
    *shown, last = [int(np.sum(batch["is_shown"])) for batch in batches]
    assert len(shown) >= 3
    assert np.mean(shown) == pytest.approx(32, rel=0.2)
    assert sum(shown) + last == sum(
        len(batch["label"]) for batch in read_impressions(records, "validation", batch_size=99)
    )


@pytest.mark.parametrize("ids", [np.array([7, 8, 7]), np.array([b"7", b"\xff\x00", b""], object)])
def test_predictions_are_kept(tmp_path: Path, ids: np.ndarray) -> None:
    words = np.array([b"mug", b"mug", b""], object)
    numbers, probabilities = np.array([1, 0, 1]), np.array([0.25, 1e-9, 1], np.float32)
    scored = Scored(numbers, ids, ids[::-1], numbers + 1, words, numbers * 2**40, probabilities)
    path = predictions_path(tmp_path, "base", 3)
    scored.save(path)
    assert [file.name for file in path.parent.iterdir()] == ["base-3.parquet"]
    for kept, column in zip(Scored.load(path), scored, strict=True):
        np.testing.assert_array_equal(kept, column)
        assert kept.dtype == column.dtype


def test_missing_predictions_are_told_of(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"model-0\.parquet is missing\. Delete .*rank and run the rank stage again"):
        Scored.load(predictions_path(tmp_path, "model", 0))
