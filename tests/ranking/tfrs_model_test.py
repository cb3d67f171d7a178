"""The TFRS model: it learns a planted rule, counts the loss right, and keeps the table out of its weights."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

pytestmark = pytest.mark.legacy_keras

USERS, LENGTH = 512, 6


def ranker(ubm: str = "din", ubm_options: dict[str, Any] | None = None, **changes: Any) -> Any:
    """A small ranker and a table of two kinds of items: even and odd ones."""
    from mim_tf.interest import UBMS
    from mim_tf.ranking import DeepCTR, Ranker, RankingNetwork
    from mim_tf.representation import EmbeddingTable

    rng = np.random.default_rng(0)
    embeddings = np.eye(2)[np.arange(40) % 2] + rng.normal(scale=0.1, size=(40, 2))
    table = EmbeddingTable(np.arange(40), embeddings.astype(np.float32))
    small = {"item_dim": 4, "category_dim": 2, "hash_bins": 64, "tower": DeepCTR((16,)), **changes}
    return Ranker(RankingNetwork(UBMS[ubm](**(ubm_options or {})), **small), table)


@pytest.fixture(scope="module")
def impressions() -> dict[str, np.ndarray]:
    """Impressions clicked exactly if the item is of the kind that the user bought before."""
    rng = np.random.default_rng(1)
    likes, target = rng.integers(2, size=USERS), rng.integers(40, size=USERS)
    return {
        "item_id": target,
        "category": np.full(USERS, "x"),
        "timestamp": np.full(USERS, 1000),
        "history_item_id": rng.integers(20, size=(USERS, LENGTH)) * 2 + likes[:, np.newaxis],
        "history_category": np.full((USERS, LENGTH), "x"),
        "history_timestamp": rng.integers(1000, size=(USERS, LENGTH)),
        "label": (target % 2 == likes).astype(np.int64),
    }


def batches(impressions: dict[str, np.ndarray]) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices(impressions).batch(64)


@pytest.mark.parametrize(
    "ubm", ["average", "sim", *(pytest.param(ubm, marks=pytest.mark.slow) for ubm in ("bst", "dien", "din", "twin"))]
)
def test_content_taste_is_learnt(ubm: str, impressions: dict[str, np.ndarray]) -> None:
    from mim_tf.metrics import auc
    from mim_tf.ranking.row_sparse_adam import RowSparseAdam
    from mim_tf.ranking.tfrs_model import RankingModel

    trained = ranker(ubm)
    model = RankingModel(trained)
    model.compile(optimizer=RowSparseAdam(0.01))
    model.fit(batches(impressions), epochs=8, verbose=0)
    scores = trained.probabilities({name: tf.constant(column) for name, column in impressions.items()}).numpy()
    assert auc(impressions["label"], scores) > 0.98


def test_the_loss_is_the_log_loss(impressions: dict[str, np.ndarray]) -> None:
    from mim_tf.metrics import log_loss
    from mim_tf.ranking.tfrs_model import RankingModel

    trained = ranker()
    columns = {name: tf.constant(column) for name, column in impressions.items()}
    loss = RankingModel(trained).compute_loss(columns)
    np.testing.assert_allclose(loss, log_loss(impressions["label"], trained.probabilities(columns)), rtol=1e-5)


def as_sessions(impressions: dict[str, np.ndarray], shown: np.ndarray) -> dict[str, tf.Tensor]:
    """The first impressions as candidates of the first users, padded with the last impression."""
    place = np.full(shown.shape, USERS - 1)
    place[shown] = np.arange(shown.sum())
    columns = {name: tf.constant(impressions[name][place]) for name in ("item_id", "category", "label")}
    users = {name: tf.constant(column[: len(shown)]) for name, column in impressions.items() if name not in columns}
    return columns | users | {"is_shown": tf.constant(shown)}


def test_the_loss_of_sessions_by_hand(impressions: dict[str, np.ndarray]) -> None:
    """The log losses of those shown, over the nominal size: replicas with other shares of a batch add up to it."""
    from mim_tf.ranking.tfrs_model import RankingModel

    shown = np.array([[True, True, True], [True, False, False], [True, True, False], [False, False, False]])
    sessions = as_sessions(impressions, shown)
    trained = ranker()
    p = trained.probabilities(sessions).numpy().astype(np.float64)[shown]
    clicked = sessions["label"].numpy()[shown] == 1
    expected = -np.log(np.where(clicked, p, 1 - p)).sum() / 8
    model = RankingModel(trained, batch_size=8)
    np.testing.assert_allclose(model.compute_loss(sessions), expected, rtol=1e-5)
    halves = [{name: column[part] for name, column in sessions.items()} for part in (slice(0, 1), slice(1, 4))]
    np.testing.assert_allclose(sum(model.compute_loss(half).numpy() for half in halves), expected, rtol=1e-5)


_OF_EACH = ("item_id", "category", "label")
EACH_UBM = pytest.mark.parametrize(
    ("ubm", "options"),
    [("average", {}), ("bst", {"dropout": 0.0}), ("dien", {}), ("din", {}), ("sim", {}), ("twin", {})],
)


def taught(ubm: str, options: dict[str, Any], batch: dict[str, tf.Tensor]) -> list[np.ndarray]:
    """The loss of a training step of drawn weights, its gradients, and the statistics that layers keep after it."""
    from mim_tf.ranking.tfrs_model import RankingModel

    trained = ranker(ubm, options)
    trained.logits(batch)
    network, rng = trained.network, np.random.default_rng(3)
    network.set_weights([rng.uniform(0.1, 1.0, weight.shape) - 0.4 for weight in network.get_weights()])
    for statistic in network.non_trainable_variables:
        statistic.assign(np.ones(statistic.shape))
    with tf.GradientTape() as tape:
        loss = RankingModel(trained, batch_size=8).compute_loss(batch, training=True)
    gradients = tape.gradient(loss, network.trainable_variables, unconnected_gradients="zero")
    learnt = [loss, *(tf.convert_to_tensor(of) for of in gradients), *network.non_trainable_variables]
    return [np.asarray(tf.convert_to_tensor(one)) for one in learnt]


def assert_same(some: list[np.ndarray], others: list[np.ndarray]) -> None:
    """Up to rounding, of gradients that cancel out too."""
    assert max(np.abs(one).max() for one in others[1:]) > 0.01
    for one, other in zip(some, others, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=2e-6)


@EACH_UBM
def test_padding_teaches_nothing(ubm: str, options: dict[str, Any], impressions: dict[str, np.ndarray]) -> None:
    shown = np.array([[True, False], [True, True], [False, False]])
    sessions = as_sessions(impressions, shown)
    other = {name: tf.where(shown, column, column[::-1, ::-1]) for name, column in sessions.items() if name in _OF_EACH}
    assert np.any(other["item_id"] != sessions["item_id"])
    assert_same(taught(ubm, options, sessions | other), taught(ubm, options, sessions))


@EACH_UBM
def test_sessions_teach_what_their_impressions_alone_do(
    ubm: str, options: dict[str, Any], impressions: dict[str, np.ndarray]
) -> None:
    shown = np.arange(4) < np.array([[1], [3], [0], [2], [4], [1]])
    sessions = as_sessions(impressions, shown)
    users = np.repeat(np.arange(len(shown)), shown.sum(axis=1))
    alone = {
        name: column[shown] if name in _OF_EACH else tf.gather(column, users)
        for name, column in sessions.items()
        if name != "is_shown"
    }
    assert_same(taught(ubm, options, sessions), taught(ubm, options, alone))


def test_what_layers_add_to_the_loss_counts(impressions: dict[str, np.ndarray]) -> None:
    from tensorflow import keras

    from mim_tf.ranking.tfrs_model import RankingModel

    model = RankingModel(ranker("dien"))
    model.compile(optimizer=keras.optimizers.SGD(0.0))
    logs = model.fit(batches(impressions).take(1), verbose=0).history
    # Untrained, states and embeddings are near zero: log 2 for the next behaviour and log 2 for another user's.
    assert 0 < logs["regularization_loss"][0] <= 2 * np.log(2) + 0.01
    np.testing.assert_allclose(logs["total_loss"][0], logs["loss"][0] + logs["regularization_loss"][0], rtol=1e-5)


def test_the_table_is_no_weight_of_the_model(impressions: dict[str, np.ndarray], tmp_path: Any) -> None:
    from mim_tf.ranking.tfrs_model import RankingModel

    trained = ranker()
    model = RankingModel(trained)
    model({name: tf.constant(column[:1]) for name, column in impressions.items()})
    assert all(variable is not trained.table._rows for variable in model.variables)
    names = [
        name for name, _ in tf.train.list_variables(tf.train.Checkpoint(model=model).write(str(tmp_path / "model")))
    ]
    assert not any("table" in name or "_rows" in name for name in names)
