from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from mim_tf.interest import DIN

pytestmark = pytest.mark.both_kerases
MASK = np.array([[True, True, True, False], [True, False, False, False]])


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def trained(activation: str, dtype: str = "float32") -> DIN:
    """A DIN of two hidden layers and dimension 3, with weights that no initializer gives."""
    layer = DIN((5, 2), activation, dtype=dtype)
    layer.build((None, 3))
    rng = np.random.default_rng(5)
    layer.set_weights([rng.uniform(0.1, 1.0, weight.shape) - 0.4 for weight in layer.get_weights()])
    for dice in layer.dices:
        dice.moving_variance.assign(rng.uniform(0.5, 2.0, dice.moving_variance.shape))
    return layer


def batch() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(6)
    return rng.normal(size=(2, 3)).astype(np.float32), rng.normal(size=(2, 4, 3)).astype(np.float32)


def din(layer: DIN, target: np.ndarray, history: np.ndarray, training: bool) -> np.ndarray:
    """Equation 3 of arXiv:1706.06978, over the real pairs only and one user at a time."""
    pairs = [(user, i) for user in range(len(target)) for i in range(history.shape[1]) if MASK[user, i]]
    t = np.stack([target[user] for user, _ in pairs]).astype(np.float64)
    h = np.stack([history[user, i] for user, i in pairs]).astype(np.float64)
    x = np.concatenate([t, h, t - h, t * h], axis=1)
    for number, dense in enumerate(layer.hidden):
        kernel, bias = dense.get_weights()
        x = x @ kernel + bias
        if layer.activation == "sigmoid":
            x = sigmoid(x)
            continue
        alpha, mean, variance = (np.asarray(weight) for weight in layer.dices[number].get_weights())
        if training:
            mean, variance = x.mean(axis=0), x.var(axis=0)
        p = sigmoid((x - mean) / np.sqrt(variance + 1e-8))
        x = p * x + (1 - p) * alpha * x
    kernel, bias = layer.score.get_weights()
    weights = (x @ kernel + bias)[:, 0]
    output = np.zeros(target.shape)
    for (user, i), weight in zip(pairs, weights, strict=True):
        output[user] += weight * history[user, i]
    return output


def test_by_hand() -> None:
    layer = DIN((1,), "relu")
    layer.build((None, 1))
    # On [t, h, t - h, t * h]; a = 3 relu(...) + 1.
    layer.hidden[0].set_weights([np.array([[1.0], [-1.0], [0.5], [0.25]]), np.array([0.0])])
    layer.score.set_weights([np.array([[3.0]]), np.array([1.0])])
    # t = 2, h = 1: 2 - 1 + 0.5 + 0.5  = 2, a = 7
    # t = 2, h = 4: 2 - 4 - 1   + 2    = -1, a = 1
    # 7 * 1 + 1 * 4 = 11. With a softmax it would lie between 1 and 4.
    np.testing.assert_allclose(layer(tf.constant([[2.0]]), tf.constant([[[1.0], [4.0]]])), [[11.0]])
    # t = -1, h = 1: -1 - 1 - 1 - 0.25 < 0, a = 1;  h = 4: -1 - 4 - 2.5 - 1 < 0, a = 1
    np.testing.assert_allclose(layer(tf.constant([[[2.0], [-1.0]]]), tf.constant([[[1.0], [4.0]]])), [[[11.0], [5.0]]])


@pytest.mark.parametrize("activation", ["sigmoid", "dice"])
@pytest.mark.parametrize("training", [False, True])
def test_against_numpy(activation: str, training: bool) -> None:
    layer = trained(activation)
    target, history = batch()
    expected = din(layer, target, history, training)
    output = layer(target, history, mask=MASK, training=training)
    np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("activation", ["sigmoid", "dice"])
def test_gradients_are_the_slopes_of_the_equation(activation: str) -> None:
    layer = trained(activation, "float64")
    inputs = [array.astype(np.float64) for array in batch()]
    sources = [tf.constant(array) for array in inputs]
    with tf.GradientTape() as tape:
        tape.watch(sources)
        output = layer(*sources, mask=MASK, training=True)
    for array, gradient in zip(inputs, tape.gradient(output, sources), strict=True):
        slopes = np.zeros_like(array)
        for place in np.ndindex(array.shape):
            here = array[place]
            array[place] = here + 1e-5
            above = din(layer, *inputs, training=True).sum()
            array[place] = here - 1e-5
            below = din(layer, *inputs, training=True).sum()
            array[place] = here
            slopes[place] = (above - below) / 2e-5
        np.testing.assert_allclose(gradient, slopes, rtol=1e-5, atol=1e-8)


def test_without_a_hidden_layer_by_hand() -> None:
    layer = DIN(())
    layer.build((None, 1))
    layer.score.set_weights([np.array([[1.0], [-1.0], [0.5], [0.25]]), np.array([3.0])])
    # t = 2, h = 4: 2 - 4 - 1 + 2 + 3 = 2, times 4.
    np.testing.assert_allclose(layer(tf.constant([[2.0]]), tf.constant([[[4.0]]])), [[8.0]])


def test_a_long_history_in_float16_loses_no_behaviour() -> None:
    layer = DIN((2,), dtype="mixed_float16")
    layer.build((None, 1))
    layer.score.set_weights([np.zeros([2, 1]), np.array([1.0])])
    # Each behaviour counts once. One by one in float16 the sum would stay at 2,048: 2,048 + 1 = 2,048.
    np.testing.assert_array_equal(layer(tf.ones([1, 1]), tf.ones([1, 10_000, 1])), [[10_000.0]])


def test_a_training_batch_without_a_real_behaviour() -> None:
    layer = trained("dice")
    before = [np.asarray(weight) for weight in layer.get_weights()]
    target, history = (tf.constant(array) for array in batch())
    with tf.GradientTape() as tape:
        tape.watch([target, history])
        output = layer(target, history, mask=tf.zeros([2, 4], tf.bool), training=True)
    np.testing.assert_array_equal(output, np.zeros([2, 3]))
    for gradient in tape.gradient(output, [target, history, *layer.trainable_variables]):
        np.testing.assert_array_equal(gradient, np.zeros(gradient.shape))
    for weight, now in zip(before, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(now, weight)


def test_training_learns_statistics_of_real_behaviours_only() -> None:
    target, history = batch()
    padded_further = np.concatenate([history, np.full((2, 50, 3), 9.0, np.float32)], axis=1)
    mask_further = np.concatenate([MASK, np.zeros((2, 50), bool)], axis=1)
    short, long = trained("dice"), trained("dice")
    np.testing.assert_allclose(
        long(target, padded_further, mask=mask_further, training=True),
        short(target, history, mask=MASK, training=True),
        rtol=1e-5,
    )
    for ours, theirs in zip(short.get_weights(), long.get_weights(), strict=True):
        np.testing.assert_allclose(theirs, ours, rtol=1e-5)


@pytest.mark.parametrize("hidden_units", [(), (5, 2)])
def test_padding_among_candidates_is_nothing_and_teaches_nothing(hidden_units: tuple[int, ...]) -> None:
    target, history = batch()
    padded = np.stack([np.full((2, 3), 9.0, np.float32), target, np.full((2, 3), 7.0, np.float32)], axis=1)
    shown = np.array([[False, True, False]] * 2)
    alone, among = DIN(hidden_units), DIN(hidden_units)
    for layer in (alone, among):
        layer.build((None, 3))
        layer.set_weights([np.linspace(0.1, 1.0, weight.size).reshape(weight.shape) for weight in layer.get_weights()])
    expected = np.zeros((2, 3, 3))
    expected[:, 1] = alone(target, history, mask=MASK, training=True)
    np.testing.assert_allclose(among(padded, history, mask=MASK, shown=shown, training=True), expected, rtol=1e-5)
    for ours, theirs in zip(alone.get_weights(), among.get_weights(), strict=True):
        np.testing.assert_allclose(theirs, ours, rtol=1e-5)
    nobody = among(padded, history, mask=MASK, shown=np.zeros((2, 3), bool), training=True)
    np.testing.assert_array_equal(nobody, np.zeros((2, 3, 3)))


@pytest.mark.parametrize(
    ("shown", "error", "message"),
    [
        (np.ones(2), TypeError, "`shown` must be boolean. Received: dtype float64"),
        (np.ones(3, bool), ValueError, r"`shown` must have the shape of the target .* Received: shape \(3,\)"),
        (np.ones((2, 4), bool), ValueError, r"`shown` must have the shape of the target .* Received: shape \(2, 4\)"),
    ],
)
def test_shown_that_does_not_fit(shown: np.ndarray, error: type[Exception], message: str) -> None:
    target, history = batch()
    with pytest.raises(error, match=message):
        DIN()(target, history, shown=shown)


def test_the_weight_of_an_interest_is_not_normalised() -> None:
    layer = trained("sigmoid")
    target, history = batch()
    once = layer(target, history)
    twice = layer(target, np.concatenate([history, history], axis=1))
    np.testing.assert_allclose(twice, 2 * np.asarray(once), rtol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"hidden_units": 16}, r"`hidden_units` must be a sequence of integers\. Received: 16"),
        ({"hidden_units": (8, 0)}, "`hidden_units` must be an integer of at least 1. Received: 0"),
        ({"hidden_units": (8.0,)}, r"`hidden_units` must be an integer of at least 1. Received: 8\.0"),
        ({"activation": tf.nn.relu}, '`activation` must be "dice" or a Keras activation'),
        ({"activation": "dise"}, "(?i)activation.*dise"),
    ],
)
def test_arguments_out_of_range(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DIN(**arguments)


def test_a_target_of_unknown_dimension() -> None:
    with pytest.raises(ValueError, match=r"`target` must have a known last dimension. Received: shape \(None, None\)"):
        DIN().build((None, None))
