"""The TFRS model: it learns a planted rule, counts the loss right, and keeps the table out of its weights."""

import numpy as np
import pytest
import tensorflow as tf

pytestmark = pytest.mark.legacy_keras

USERS, LENGTH = 512, 6


@pytest.fixture(scope="module")
def taste() -> tuple[object, dict[str, np.ndarray]]:
    """A ranker and impressions clicked exactly if the item is of the kind (two directions) the user bought before."""
    from mim_tf.ranking import Ranker, RankingNetwork
    from mim_tf.representation import EmbeddingTable

    rng = np.random.default_rng(0)
    kinds = np.arange(40) % 2
    embeddings = np.eye(2)[kinds] + rng.normal(scale=0.1, size=(40, 2))
    table = EmbeddingTable(np.arange(40), embeddings.astype(np.float32))
    likes, target = rng.integers(2, size=USERS), rng.integers(40, size=USERS)
    history = rng.integers(20, size=(USERS, LENGTH)) * 2 + likes[:, np.newaxis]
    impressions = {
        "item_id": target,
        "category": np.full(USERS, "x"),
        "history_item_id": history,
        "history_category": np.full((USERS, LENGTH), "x"),
        "label": (kinds[target] == likes).astype(np.int64),
    }
    return Ranker(RankingNetwork(item_dim=4, category_dim=2, hash_bins=64, tower_units=(16,)), table), impressions


def test_content_taste_is_learnt_and_the_loss_is_the_log_loss(taste) -> None:
    from tensorflow import keras

    from mim_tf.metrics import auc, log_loss
    from mim_tf.ranking.tfrs_model import RankingModel

    ranker, impressions = taste
    model = RankingModel(ranker)
    model.compile(optimizer=keras.optimizers.Adam(0.01))
    batches = tf.data.Dataset.from_tensor_slices(impressions).batch(64)
    model.fit(batches, epochs=8, verbose=0)
    scores = ranker.probabilities({name: tf.constant(column) for name, column in impressions.items()}).numpy()
    assert auc(impressions["label"], scores) > 0.99

    measured = model.evaluate(batches, return_dict=True, verbose=0)
    np.testing.assert_allclose(measured["log_loss"], log_loss(impressions["label"], scores), rtol=1e-3)
    np.testing.assert_allclose(measured["auc"], auc(impressions["label"], scores), atol=2e-3)


def test_the_table_is_no_weight_of_the_model(taste, tmp_path) -> None:
    from mim_tf.ranking.tfrs_model import RankingModel

    ranker, impressions = taste
    model = RankingModel(ranker)
    model({name: tf.constant(column[:1]) for name, column in impressions.items()})
    assert all(variable is not ranker.table._rows for variable in model.variables)
    names = [
        name for name, _ in tf.train.list_variables(tf.train.Checkpoint(model=model).write(str(tmp_path / "model")))
    ]
    assert not any("table" in name or "_rows" in name for name in names)
