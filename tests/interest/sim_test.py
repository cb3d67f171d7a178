from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from mim_tf.interest.sim import SIM

pytestmark = pytest.mark.both_kerases
BATCH, DIM = 4, 3


def trained(dim: int = DIM, **arguments: Any) -> SIM:
    """A small SIM, with weights that no initialiser gives."""
    layer = SIM(**{"top_k": 3, "heads": 2, "key_dim": 5, "time_dim": 2, **arguments})
    layer.build((None, dim))
    rng = np.random.default_rng(4)
    layer.set_weights([rng.normal(size=weight.shape) * 0.7 for weight in layer.get_weights()])
    return layer


def batch(length: int = 9, dim: int = DIM) -> dict[str, np.ndarray]:
    """Users with 0 behaviours, 1, and more: with and without any of the target's category."""
    rng = np.random.default_rng(5)
    return {
        "target": rng.normal(size=(BATCH, dim)).astype(np.float32),
        "history": rng.normal(size=(BATCH, length, dim)).astype(np.float32),
        "mask": rng.random((BATCH, length)) < np.array([[0.0], [0.2], [0.8], [1.0]]),
        "time_gaps": np.floor(2 ** rng.uniform(-1, 34, (BATCH, length))),
        "same_category": rng.random((BATCH, length)) < 0.6,
    }


def softmax(scores: np.ndarray) -> np.ndarray:
    return np.exp(scores) / np.exp(scores).sum()


def exact_search(layer: SIM, target: np.ndarray, behaviours: np.ndarray, gaps: np.ndarray | None) -> np.ndarray:
    """Equations 5 to 8 of arXiv:2006.05639 for one user's found behaviours: each is projected, head by head."""
    if not len(behaviours):
        return np.zeros(len(target))
    z = behaviours
    if layer.time_dim:
        rows = np.zeros((len(behaviours), layer.time_dim))
        if gaps is not None:
            buckets = [0 if gap < 1 else min(31, 1 + int(np.floor(np.log2(gap)))) for gap in gaps]
            rows = layer.gap_embedding.get_weights()[0][buckets]
        z = np.concatenate([behaviours, rows], axis=1)
    heads = []
    for W_a, W_b in zip(layer.query.numpy(), layer.key.numpy(), strict=True):
        heads.append(softmax((z @ W_b) @ (target @ W_a)) @ z)
    return np.concatenate(heads) @ layer.output_kernel.numpy().reshape(-1, len(target))


def sim(layer: SIM, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """Section 3 of the paper, one user at a time, on lists of behaviours."""
    rows = []
    for user, target in enumerate(inputs["target"].astype(np.float64)):
        history = inputs["history"][user].astype(np.float64)
        real = np.flatnonzero(inputs["mask"][user])
        if layer.search == "hard":
            found, taste = [i for i in real if inputs["same_category"][user, i]][-layer.top_k :], np.zeros(0)
        else:
            r = {i: (history[i] @ layer.search_key.numpy()[0]) @ (target @ layer.search_query.numpy()[0]) for i in real}
            found = sorted(r, key=lambda i, r=r: r[i])[-layer.top_k :]
            taste = sum((r[i] * history[i] for i in real), np.zeros(len(target)))
        gaps = inputs["time_gaps"][user, found] if inputs.get("time_gaps") is not None else None
        rows.append(np.concatenate([taste, exact_search(layer, target, history[found], gaps)]))
    return np.stack(rows)


@pytest.mark.parametrize("search", ["soft", "hard"])
@pytest.mark.parametrize("length", [1, 9, 60])
@pytest.mark.parametrize("arguments", [{}, {"top_k": 100}, {"time_dim": 0}, {"heads": 1, "top_k": 1}], ids=str)
def test_against_numpy(search: str, length: int, arguments: dict[str, int]) -> None:
    layer, inputs = trained(search=search, **arguments), batch(length)
    np.testing.assert_allclose(layer(**inputs), sim(layer, inputs), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("search", ["soft", "hard"])
def test_without_time_gaps_their_embedding_is_zero(search: str) -> None:
    layer, inputs = trained(search=search), batch()
    given = np.asarray(layer(**inputs))
    del inputs["time_gaps"]
    output = layer(**inputs)
    np.testing.assert_allclose(output, sim(layer, inputs), rtol=1e-4, atol=1e-5)
    assert np.abs(output - given).max() > 0.01


def test_hard_search_by_hand() -> None:
    layer = SIM("hard", top_k=2, heads=1, key_dim=1, time_dim=0)
    layer.build((None, 1))
    # Scores 1 * h_i * 1 * h_t, and W_o = 10.
    layer.set_weights([np.full((1, 1, 1), value) for value in (1.0, 1.0, 10.0)])
    # The latest two of the category are 0 and log 3: softmax (1/4, 3/4), pooled 0.75 log 3.
    history = [[[7.0], [0.0], [9.0], [np.log(3.0)], [8.0]]]
    same_category = [[True, True, False, True, False]]
    output = layer(tf.constant([[1.0]]), tf.constant(history), same_category=tf.constant(same_category))
    np.testing.assert_allclose(output, [[7.5 * np.log(3.0)]], rtol=1e-5)
    # Two candidates more: only 8 is of the second one's category, and nothing of the third one's.
    same_category = [[same_category[0], [False, False, False, False, True], [False] * 5]]
    output = layer(tf.ones([1, 3, 1]), tf.constant(history), same_category=tf.constant(same_category))
    np.testing.assert_allclose(output, [[[7.5 * np.log(3.0)], [80.0], [0.0]]], rtol=1e-5)


def moved(layer: SIM, inputs: dict[str, np.ndarray], behaviour: int) -> np.ndarray:
    """How far one behaviour of user 0 moves the result."""
    changed = inputs["history"].copy()
    changed[0, behaviour] *= 1.1
    return np.abs(layer(**{**inputs, "history": changed}) - layer(**inputs))[0]


def test_hard_search_reads_the_latest_of_the_category_only() -> None:
    layer, inputs = trained(search="hard", top_k=2), batch(6)
    inputs["mask"] = np.array([[True] * 5 + [False]] * BATCH)
    inputs["same_category"] = np.array([[True, False, True, True, False, True]] * BATCH)
    moves = [moved(layer, inputs, behaviour).max() for behaviour in range(6)]
    assert [move > 1e-4 for move in moves] == [False, False, True, True, False, False]
    assert moves[0] == moves[1] == moves[4] == moves[5] == 0


def test_soft_search_attends_to_the_highest_only_and_pools_all() -> None:
    layer, inputs = trained(top_k=2), batch(6)
    inputs["mask"] = np.ones((BATCH, 6), bool)
    # r_i is linear in h_i: with multiples of one vector it is ordered as they are, or the other way round.
    inputs["history"] = np.outer([1.0, 6.0, 2.0, 3.0, 5.0, 4.0], [0.3, -0.2, 0.1])[np.newaxis].repeat(BATCH, 0)
    query, key = (layer.search_query.numpy()[0], layer.search_key.numpy()[0])
    if (inputs["history"][0, 0] @ key) @ (inputs["target"][0] @ query) < 0:
        inputs["target"] = -inputs["target"]
    moves = np.stack([moved(layer, inputs, behaviour) for behaviour in range(6)])
    taste, exact = moves[:, :DIM].max(axis=1), moves[:, DIM:].max(axis=1)
    assert (taste > 1e-4).all()
    assert [move > 1e-5 for move in exact] == [False, True, False, False, True, False]


def test_behaviours_whose_scores_tie_all_take_part() -> None:
    layer, inputs = trained(top_k=2, time_dim=0), batch(1)
    once = layer(inputs["target"], inputs["history"])
    many = layer(inputs["target"], np.repeat(inputs["history"], 8, axis=1))
    np.testing.assert_allclose(many[:, :DIM], 8 * np.asarray(once)[:, :DIM], rtol=1e-5)
    np.testing.assert_allclose(many[:, DIM:], once[:, DIM:], rtol=1e-5)


def test_no_behaviour_of_the_category_gives_zeros() -> None:
    layer, inputs = trained(search="hard"), batch()
    inputs["same_category"] = np.zeros_like(inputs["same_category"])
    np.testing.assert_array_equal(layer(**inputs), np.zeros((BATCH, DIM)))


@pytest.mark.parametrize("search", ["soft", "hard"])
def test_gradients_reach_every_weight(search: str) -> None:
    layer, inputs = trained(search=search), batch()
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.square(layer(**inputs)))
    weights = layer.trainable_variables
    assert len(weights) == {"soft": 6, "hard": 4}[search]
    for gradient in tape.gradient(loss, weights):
        assert np.abs(tf.convert_to_tensor(gradient)).max() > 1e-4


@pytest.mark.parametrize("search", ["soft", "hard"])
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16"])
def test_a_history_of_ten_thousand_in_half_precision(search: str, policy: str) -> None:
    inputs = batch(10_000)
    full = trained(search=search)
    half = trained(search=search, dtype=policy)
    half.set_weights(full.get_weights())
    expected, output = full(**inputs), half(**inputs)
    assert output.dtype == policy.removeprefix("mixed_")
    for part in (slice(DIM), slice(-DIM, None)):  # the sum is larger than the mean by far
        scale = np.abs(expected[:, part]).max()
        np.testing.assert_allclose(tf.cast(output, tf.float32)[:, part], expected[:, part], atol=2e-2 * scale)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_makes_no_ties(policy: str) -> None:
    layer = SIM(top_k=1, heads=1, key_dim=1, time_dim=0, dtype=policy)
    layer.build((None, 2))
    for kernel in (layer.search_query, layer.search_key):
        kernel.assign([[[1.0], [0.0]]])  # r_i is the product of the first numbers
    layer.output_kernel.assign([[[1.0, 0.0], [0.0, 1.0]]])
    # 1.0001 is 1 in either half precision. If the two tied, 5 and -3 would both be found, and weigh about the same.
    output = layer(tf.constant([[1.0, 0.0]]), tf.constant([[[1.0001, 5.0], [1.0, -3.0]]]))
    np.testing.assert_allclose(tf.cast(output, tf.float32), [[2.0, 2.0, 1.0, 5.0]], rtol=1e-2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"search": "softly"}, "`search` must be one of hard, soft. Received: 'softly'"),
        ({"top_k": 0}, "`top_k` must be an integer of at least 1. Received: 0"),
        ({"heads": 0}, "`heads` must be an integer of at least 1. Received: 0"),
        ({"heads": True}, "`heads` must be an integer of at least 1. Received: True"),
        ({"top_k": 2.5}, r"`top_k` must be an integer of at least 1. Received: 2\.5"),
        ({"time_dim": "8"}, "`time_dim` must be an integer of at least 0. Received: '8'"),
        ({"key_dim": -1}, "`key_dim` must be an integer of at least 1. Received: -1"),
        ({"time_dim": -1}, "`time_dim` must be an integer of at least 0. Received: -1"),
    ],
)
def test_arguments_out_of_range(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SIM(**arguments)


def test_hard_search_without_categories() -> None:
    inputs = batch()
    del inputs["same_category"]
    with pytest.raises(ValueError, match='`same_category` must be given for the hard search; search="soft" does'):
        trained(search="hard")(**inputs)


def test_a_target_of_unknown_dimension() -> None:
    with pytest.raises(ValueError, match=r"`target` must have a known last dimension. Received: shape \(None, None\)"):
        SIM().build((None, None))
