"""The click network: what it depends on, and what it must not depend on."""

import numpy as np
import pytest
import tensorflow as tf

from mim_tf.ranking import HashedEmbedding, Ranker, RankingNetwork, behaviour_mask
from mim_tf.representation import EmbeddingTable

pytestmark = pytest.mark.both_kerases

SMALL = {"item_dim": 4, "category_dim": 2, "hash_bins": 64, "tower_units": (8,)}


def features(batch: int = 3, length: int = 4, **changes: object) -> dict[str, tf.Tensor]:
    ids = np.arange(batch * length).reshape(batch, length) % 5 + 1
    ids[0, 2:] = -1  # the first row has two behaviours
    plain = {
        "item_id": tf.range(1, batch + 1, dtype=tf.int64),
        "category": tf.constant(["shirt", "mug", "lamp"][:batch]),
        "history_item_id": tf.constant(ids, tf.int64),
        "history_category": tf.where(ids == -1, "", "shirt"),
    }
    return plain | changes


def table() -> EmbeddingTable:
    return EmbeddingTable(np.arange(1, 6), np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32))


def test_a_network_without_content_needs_no_table() -> None:
    ranker = Ranker(RankingNetwork(content=False, fusion=False, **SMALL), None)
    assert ranker.probabilities(features()).shape == (3,)


@pytest.mark.parametrize(("content", "fusion"), [(True, False), (False, True), (True, True)])
def test_content_needs_a_table(content: bool, fusion: bool) -> None:
    network = RankingNetwork(content=content, fusion=fusion, **SMALL)
    with pytest.raises(ValueError, match=r"`table` must be given for a network that uses content"):
        Ranker(network, None)
    probabilities = Ranker(network, table()).probabilities(features())
    assert np.all((probabilities > 0) & (probabilities < 1))


def test_padding_and_batch_neighbours_do_not_matter() -> None:
    ranker = Ranker(RankingNetwork(**SMALL), table())
    batch = features()
    together = ranker.logits(batch)
    alone = {name: value[:1] for name, value in batch.items()}
    alone["history_item_id"], alone["history_category"] = (
        alone["history_item_id"][:, :2],
        alone["history_category"][:, :2],
    )
    np.testing.assert_allclose(ranker.logits(alone)[0], together[0], rtol=1e-4, atol=1e-6)


def test_an_empty_history_is_scored() -> None:
    ranker = Ranker(RankingNetwork(**SMALL), table())
    nobody = features(history_item_id=tf.fill([3, 4], tf.constant(-1, tf.int64)), history_category=tf.fill([3, 4], ""))
    no_column = features(history_item_id=tf.zeros([3, 0], tf.int64), history_category=tf.zeros([3, 0], tf.string))
    np.testing.assert_allclose(ranker.logits(nobody), ranker.logits(no_column), rtol=1e-5, atol=1e-6)


def test_what_was_bought_before_matters() -> None:
    ranker = Ranker(RankingNetwork(**SMALL), table())
    one, other = features(), features(history_item_id=tf.fill([3, 4], tf.constant(5, tf.int64)))
    ranker.logits(one)
    ranker.network.tower.set_weights([np.random.normal(size=w.shape) for w in ranker.network.tower.get_weights()])
    assert np.abs(ranker.logits(one) - ranker.logits(other)).min() > 1e-4


def test_an_unknown_item_adds_no_content_interest() -> None:
    # With ID interest equal for all (average pooling of ids hashed into one bin), only content can tell rows apart.
    network = RankingNetwork(ubm="average", item_dim=4, category_dim=2, hash_bins=1, tower_units=(8,))
    ranker = Ranker(network, table())
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


def test_int_and_string_ids_share_bins() -> None:
    layer = HashedEmbedding(bins=1000, dim=2)
    np.testing.assert_array_equal(layer(tf.constant([12, 7], tf.int64)), layer(tf.constant(["12", "7"])))


def test_an_unknown_ubm_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"`ubm` must be one of average, din\. Received: 'dine'"):
        RankingNetwork(ubm="dine")
