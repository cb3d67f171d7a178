import math
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from mim_tf.interest.ciubm import CiUBM
from mim_tf.interest.dien import DIEN

pytestmark = pytest.mark.both_kerases
# Padding behind, a hole, padding in front, nothing.
MASK = np.array(
    [
        [True, True, True, True, False],
        [True, False, True, True, True],
        [False, False, True, True, True],
        [False, False, False, False, False],
    ]
)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def trained(**arguments: Any) -> DIEN:
    layer = DIEN(**arguments)
    layer.build((None, 3))
    rng = np.random.default_rng(1)
    layer.set_weights([rng.normal(size=weight.shape) for weight in layer.get_weights()])
    return layer


def batch(length: int = 5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    return rng.normal(size=(4, 3)).astype(np.float32), rng.normal(size=(4, length, 3)).astype(np.float32)


def gru(weights: list[np.ndarray], inputs: np.ndarray, attention: np.ndarray) -> np.ndarray:
    """Equations 2 to 5 of arXiv:1809.03672 with u scaled by the attention, for one user: `[length, dim]`."""
    (W_u, W_r, W_h), (U_u, U_r, U_h), (b_u, b_r, b_h) = (np.split(weight, 3, axis=-1) for weight in weights)
    states = [np.zeros(len(U_u))]
    for i, a in zip(inputs, attention, strict=True):
        h = states[-1]
        u = a * sigmoid(i @ W_u + h @ U_u + b_u)
        r = sigmoid(i @ W_r + h @ U_r + b_r)
        states.append((1 - u) * h + u * np.tanh(i @ W_h + r * (h @ U_h) + b_h))
    return np.array(states[1:])


def dien(layer: DIEN, target: np.ndarray, history: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, dict]:
    """The output, and the interest h_t by user and position, over real behaviours only and one user at a time."""
    output, interests = np.zeros(target.shape), {}
    kernel = np.asarray(layer.attention_kernel)
    for user, real in enumerate(mask):
        if real.any():
            behaviours = history[user, real]
            states = gru(layer.extractor.get_weights(), behaviours, np.ones(len(behaviours)))
            scores = np.exp(states @ kernel @ target[user])
            output[user] = gru(layer.evolution.get_weights(), states, scores / scores.sum())[-1]
            interests |= {(user, t): state for t, state in zip(np.flatnonzero(real), states, strict=True)}
    return output, interests


def auxiliary_loss(interests: dict, history: np.ndarray, mask: np.ndarray) -> float:
    """Mean over the pairs of -log sigmoid(<h_t, e_(t+1)>) - log(1 - sigmoid(<h_t, e^_(t+1)>))."""
    losses = []
    for user in range(len(mask)):
        other = (user + 1) % len(mask)
        for t in range(mask.shape[1] - 1):
            if mask[user, t] and mask[user, t + 1] and mask[other, t + 1]:
                h = interests[user, t]
                losses.append(-np.log(sigmoid(h @ history[user, t + 1])))
                losses[-1] -= np.log(1 - sigmoid(h @ history[other, t + 1]))
    return float(np.mean(losses))


@pytest.mark.parametrize("mask", [None, MASK], ids=["whole", "masked"])
def test_against_numpy(mask: np.ndarray | None) -> None:
    layer = trained(auxiliary_weight=0.5)
    target, history = batch()
    real = np.ones_like(MASK) if mask is None else mask
    expected, interests = dien(layer, target, history, real)
    output = layer(target, history, mask=mask, training=True)
    np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-6)
    (loss,) = layer.losses
    np.testing.assert_allclose(loss, 0.5 * auxiliary_loss(interests, history, real), rtol=1e-5)
    np.testing.assert_array_equal(layer(target, history, mask=mask), output)


def test_candidates_against_numpy_and_the_loss_once_a_user() -> None:
    layer = trained(auxiliary_weight=0.5)
    _, history = batch()
    targets = np.random.default_rng(3).normal(size=(4, 2, 3)).astype(np.float32)
    output = layer(targets, history, mask=MASK, training=True)
    for candidate in range(2):
        expected, interests = dien(layer, targets[:, candidate], history, MASK)
        np.testing.assert_allclose(output[:, candidate], expected, rtol=1e-4, atol=1e-6)
    (loss,) = layer.losses
    np.testing.assert_allclose(loss, 0.5 * auxiliary_loss(interests, history, MASK), rtol=1e-5)


def test_gradients_against_numeric_differentiation() -> None:
    layer = trained(auxiliary_weight=0.5, dtype="float64")
    target, history = (values.astype(np.float64) for values in batch())
    by_output = np.random.default_rng(3).normal(size=target.shape)

    def total() -> float:
        output, interests = dien(layer, target, history, MASK)
        return float(np.sum(by_output * output)) + 0.5 * auxiliary_loss(interests, history, MASK)

    sources = [tf.constant(target), tf.constant(history), *layer.trainable_variables]
    with tf.GradientTape() as tape:
        tape.watch(sources[:2])
        output = layer(*sources[:2], mask=MASK, training=True)
        loss = tf.reduce_sum(by_output * output) + layer.losses[0]
    gradients = [np.asarray(gradient) for gradient in tape.gradient(loss, sources)]
    weights = [variable.numpy() for variable in layer.trainable_variables]
    for gradient, value in zip(gradients, [target, history, *weights], strict=True):
        for place in np.ndindex(value.shape):
            middle, ends = value[place], []
            for value[place] in (middle + 1e-5, middle - 1e-5, middle):
                for variable, weight in zip(layer.trainable_variables, weights, strict=True):
                    variable.assign(weight)
                ends.append(total())
            np.testing.assert_allclose(gradient[place], (ends[0] - ends[1]) / 2e-5, rtol=1e-5, atol=1e-8)


def foretelling_half() -> DIEN:
    """Of dimension 1, with h_t = 1/2 after every behaviour: u = sigmoid(50) = 1, h~ = tanh(arctanh(1/2))."""
    layer = DIEN()
    layer.build((None, 1))
    layer.extractor.set_weights([np.zeros((1, 3)), np.zeros((1, 3)), np.array([50.0, 0.0, np.arctanh(0.5)])])
    return layer


@pytest.mark.parametrize(
    ("mask", "products"),
    [
        # (<h_t, e_(t+1)>, <h_t, e^_(t+1)>) of each pair
        ([[True, True, True], [True, True, True]], [(1, -1), (2, 3), (-1, 1), (3, 2)]),
        ([[True, True, True], [True, True, False]], [(1, -1), (-1, 1)]),
        ([[False, True, True], [True, True, True]], [(2, 3), (-1, 1), (3, 2)]),  # no h before the first
        ([[True, False, True], [True, True, True]], [(3, 2)]),
        ([[True, True, True], [False, False, False]], []),
    ],
)
def test_auxiliary_loss_by_hand(mask: list[list[bool]], products: list[tuple[float, float]]) -> None:
    layer = foretelling_half()
    history = tf.constant([[[7.0], [2.0], [4.0]], [[9.0], [-2.0], [6.0]]])
    layer(tf.zeros([2, 1]), history, mask=tf.constant(mask), training=True)
    # -log sigmoid(x) = log(1 + e^-x), -log(1 - sigmoid(x)) = log(1 + e^x)
    terms = [math.log(1 + math.exp(-positive)) + math.log(1 + math.exp(negative)) for positive, negative in products]
    np.testing.assert_allclose(layer.losses[0], sum(terms) / max(len(terms), 1), rtol=1e-5)


@pytest.mark.parametrize(("users", "length"), [(1, 5), (4, 1), (4, 0)])
def test_without_pairs_the_auxiliary_loss_is_0_with_finite_gradients(users: int, length: int) -> None:
    layer = trained()
    target, history = (tf.constant(values) for values in batch())
    with tf.GradientTape() as tape:
        tape.watch(history)
        layer(target[:users], history[:users, :length], training=True)
        (loss,) = layer.losses
    assert loss == 0
    assert not np.any(tape.gradient(loss, history))


def test_the_auxiliary_loss_stays_finite_where_the_sigmoid_is_0_or_1() -> None:
    layer = foretelling_half()
    history = tf.constant([[[0.0], [-2e4]], [[0.0], [2e4]]])
    with tf.GradientTape() as tape:
        tape.watch(history)
        layer(tf.zeros([2, 1]), history, training=True)
        (loss,) = layer.losses
    # Products -1e4 and 1e4 for one user, each costing 1e4; right and free of cost for the other.
    np.testing.assert_allclose(loss, 1e4, rtol=1e-5)
    # Halves of h: -1/2 for a positive that is too low and +1/2 for a negative too high, over two pairs.
    np.testing.assert_allclose(tape.gradient(loss, history)[:, 1, 0], [-0.25, 0.25], rtol=1e-4)


@pytest.mark.parametrize(("weight", "training"), [(0.0, True), (1.0, False)])
def test_no_auxiliary_loss_at_weight_0_or_outside_of_training(weight: float, training: bool) -> None:
    layer = trained(auxiliary_weight=weight)
    layer(*batch(), training=training)
    assert layer.losses == []


class OwnModel(keras.Model):
    """A subclassed model with DIEN inside CiUBM."""

    def __init__(self, layer: DIEN) -> None:
        super().__init__()
        self.interest = CiUBM(layer, content=False, fusion=False)

    def call(self, inputs: dict[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        h_b = self.interest(inputs["target"], inputs["history"], mask=inputs["mask"], training=training)
        return tf.sigmoid(tf.reduce_sum(h_b, axis=1, keepdims=True))


def functional(layer: DIEN) -> keras.Model:
    inputs = {
        "target": keras.Input((3,), name="target"),
        "history": keras.Input((None, 3), name="history"),
        "mask": keras.Input((None,), name="mask", dtype="bool"),
    }
    h_b = layer(inputs["target"], inputs["history"], mask=inputs["mask"])
    total = keras.layers.Dense(1, "sigmoid", kernel_initializer="ones", trainable=False)
    return keras.Model(inputs, total(h_b))


@pytest.mark.parametrize("make", [functional, OwnModel])
def test_fit_adds_the_auxiliary_loss(make: Any) -> None:
    target, history = batch()
    layer = trained(auxiliary_weight=2.0)
    output, interests = dien(layer, target, history, MASK)
    clicks = np.array([[1.0], [0.0], [1.0], [0.0]], np.float32)
    probabilities = sigmoid(output.sum(axis=1, keepdims=True))
    click_loss = -np.log(np.where(clicks > 0, probabilities, 1 - probabilities)).mean()
    before = layer.get_weights()
    model = make(layer)
    model.compile(keras.optimizers.SGD(0.1), "binary_crossentropy")
    inputs = {"target": target, "history": history, "mask": MASK}
    # Not shuffled: a user's negatives are the next user's behaviours.
    run = model.fit(inputs, clicks, batch_size=4, epochs=2, shuffle=False, verbose=0)
    expected = click_loss + 2 * auxiliary_loss(interests, history, MASK)
    np.testing.assert_allclose(run.history["loss"][0], expected, rtol=1e-4)
    assert run.history["loss"][1] < run.history["loss"][0]
    assert all(np.any(old != new) for old, new in zip(before, layer.get_weights(), strict=True))
    # Outside of training the loss is that of the clicks.
    layer.set_weights(before)
    np.testing.assert_allclose(model.evaluate(inputs, clicks, verbose=0), click_loss, rtol=1e-4)


@pytest.mark.skipif(not hasattr(keras, "ops"), reason="tf_keras does not ask layers whether XLA can compile them")
def test_keras_leaves_xla_aside_before_the_layer_is_built() -> None:
    target, history = batch()
    model = OwnModel(DIEN())
    with pytest.warns(UserWarning, match="Model doesn't support `jit_compile=True`"):
        model.compile("sgd", "binary_crossentropy", jit_compile=True)
    inputs = {"target": target, "history": history, "mask": MASK}
    run = model.fit(inputs, np.array([[1.0], [0.0], [1.0], [0.0]], np.float32), verbose=0)
    assert math.isfinite(run.history["loss"][0])


def test_ten_thousand_behaviours() -> None:
    layer = trained()
    rng = np.random.default_rng(3)
    history = rng.normal(size=(1, 10_000, 3)).astype(np.float32)
    target = np.ones((1, 3), np.float32)
    expected, _ = dien(layer, target, history, np.ones((1, 10_000), bool))
    np.testing.assert_allclose(tf.function(layer)(target, history), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("weight", [-0.1, math.inf, math.nan])
def test_weights_out_of_range(weight: float) -> None:
    with pytest.raises(ValueError, match=f"`auxiliary_weight` must be finite and at least 0. Received: {weight}"):
        DIEN(weight)


def test_a_target_of_unknown_dimension() -> None:
    with pytest.raises(ValueError, match=r"`target` must have a known last dimension. Received: shape \(None, None\)"):
        DIEN().build((None, None))
