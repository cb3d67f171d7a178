from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from mim_tf.interest.bst import BST

pytestmark = pytest.mark.both_kerases
# Padding behind, a hole, padding in front.
MASK = np.array([[True, True, False, False], [True, False, True, True], [False, False, False, True]])


def trained(**arguments: Any) -> BST:
    layer = BST(**{"heads": 2, "head_dim": 3, "time_dim": 2, **arguments})
    layer.build((None, 3))
    rng = np.random.default_rng(1)
    layer.set_weights([rng.normal(size=weight.shape) for weight in layer.get_weights()])
    return layer


def batch(length: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    target, history = rng.normal(size=(3, 3)), rng.normal(size=(3, length, 3))
    return target.astype(np.float32), history.astype(np.float32), rng.integers(0, 10**6, size=(3, length))


def layer_norm(x: np.ndarray, weights: list[np.ndarray]) -> np.ndarray:
    gamma, beta = weights
    return (x - x.mean()) / np.sqrt(x.var() + 1e-6) * gamma + beta


def block(weights: Any, E: np.ndarray, heads: int) -> np.ndarray:
    """Equations 2 to 6 of arXiv:1905.06874 for one user, one place and one head at a time, without dropout."""
    W_Q, W_K, W_V = (np.split(np.asarray(W), heads, axis=1) for W in (weights.query, weights.key, weights.value))
    (W_1, b_1), (W_2, b_2) = weights.inner.get_weights(), weights.outer.get_weights()
    F = np.zeros_like(E)
    for place, e in enumerate(E):
        joined = []
        for j in range(heads):
            scores = np.array([(e @ W_Q[j]) @ (other @ W_K[j]) for other in E]) / np.sqrt(W_Q[j].shape[1])
            attention = np.exp(scores - scores.max())
            attention /= attention.sum()
            joined.append(sum(a * (other @ W_V[j]) for a, other in zip(attention, E, strict=True)))
        S = layer_norm(e + np.concatenate(joined) @ np.asarray(weights.joined), weights.attention_norm.get_weights())
        hidden = S @ W_1 + b_1
        hidden = np.where(hidden > 0, hidden, 0.01 * hidden)
        F[place] = layer_norm(S + hidden @ W_2 + b_2, weights.output_norm.get_weights())
    return F


def bucket(gap: float) -> int:
    return 0 if gap < 1 else 1 + int(np.log2(gap))


def bst(layer: BST, target: np.ndarray, history: np.ndarray, mask: np.ndarray, gaps: np.ndarray | None) -> np.ndarray:
    """The target's place after all blocks, over real behaviours only and one user at a time."""
    output = []
    for user, real in enumerate(mask):
        E = np.concatenate([history[user, real], target[user : user + 1]]).astype(np.float64)
        if layer.time_dim:
            p = np.zeros((len(E), layer.time_dim))
            if gaps is not None:
                p = np.asarray(layer.gap_embedding.embeddings)[[bucket(gap) for gap in [*gaps[user, real], 0]]]
            E = np.concatenate([E, p], axis=1)
        for weights in layer.transformer:
            E = block(weights, E, layer.heads)
        output.append(E[-1])
    return np.array(output)


@pytest.mark.parametrize(
    "arguments",
    [{}, {"blocks": 3}, {"heads": 3, "head_dim": None}, {"heads": 8, "head_dim": None}, {"time_dim": 0}],
    ids=str,
)
@pytest.mark.parametrize("with_mask", [False, True])
@pytest.mark.parametrize("with_gaps", [False, True])
def test_against_numpy(arguments: dict[str, Any], with_mask: bool, with_gaps: bool) -> None:
    layer = trained(**arguments)
    target, history, gaps = batch()
    mask, gaps = (MASK if with_mask else None), (gaps if with_gaps else None)
    expected = bst(layer, target, history, np.ones_like(MASK) if mask is None else mask, gaps)
    output = layer(target, history, mask=mask, time_gaps=gaps)
    np.testing.assert_allclose(output, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("blocks", [1, 2])
def test_candidates_against_numpy(blocks: int) -> None:
    layer = trained(blocks=blocks)
    _, history, gaps = batch()
    targets = np.random.default_rng(3).normal(size=(3, 2, 3)).astype(np.float32)
    output = layer(targets, history, mask=MASK, time_gaps=gaps)
    for candidate in range(2):
        expected = bst(layer, targets[:, candidate], history, MASK, gaps)
        np.testing.assert_allclose(output[:, candidate], expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("dim", "heads", "width"), [(8, 2, 4), (7, 2, 4), (3, 8, 1)])
def test_heads_share_the_dimension_rounded_up(dim: int, heads: int, width: int) -> None:
    layer = BST(heads, time_dim=0)
    layer.build((None, dim))
    assert layer.transformer[0].query.shape == (dim, heads * width)


def test_only_time_gaps_tell_the_order() -> None:
    layer = trained()
    target, history, _ = batch()
    gaps = np.array([[10**6, 10**4, 10**2, 1]] * 3)
    turned = history[:, ::-1]
    np.testing.assert_allclose(layer(target, turned), layer(target, history), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        layer(target, turned, time_gaps=gaps[:, ::-1]), layer(target, history, time_gaps=gaps), rtol=1e-4, atol=1e-5
    )
    assert np.abs(layer(target, turned, time_gaps=gaps) - layer(target, history, time_gaps=gaps)).max() > 0.1


@pytest.mark.parametrize("blocks", [1, 2])
def test_padding_changes_neither_the_output_nor_makes_gradients_infinite(blocks: int) -> None:
    layer = trained(blocks=blocks)
    target, history, gaps = batch()
    expected = layer(target, history, mask=MASK, time_gaps=gaps.astype(np.float32))
    padded = tf.constant(np.where(MASK[..., np.newaxis], history, np.nan).astype(np.float32))
    padded_gaps = tf.constant(np.where(MASK, gaps, np.nan).astype(np.float32))
    with tf.GradientTape() as tape:
        tape.watch(padded)
        output = layer(target, padded, mask=MASK, time_gaps=padded_gaps)
    np.testing.assert_array_equal(output, expected)
    for gradient in tape.gradient(output, [padded, *layer.trainable_variables]):
        assert np.isfinite(tf.convert_to_tensor(gradient)).all()


@pytest.mark.parametrize("blocks", [1, 2])
def test_a_history_without_behaviours_gives_zeros_beside_others(blocks: int) -> None:
    layer = trained(blocks=blocks)
    target, history, gaps = batch()
    mask = MASK.copy()
    mask[1] = False
    output = np.asarray(layer(target, history, mask=mask, time_gaps=gaps))
    assert not output[1].any()
    np.testing.assert_allclose(output[::2], bst(layer, target, history, MASK, gaps)[::2], rtol=1e-3, atol=1e-4)


def test_ten_thousand_behaviours() -> None:
    layer = trained()
    rng = np.random.default_rng(3)
    # In full, the scores of all pairs would take 2 users x 2 heads x 10^8 x 4 bytes = 1.6 GB.
    history = rng.normal(size=(2, 10_000, 3)).astype(np.float32)
    gaps = rng.integers(0, 10**8, size=(2, 10_000))
    target, mask = np.ones((2, 3), np.float32), rng.uniform(size=(2, 10_000)) < 0.5
    expected = []
    for user, real in enumerate(mask):
        places = tf.concat([history[user, real], target[user : user + 1]], axis=0)
        rows = [bucket(gap) for gap in [*gaps[user, real], 0]]
        E = np.concatenate([places, np.asarray(layer.gap_embedding.embeddings)[rows]], axis=1).astype(np.float64)
        expected.append(last_place(layer.transformer[0], E))
    np.testing.assert_allclose(layer(target, history, mask=mask, time_gaps=gaps), expected, rtol=1e-3, atol=1e-4)


def last_place(weights: Any, E: np.ndarray) -> np.ndarray:
    """`block` at the last place of two heads, all places at once."""
    joined = []
    for W_Q, W_K, W_V in zip(
        *(np.split(np.asarray(W), 2, axis=1) for W in (weights.query, weights.key, weights.value)), strict=True
    ):
        scores = (E @ W_K) @ (E[-1] @ W_Q) / np.sqrt(W_Q.shape[1])
        attention = np.exp(scores - scores.max())
        joined.append((attention / attention.sum()) @ (E @ W_V))
    S = layer_norm(E[-1] + np.concatenate(joined) @ np.asarray(weights.joined), weights.attention_norm.get_weights())
    (W_1, b_1), (W_2, b_2) = weights.inner.get_weights(), weights.outer.get_weights()
    hidden = S @ W_1 + b_1
    hidden = np.where(hidden > 0, hidden, 0.01 * hidden)
    return layer_norm(S + hidden @ W_2 + b_2, weights.output_norm.get_weights())


def test_dropout_drops_in_training_only_and_by_the_seed() -> None:
    target, history, _ = batch()

    def drawn(training: bool) -> np.ndarray:
        keras.utils.set_random_seed(4)
        return np.asarray(trained(dropout=0.5)(target, history, training=training))

    np.testing.assert_array_equal(drawn(training=True), drawn(training=True))
    assert np.abs(drawn(training=True) - drawn(training=False)).max() > 0.1
    still = trained(dropout=0.0)(target, history, training=True)
    np.testing.assert_allclose(still, drawn(training=False), rtol=1e-5)


@pytest.mark.parametrize("blocks", [1, 2])
def test_fit_moves_every_weight(blocks: int) -> None:
    target, history, gaps = batch()
    entries = {
        "target": keras.Input((3,), name="target"),
        "history": keras.Input((None, 3), name="history"),
        "mask": keras.Input((None,), name="mask", dtype="bool"),
        "gaps": keras.Input((None,), name="gaps", dtype="int64"),
    }
    layer = trained(blocks=blocks)
    h_b = layer(entries["target"], entries["history"], mask=entries["mask"], time_gaps=entries["gaps"])
    model = keras.Model(entries, keras.layers.Dense(1, "sigmoid")(h_b))
    before = layer.get_weights()
    model.compile(keras.optimizers.SGD(0.1), "binary_crossentropy")
    inputs = {"target": target, "history": history, "mask": MASK, "gaps": gaps}
    model.fit(inputs, np.array([[1.0], [0.0], [1.0]]), verbose=0)
    assert all(np.any(old != new) for old, new in zip(before, layer.get_weights(), strict=True))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"heads": 0}, "`heads` must be an integer of at least 1. Received: 0"),
        ({"head_dim": 0}, "`head_dim` must be an integer of at least 1. Received: 0"),
        ({"blocks": 0}, "`blocks` must be an integer of at least 1. Received: 0"),
        ({"time_dim": -1}, "`time_dim` must be an integer of at least 0. Received: -1"),
        ({"dropout": 1.0}, r"`dropout` must be in \[0, 1\). Received: 1.0"),
    ],
)
def test_arguments_out_of_range(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BST(**arguments)


def test_time_gaps_of_another_shape() -> None:
    target, history, gaps = batch()
    with pytest.raises(ValueError, match=r"`time_gaps` must have the shape of the history .*Received: shape \(3, 3\)"):
        trained()(target, history, time_gaps=gaps[:, :3])


def test_a_target_of_unknown_dimension() -> None:
    with pytest.raises(ValueError, match=r"`target` must have a known last dimension. Received: shape \(None, None\)"):
        BST().build((None, None))
