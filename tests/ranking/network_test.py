"""The click network: what it depends on, and what it must not depend on."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from mim_tf.interest import DIN, UBMS, AveragePooling
from mim_tf.ranking import (
    BucketisedEmbedding,
    DeepCTR,
    HashedEmbedding,
    Ranker,
    RankingNetwork,
    Standardised,
    VocabularyEmbedding,
    behaviour_mask,
)
from mim_tf.ranking.network import cosine
from mim_tf.representation import EmbeddingTable

pytestmark = pytest.mark.both_kerases

SMALL: dict[str, Any] = {"item_dim": 4, "category_dim": 2, "hash_bins": 64}


def network(ubm: keras.layers.Layer | None = None, **changes: Any) -> RankingNetwork:
    return RankingNetwork(DIN((6,)) if ubm is None else ubm, **{**SMALL, "tower": DeepCTR((8,)), **changes})


def features(batch: int = 3, length: int = 4, **changes: Any) -> dict[str, tf.Tensor]:
    ids = np.arange(batch * length).reshape(batch, length) % 5 + 1
    ids[0, 2:] = -1  # the first row has two behaviours
    plain = {
        "item_id": tf.range(1, batch + 1, dtype=tf.int64),
        "category": tf.constant(["shirt", "mug", "lamp"][:batch]),
        "timestamp": tf.fill([batch], tf.constant(10_000, tf.int64)),
        "history_item_id": tf.constant(ids, tf.int64),
        "history_category": tf.where(ids == -1, "", "shirt"),
        "history_timestamp": tf.constant(np.where(ids == -1, 0, 100 * ids), tf.int64),
    }
    return plain | changes


def table() -> EmbeddingTable:
    return EmbeddingTable(np.arange(1, 6), np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32))


def awakened(ranker: Ranker, batch: dict[str, tf.Tensor]) -> Ranker:
    """With weights that let every input through: fresh embeddings are near zero."""
    ranker.logits(batch)
    rng = np.random.default_rng(1)
    ranker.network.set_weights([rng.uniform(0.1, 0.9, weight.shape) for weight in ranker.network.get_weights()])
    return ranker


def test_a_network_without_content_needs_no_table() -> None:
    ranker = Ranker(network(content=False, fusion=False))
    assert ranker.probabilities(features()).shape == (3,)


@pytest.mark.parametrize(("content", "fusion"), [(True, False), (False, True), (True, True)])
def test_content_comes_with_the_features_or_from_a_table(content: bool, fusion: bool) -> None:
    click_network = network(content=content, fusion=fusion)
    with pytest.raises(ValueError, match=r"`features` must hold .* Received: none of item_content, history_content\."):
        Ranker(click_network).probabilities(features())
    with_table = Ranker(click_network, table())
    probabilities = awakened(with_table, features()).probabilities(features())
    rows = {
        "item_content": table().lookup(features()["item_id"]),
        "history_content": table().lookup(features()["history_item_id"]),
    }
    np.testing.assert_array_equal(Ranker(click_network).probabilities(features() | rows), probabilities)


@pytest.mark.parametrize("ubm", sorted(UBMS))
def test_padding_and_batch_neighbours_do_not_matter(ubm: str) -> None:
    batch = features()
    ranker = awakened(Ranker(network(UBMS[ubm]()), table()), batch)
    together = ranker.logits(batch)
    alone = {name: value[:1, :2] if name.startswith("history_") else value[:1] for name, value in batch.items()}
    np.testing.assert_allclose(ranker.logits(alone)[0], together[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("ubm", sorted(UBMS))
def test_an_empty_history_is_scored(ubm: str) -> None:
    ranker = awakened(Ranker(network(UBMS[ubm]()), table()), features())
    batch = features()
    nobody = batch | {
        "history_item_id": tf.fill([3, 4], tf.constant(-1, tf.int64)),
        "history_category": tf.fill([3, 4], ""),
    }
    no_column = {name: value[:, :0] if name.startswith("history_") else value for name, value in batch.items()}
    np.testing.assert_allclose(ranker.logits(nobody), ranker.logits(no_column), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("ubm", sorted(UBMS))
def test_what_was_bought_before_matters(ubm: str) -> None:
    one, other = features(), features(history_item_id=tf.fill([3, 4], tf.constant(5, tf.int64)))
    ranker = awakened(Ranker(network(UBMS[ubm](), content=False, fusion=False)), one)
    assert np.abs(ranker.logits(one) - ranker.logits(other)).min() > 1e-6


def test_only_models_that_ask_for_time_want_it() -> None:
    timeless = {name: value for name, value in features().items() if "timestamp" not in name}
    assert Ranker(network(content=False, fusion=False)).logits(timeless).shape == (3,)
    for ubm in ("bst", "sim", "twin"):
        click_network = network(UBMS[ubm](), content=False, fusion=False)
        assert {"timestamp", "history_timestamp"} <= set(click_network.fields)
        with pytest.raises(ValueError, match=r"Received: none of history_timestamp, timestamp\."):
            click_network(timeless)


def test_an_unknown_item_adds_no_content_interest() -> None:
    # With ID interest equal for all (average pooling of ids hashed into one bin), only content can tell rows apart.
    ranker = Ranker(network(AveragePooling(), hash_bins=1), table())
    unknown = tf.constant([[2, 999], [2, 998], [2, 2**60]], tf.int64)
    rows = {
        "item_id": tf.constant([1, 1, 1], tf.int64),
        "category": tf.fill([3], "mug"),
        "history_item_id": unknown,
        "history_category": tf.fill([3, 2], "mug"),
    }
    logits = ranker.logits(rows)
    np.testing.assert_allclose(logits, np.full(3, logits[0]), rtol=1e-5)


def test_string_ids_pad_with_the_empty_string() -> None:
    np.testing.assert_array_equal(behaviour_mask(tf.constant([["a", ""]])), [[True, False]])
    np.testing.assert_array_equal(behaviour_mask(tf.constant([[0, -1]], tf.int64)), [[True, False]])


def with_features(ubm: keras.layers.Layer | None = None, **changes: Any) -> RankingNetwork:
    return network(
        ubm,
        item_features={"colour": VocabularyEmbedding(["red", "blue"], 3), "price": Standardised(10.0, 5.0)},
        impression_features={
            "hour": BucketisedEmbedding([6.0, 18.0], 2),
            "device": HashedEmbedding(16, 2),
            "item_age": Standardised(100.0, 50.0),
        },
        query=True,
        **changes,
    )


def featured(**changes: Any) -> dict[str, tf.Tensor]:
    return features(
        item_colour=tf.constant(["red", "blue", "red"]),
        history_colour=tf.constant([["red", "blue", "", ""], ["blue"] * 4, ["pink"] * 4]),
        item_price=tf.constant([5.0, 10.0, 30.0]),
        history_price=tf.constant([[5.0, 10.0, 0.0, 0.0], [10.0] * 4, [20.0] * 4]),
        hour=tf.constant([3, 12, 23], tf.int64),
        device=tf.constant(["phone", "tablet", "phone"]),
        item_age=tf.constant([50, 100, 200], tf.int64),
        query_embedding=tf.constant([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]),
        **changes,
    )


def test_every_feature_matters_and_is_asked_for() -> None:
    ranker = awakened(Ranker(with_features(), table()), featured())
    before = ranker.logits(featured()).numpy()
    changes = {
        "item_colour": tf.constant(["blue", "red", "blue"]),
        "history_colour": tf.constant([["blue", "red", "", ""], ["red"] * 4, ["red"] * 4]),
        "item_price": tf.constant([6.0, 11.0, 31.0]),
        "history_price": tf.constant([[6.0, 11.0, 0.0, 0.0], [11.0] * 4, [21.0] * 4]),
        "hour": tf.constant([12, 23, 3], tf.int64),
        "device": tf.constant(["tablet", "phone", "tablet"]),
        "item_age": tf.constant([100, 200, 50], tf.int64),
        "query_embedding": tf.constant([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]),
    }
    for name, column in changes.items():
        assert name in ranker.fields
        assert np.abs(ranker.logits(featured() | {name: column}) - before).min() > 1e-6, name
        with pytest.raises(ValueError, match=rf"Received: none of {name}\."):
            ranker.logits({field: value for field, value in featured().items() if field != name})


def of_users(batch: dict[str, tf.Tensor]) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
    """Three users and for each of them the items of all three as candidates, at once and as nine rows."""
    targets = [name for name in batch if name.startswith("item_") or name == "category"]
    at_once = batch | {name: tf.stack([batch[name]] * 3) for name in targets}
    rows = {name: tf.repeat(column, 3, axis=0) for name, column in batch.items()}
    return at_once, rows | {name: tf.tile(batch[name], [3]) for name in targets}


@pytest.mark.parametrize("ubm", sorted(UBMS))
def test_candidates_of_a_user_at_once_are_scored_as_in_rows_of_their_own(ubm: str) -> None:
    ranker = awakened(Ranker(with_features(ubm=UBMS[ubm]()), table(), 0.5), featured())
    at_once, rows = of_users(featured())
    expected = np.reshape(ranker.probabilities(rows), [3, 3])
    np.testing.assert_allclose(ranker.probabilities(at_once), expected, rtol=1e-5)


def by_candidate(batch: dict[str, tf.Tensor]) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
    """As `of_users`, but each candidate has an hour, a device and a query of its own."""
    at_once, rows = of_users(batch)
    columns = {
        "hour": tf.reshape(tf.range(9, dtype=tf.int64) * 3, [3, 3]),
        "device": tf.constant([["phone", "tablet", "watch"]] * 3),
        "query_embedding": tf.constant(np.random.default_rng(3).normal(size=(3, 3, 3)), tf.float32),
    }
    alone = {name: tf.reshape(column, [9, *column.shape[2:]]) for name, column in columns.items()}
    return at_once | columns, rows | alone


SHOWN = np.array([[True, True, False], [True, True, True], [False, False, False]])


def test_columns_of_impressions_may_differ_by_candidate() -> None:
    ranker = awakened(Ranker(with_features(), table()), featured())
    at_once, rows = by_candidate(featured())
    np.testing.assert_allclose(ranker.probabilities(at_once), np.reshape(ranker.probabilities(rows), [3, 3]), rtol=1e-5)


def test_the_tower_does_not_see_padding() -> None:
    """Dice takes statistics of what it sees, so they tell."""
    ranker = awakened(Ranker(with_features(AveragePooling(), tower=DeepCTR((8,), "dice")), table()), featured())
    at_once, rows = by_candidate(featured())
    weights = ranker.network.get_weights()
    shown = {name: tf.boolean_mask(column, SHOWN.ravel()) for name, column in rows.items()}
    expected = np.zeros([3, 3])
    expected[SHOWN] = ranker.logits(shown, training=True)
    ranker.network.set_weights(weights)
    padded = ranker.logits(at_once | {"is_shown": tf.constant(SHOWN)}, training=True)
    np.testing.assert_allclose(padded, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("ubm", sorted(UBMS))
def test_a_batch_of_nothing_but_padding_teaches_nothing(ubm: str) -> None:
    ranker = awakened(Ranker(with_features(UBMS[ubm](), tower=DeepCTR((8,), "dice")), table()), featured())
    at_once, _ = by_candidate(featured())
    nobody = {"history_item_id": tf.fill([3, 4], tf.constant(-1, tf.int64)), "is_shown": tf.zeros([3, 3], tf.bool)}
    before = ranker.network.get_weights()
    with tf.GradientTape() as tape:
        logits = ranker.logits(at_once | nobody, training=True)
    gradients = tape.gradient(logits, [weight for weight in ranker.network.trainable_variables])
    assert all(np.all(tf.convert_to_tensor(of) == 0) for of in gradients if of is not None)
    for now, then in zip(ranker.network.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)  # the statistics of Dice are among them


@pytest.mark.parametrize(("content", "fusion"), [(True, False), (False, True), (True, True)])
def test_a_state_stands_for_a_history(content: bool, fusion: bool) -> None:
    """One half of the history after the other is summed up; the ID interest, without which it shows, is off."""
    click_network = RankingNetwork(None, content=content, fusion=fusion, **SMALL, tower=DeepCTR((8,)))
    ranker = awakened(Ranker(click_network, table()), features())
    at_once, _ = of_users(features())
    histories = {name: column for name, column in at_once.items() if name.startswith("history_")}
    state = ranker.user_state({name: column[:, :3] for name, column in histories.items()})
    state = ranker.user_state({name: column[:, 3:] for name, column in histories.items()}, state)
    nothing = {name: column[:, :0] for name, column in histories.items()}
    for batch in (features(), at_once):
        summed_up = ranker.probabilities(batch | nothing, state)
        np.testing.assert_allclose(summed_up, ranker.probabilities(batch), rtol=1e-5)


def test_the_cosine_of_query_and_item_by_hand() -> None:
    queries, items = [[3.0, 4.0], [1.0, 0.0], [0.0, 0.0]], [[4.0, 3.0], [-2.0, 0.0], [1.0, 1.0]]
    np.testing.assert_allclose(cosine(tf.constant(queries), tf.constant(items)), [0.96, -1.0, 0.0], rtol=1e-6)


def test_probabilities_are_corrected_for_left_out_negatives() -> None:
    click_network = network(content=False, fusion=False)
    of_sample = Ranker(click_network).probabilities(features()).numpy()
    of_all = Ranker(click_network, negatives_kept=0.1).probabilities(features())
    # Of ten impressions without a click one was kept: p / (p + (1 - p) / w), He et al. 2014.
    np.testing.assert_allclose(of_all, of_sample / (of_sample + (1 - of_sample) / 0.1), rtol=1e-5)
    with pytest.raises(ValueError, match=r"`negatives_kept` must be in \(0, 1\]\. Received: 0\."):
        Ranker(click_network, negatives_kept=0)


def test_another_teams_model_of_another_width_takes_part() -> None:
    @keras.utils.register_keras_serializable(package="another_team")
    class Counting(keras.layers.Layer):
        def call(self, target: tf.Tensor, history: tf.Tensor, mask: tf.Tensor | None = None) -> tf.Tensor:
            return tf.reduce_sum(tf.cast(mask, tf.float32), axis=1, keepdims=True)

        def compute_mask(self, *inputs: Any, **masks: Any) -> None:
            return None

    ranker = awakened(Ranker(network(Counting(), content=False, fusion=False)), features())
    one, other = features(), features(history_item_id=tf.fill([3, 4], tf.constant(-1, tf.int64)))
    assert np.abs(ranker.logits(one) - ranker.logits(other)).min() > 1e-6


@pytest.mark.parametrize("width", [4, 6, 8, 12, 15])
@pytest.mark.parametrize("content", [False, True])
def test_the_tower_gets_each_interest_times_the_target(width: int, content: bool) -> None:
    @keras.utils.register_keras_serializable(package="another_team")
    class Widened(keras.layers.Layer):
        def call(self, target: tf.Tensor, history: tf.Tensor, mask: tf.Tensor | None = None) -> tf.Tensor:
            return tf.tile(tf.reduce_sum(history, axis=[1, 2])[:, tf.newaxis], [1, width])

        def compute_mask(self, *inputs: Any, **masks: Any) -> None:
            return None

    @keras.utils.register_keras_serializable(package="another_team")
    class Seeing(keras.layers.Layer):
        def call(self, inputs: tf.Tensor) -> tf.Tensor:
            self.seen = np.asarray(inputs)
            return inputs[:, 0]

    tower = Seeing(dtype="float32")
    ranker = Ranker(network(Widened(), content=content, fusion=False, tower=tower), table() if content else None)
    awakened(ranker, features()).logits(features())
    dim, mm_dim = 6, 3 if content else 0
    rows = table().lookup(features()["item_id"]).numpy()[:, :mm_dim].astype(np.float32)
    h_b, target = tower.seen[:, : width + mm_dim], tower.seen[:, -dim:]
    whole = width // dim * dim
    product = h_b[:, :whole] * np.tile(target, [1, width // dim])
    product = np.concatenate([product, h_b[:, width:] * rows], axis=1)
    np.testing.assert_allclose(tower.seen[:, width + mm_dim : -dim], product, rtol=1e-6)


# Keras 3.15 saves a variable by `np.array(variable)`, whose `copy` keyword its variables do not take yet.
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")
def test_a_keras_user_compiles_fits_saves_and_reloads_it(tmp_path: Path) -> None:
    click_network = with_features()
    ids = featured()
    batch = ids | {
        "item_content": table().lookup(ids["item_id"]),
        "history_content": table().lookup(ids["history_item_id"]),
    }
    click_network.compile(optimizer="adam", loss=keras.losses.BinaryCrossentropy(from_logits=True))
    rows = tf.data.Dataset.from_tensors((batch, tf.constant([1.0, 0.0, 1.0])))
    click_network.fit(rows, epochs=2, shuffle=False, verbose=0)
    click_network.save(tmp_path / "network.keras")
    reloaded = keras.models.load_model(tmp_path / "network.keras")
    np.testing.assert_allclose(reloaded(batch), click_network(batch), rtol=1e-6)


def test_a_ubm_that_is_no_layer() -> None:
    with pytest.raises(TypeError, match=r"`id_interest` must be a Keras layer or None\. Received: 'din'"):
        RankingNetwork("din")
