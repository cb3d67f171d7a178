import functools
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from mim_tf.interest.twin import TWIN

pytestmark = pytest.mark.both_kerases
BATCH, DIM = 4, 3
Bias = list[tuple[list[np.ndarray], np.ndarray]]  # of each head: W_c, one vector per cross feature, and beta


def trained(**arguments: Any) -> TWIN:
    """A small TWIN, with weights that no initialiser gives."""
    layer = TWIN(**{"top_k": 3, "heads": 2, "key_dim": 5, "time_dim": 2, "category_dim": 4, **arguments})
    layer.build((None, DIM))
    rng = np.random.default_rng(4)
    layer.set_weights([rng.normal(size=weight.shape) * 0.7 for weight in layer.get_weights()])
    return layer


def batch(length: int = 9) -> dict[str, np.ndarray]:
    """Users with 0 behaviours, 1, and more."""
    rng = np.random.default_rng(5)
    return {
        "target": rng.normal(size=(BATCH, DIM)).astype(np.float32),
        "history": rng.normal(size=(BATCH, length, DIM)).astype(np.float32),
        "mask": rng.random((BATCH, length)) < np.array([[0.0], [0.2], [0.8], [1.0]]),
        "time_gaps": np.floor(2 ** rng.uniform(-1, 34, (BATCH, length))),
        "same_category": rng.random((BATCH, length)) < 0.6,
    }


def softmax(scores: np.ndarray) -> np.ndarray:
    return np.exp(scores) / np.exp(scores).sum()


def cross_features(layer: TWIN, inputs: dict[str, np.ndarray], user: int, i: int) -> list[np.ndarray]:
    """One behaviour's K_c, feature by feature; zeros for a feature that is not given."""
    features = []
    if layer.time_dim:
        gaps = inputs.get("time_gaps")
        row = np.zeros(layer.time_dim)
        if gaps is not None:
            bucket = 0 if gaps[user, i] < 1 else min(31, 1 + int(np.floor(np.log2(gaps[user, i]))))
            row = layer.gap_embedding.get_weights()[0][bucket]
        features.append(row)
    if layer.category_dim:
        same = inputs.get("same_category")
        row = np.zeros(layer.category_dim)
        features.append(row if same is None else layer.category_embedding.numpy()[int(same[user, i])])
    return features


def alpha(layer: TWIN, inputs: dict[str, np.ndarray], user: int, head: int, i: int, bias: Bias) -> float:
    """One behaviour's score: (K_h W_h) (q W_q)^T / sqrt(d_k) + (K_c W_c) beta."""
    W_q, W_h = layer.query.numpy()[head], layer.key.numpy()[head]
    W_c, beta = bias[head]
    inherent = (inputs["history"][user, i] @ W_h) @ (inputs["target"][user] @ W_q) / np.sqrt(layer.key_dim)
    numbers = [k @ w for k, w in zip(cross_features(layer, inputs, user, i), W_c, strict=True)]
    return float(inherent + np.dot(numbers, beta))


def twin(layer: TWIN, inputs: dict[str, np.ndarray], bias: Bias) -> np.ndarray:
    """Section 4 of arXiv:2302.02352 for one user, head and behaviour at a time.

    The search gathers the behaviours that it finds; the attention then computes their scores anew.
    """
    rows = []
    for user in range(BATCH):
        heads = []
        for head in range(layer.heads):
            score = functools.partial(alpha, layer, inputs, user, head, bias=bias)
            found = sorted(np.flatnonzero(inputs["mask"][user]), key=score)[-layer.top_k :]
            K = [np.hstack([inputs["history"][user, i], *cross_features(layer, inputs, user, i)]) for i in found]
            V = [behaviour @ layer.value.numpy()[head] for behaviour in K]
            weights = softmax(np.array([score(i) for i in found]))
            heads.append(weights @ np.array(V) if V else np.zeros(layer.key_dim))
        rows.append(np.concatenate(heads) @ layer.output_kernel.numpy().reshape(-1, DIM))
    return np.stack(rows)


def with_bias(layer: TWIN) -> Bias:
    """Draw each head's W_c and beta as the paper has them, and hand the layer their products."""
    rng = np.random.default_rng(6)
    dims = [dim for dim in (layer.time_dim, layer.category_dim) if dim]
    bias = [([rng.normal(size=dim) for dim in dims], rng.normal(size=len(dims))) for _ in range(layer.heads)]
    if dims:
        layer.cross.assign([np.concatenate([w * b for w, b in zip(*head, strict=True)]) for head in bias])
    return bias


@pytest.mark.parametrize("length", [1, 9, 60])
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"top_k": 100},
        {"heads": 1, "top_k": 1},
        {"time_dim": 0},
        {"category_dim": 0},
        {"time_dim": 0, "category_dim": 0},
    ],
    ids=str,
)
def test_against_numpy(length: int, arguments: dict[str, int]) -> None:
    layer, inputs = trained(**arguments), batch(length)
    expected = twin(layer, inputs, with_bias(layer))
    np.testing.assert_allclose(layer(**inputs), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("missing", [("time_gaps",), ("same_category",), ("time_gaps", "same_category")], ids=str)
def test_a_feature_that_is_not_given_is_zero(missing: tuple[str, ...]) -> None:
    layer, inputs = trained(), batch()
    bias = with_bias(layer)
    given = np.asarray(layer(**inputs))
    for name in missing:
        del inputs[name]
    output = layer(**inputs)
    np.testing.assert_allclose(output, twin(layer, inputs, bias), rtol=1e-4, atol=1e-5)
    assert np.abs(output - given).max() > 0.01


def test_by_hand() -> None:
    layer = TWIN(top_k=2, heads=1, key_dim=4, time_dim=0, category_dim=1)
    layer.build((None, 1))
    layer.query.assign(np.full((1, 1, 4), 1.0))
    layer.key.assign(np.full((1, 1, 4), 0.5))  # alpha's first part: 4 * 0.5 h_i h_t / sqrt(4) = h_i h_t
    layer.category_embedding.assign([[0.0], [2.0]])
    layer.cross.assign([[3.0]])  # 6 more for the target's category
    layer.value.assign([[[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]]])  # h_i, and the category's feature
    layer.output_kernel.assign([[[1.0], [100.0], [0.0], [0.0]]])
    # alpha = (5, 4, log 3 + 6, 6): the last two are found, with weights 3/4 and 1/4, and both have the feature 2.
    history, same_category = tf.constant([[[5.0], [4.0], [np.log(3.0)], [0.0]]]), [False, False, True, True]
    output = layer(tf.constant([[1.0]]), history, same_category=tf.constant([same_category]))
    np.testing.assert_allclose(output, [[0.75 * np.log(3.0) + 200.0]], rtol=1e-6)
    # A second candidate, -log 3 of another category: alpha = -log 3 h_i finds log 3 and 0, the feature 0 of both.
    # Their weights are as 3^-log 3 to 1.
    targets, flags = tf.constant([[[1.0], [-np.log(3.0)]]], tf.float32), tf.constant([[same_category, [False] * 4]])
    share = 3 ** -np.log(3.0) / (3 ** -np.log(3.0) + 1)
    output = layer(targets, history, same_category=flags)
    np.testing.assert_allclose(output, [[[0.75 * np.log(3.0) + 200.0], [share * np.log(3.0)]]], rtol=1e-6)


def test_a_head_attends_to_what_it_finds_alone() -> None:
    searching, attending, inputs = trained(heads=1), trained(heads=1, top_k=40), batch(40)
    inputs["mask"] = np.ones((BATCH, 40), bool)
    bias = with_bias(attending)
    searching.set_weights(attending.get_weights())
    scores = np.array([[alpha(attending, inputs, user, 0, i, bias) for i in range(40)] for user in range(BATCH)])
    # An attention to everybody, shown only the three of highest score, is a search for three.
    top = scores >= np.sort(scores, axis=1)[:, -3:-2]
    output = np.asarray(searching(**inputs))
    np.testing.assert_allclose(output, attending(**{**inputs, "mask": top}), rtol=1e-5, atol=1e-6)
    assert np.abs(output - attending(**inputs)).max() > 0.01


def test_behaviours_whose_scores_tie_all_take_part() -> None:
    layer, inputs = trained(top_k=2), batch(1)
    repeated = {name: value if name == "target" else np.repeat(value, 8, axis=1) for name, value in inputs.items()}
    np.testing.assert_allclose(layer(**repeated), layer(**inputs), rtol=1e-5, atol=1e-6)


def test_gradients_reach_every_weight() -> None:
    layer, inputs = trained(), batch()
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.square(layer(**inputs)))
    weights = layer.trainable_variables
    assert len(weights) == 7
    for gradient in tape.gradient(loss, weights):
        assert np.abs(tf.convert_to_tensor(gradient)).max() > 1e-4


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16"])
def test_a_history_of_ten_thousand_in_half_precision(policy: str) -> None:
    inputs = batch(10_000)
    full, half = trained(), trained(dtype=policy)
    half.set_weights(full.get_weights())
    expected, output = full(**inputs), half(**inputs)
    assert output.dtype == policy.removeprefix("mixed_")
    scale = np.abs(expected).max()
    np.testing.assert_allclose(tf.cast(output, tf.float32), expected, atol=2e-2 * scale)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"top_k": 0}, "`top_k` must be an integer of at least 1. Received: 0"),
        ({"heads": 0}, "`heads` must be an integer of at least 1. Received: 0"),
        ({"key_dim": -1}, "`key_dim` must be an integer of at least 1. Received: -1"),
        ({"time_dim": -1}, "`time_dim` must be an integer of at least 0. Received: -1"),
        ({"category_dim": -2}, "`category_dim` must be an integer of at least 0. Received: -2"),
    ],
)
def test_arguments_out_of_range(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TWIN(**arguments)


def test_a_target_of_unknown_dimension() -> None:
    with pytest.raises(ValueError, match=r"`target` must have a known last dimension. Received: shape \(None, None\)"):
        TWIN().build((None, None))
