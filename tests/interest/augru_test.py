from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from mim_tf.interest.augru import AUGRU
from mim_tf.interest.packed_steps import PackedSteps

pytestmark = pytest.mark.both_kerases
# A hole, padding behind, padding in front and behind.
MASK = np.array([[True, False, True, True, True], [True, True, True, False, False], [False, True, True, True, False]])


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def trained(dim: int = 4, units: int = 3, **kwargs: Any) -> AUGRU:
    layer = AUGRU(units, **kwargs)
    layer.build((None, None, dim))
    rng = np.random.default_rng(1)
    layer.set_weights([rng.normal(size=weight.shape) for weight in layer.get_weights()])
    return layer


def batch(length: int = 5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    return rng.normal(size=(3, length, 4)).astype(np.float32), rng.uniform(size=(3, length)).astype(np.float32)


def augru(layer: AUGRU, inputs: np.ndarray, attention: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The equations, one user and one step at a time."""
    kernel, recurrent_kernel, bias = (np.asarray(weight, np.float64) for weight in layer.get_weights())
    W_u, W_r, W_h = np.split(kernel, 3, axis=1)
    U_u, U_r, U_h = np.split(recurrent_kernel, 3, axis=1)
    b_u, b_r, b_h = np.split(bias, 3)
    states = np.zeros((*mask.shape, layer.units))
    for user in range(len(inputs)):
        h = np.zeros(layer.units)
        for t, i in enumerate(inputs[user].astype(np.float64)):
            if mask[user, t]:
                u = sigmoid(i @ W_u + h @ U_u + b_u)
                r = sigmoid(i @ W_r + h @ U_r + b_r)
                new = np.tanh(i @ W_h + r * (h @ U_h) + b_h)
                u = attention[user, t] * u
                h = (1 - u) * h + u * new
            states[user, t] = h
    return states


def test_by_hand() -> None:
    layer = AUGRU(1)
    layer.build((None, None, 1))
    # Without kernels: u = sigmoid(0) = 1/2 and h~ = 0.8, whatever the input and the state.
    layer.set_weights([np.zeros((1, 3)), np.zeros((1, 3)), np.array([0.0, 0.0, np.arctanh(0.8)])])
    states = layer(tf.zeros([1, 3, 1]), attention=tf.constant([[1.0, 0.5, 0.0]]))
    # 0 + 1/2 * 0.8 = 0.4;  0.4 + 1/4 * (0.8 - 0.4) = 0.5;  stays.
    np.testing.assert_allclose(states[0, :, 0], [0.4, 0.5, 0.5], rtol=1e-6)


@pytest.mark.parametrize("with_attention", [True, False])
@pytest.mark.parametrize("with_mask", [True, False])
def test_against_numpy(with_attention: bool, with_mask: bool) -> None:
    layer = trained()
    inputs, attention = batch()
    expected = augru(
        layer,
        inputs,
        attention if with_attention else np.ones_like(attention),
        MASK if with_mask else np.ones_like(MASK),
    )
    states = layer(inputs, attention=attention if with_attention else None, mask=MASK if with_mask else None)
    np.testing.assert_allclose(states, expected, rtol=1e-4, atol=1e-6)


def test_recurrences_over_the_same_inputs_with_an_attention_each() -> None:
    layer = trained()
    inputs, _ = batch()
    attention = np.random.default_rng(3).uniform(size=(*MASK.shape, 4)).astype(np.float32)
    steps = PackedSteps.of(tf.constant(MASK))
    states = layer.states_of(steps, steps.pack(inputs), steps.pack(attention))
    assert states.shape == (MASK.sum(), 4, 3)
    for one in range(4):
        expected = augru(layer, inputs, attention[..., one], MASK)
        np.testing.assert_allclose(steps.passed_on(states[:, one]), expected, rtol=1e-4, atol=1e-6)


def test_without_attention_it_is_the_gru_of_keras() -> None:
    layer, gru = trained(), keras.layers.GRU(3, reset_after=True, return_sequences=True)
    inputs, _ = batch()
    gru.build(inputs.shape)
    # Keras' first gate is the old state's share, 1 - u: its sigmoid's argument has the other sign.
    signs = np.repeat([-1.0, 1.0, 1.0], 3)
    kernel, recurrent_kernel, bias = layer.get_weights()
    gru.set_weights([signs * kernel, signs * recurrent_kernel, np.stack([signs * bias, np.zeros(9)])])
    np.testing.assert_allclose(layer(inputs), gru(inputs), rtol=1e-4, atol=1e-6)
    padded = MASK[[1, 1, 1]]
    np.testing.assert_allclose(layer(inputs, mask=padded), gru(inputs, mask=padded), rtol=1e-4, atol=1e-6)


def test_a_masked_step_is_as_good_as_left_out() -> None:
    layer = trained()
    inputs, attention = batch()
    states = np.asarray(layer(inputs, attention=attention, mask=MASK))
    for user, real in enumerate(MASK):
        alone = layer(inputs[user : user + 1, real], attention=attention[user : user + 1, real])
        np.testing.assert_allclose(states[user : user + 1][:, real], alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("padding", [np.nan, np.inf, 1e30])
def test_what_is_masked_reaches_neither_states_nor_gradients(padding: float) -> None:
    layer = trained()
    inputs, attention = batch()
    expected = layer(inputs, attention=attention, mask=MASK)
    padded = tf.constant(np.where(MASK[..., np.newaxis], inputs, padding).astype(np.float32))
    weights = tf.constant(np.where(MASK, attention, padding).astype(np.float32))
    with tf.GradientTape() as tape:
        tape.watch([padded, weights])
        states = layer(padded, attention=weights, mask=MASK)
    np.testing.assert_array_equal(states, expected)
    for gradient in tape.gradient(states, [padded, weights, *layer.trainable_variables]):
        assert np.isfinite(gradient).all()
        assert np.any(gradient)


@pytest.mark.parametrize(("users", "length"), [(3, 5), (1, 1), (2, 0), (0, 5)])
def test_any_batch_and_length_in_one_graph_with_gradients(users: int, length: int) -> None:
    layer = trained()

    @tf.function(input_signature=[tf.TensorSpec([None, None, 4]), tf.TensorSpec([None, None])])
    def traced(inputs: tf.Tensor, attention: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            states = layer(inputs, attention=attention)
        return states, tape.gradient(states, inputs)

    inputs, attention = (values[:users, :length] for values in batch())
    states, gradient = traced(inputs, attention)
    assert gradient.shape == inputs.shape
    expected = augru(layer, inputs, attention, np.ones((users, length), bool))
    np.testing.assert_allclose(states, expected, rtol=1e-4, atol=1e-6)


def numeric_gradients(function: Callable[..., float], values: list[np.ndarray]) -> list[np.ndarray]:
    """Central differences, one number after the other."""
    gradients = [np.zeros(value.shape) for value in values]
    for value, gradient in zip(values, gradients, strict=True):
        for place in np.ndindex(value.shape):
            middle, ends = value[place], []
            for value[place] in (middle + 1e-5, middle - 1e-5):
                ends.append(function(*values))
            value[place] = middle
            gradient[place] = (ends[0] - ends[1]) / 2e-5
    return gradients


@pytest.mark.parametrize("with_attention", [True, False])
def test_gradients_against_numeric_differentiation(with_attention: bool) -> None:
    layer = trained(dtype="float64")
    rng = np.random.default_rng(4)
    mask = np.concatenate([MASK, np.zeros((1, 5), bool), np.ones((1, 5), bool)])
    inputs, by_states = rng.normal(size=(5, 5, 4)), rng.normal(size=(5, 5, 3))
    attention = rng.uniform(size=(5, 5)) if with_attention else np.ones((5, 5))

    sources = [tf.constant(inputs), tf.constant(attention), *layer.trainable_variables]
    with tf.GradientTape() as tape:
        tape.watch(sources[:2])
        states = layer(sources[0], attention=sources[1] if with_attention else None, mask=mask)
    found = tape.gradient(states, sources, by_states)

    def total(inputs: np.ndarray, attention: np.ndarray, *weights: np.ndarray) -> float:
        layer.set_weights(weights)
        return float(np.sum(by_states * augru(layer, inputs, attention, mask)))

    expected = numeric_gradients(total, [inputs, attention, *layer.get_weights()])
    if not with_attention:
        del found[1], expected[1]
    for gradient, numeric in zip(found, expected, strict=True):
        np.testing.assert_allclose(gradient, numeric, rtol=1e-6, atol=1e-8)


def plain_loop(layer: AUGRU, inputs: tf.Tensor, attention: tf.Tensor, mask: np.ndarray) -> tf.Tensor:
    """The equations in TensorFlow, of all users at each position, with TensorFlow's own gradient."""
    kernel, recurrent_kernel, bias = layer.trainable_variables
    state, states = tf.zeros([len(mask), layer.units]), []
    for t in range(mask.shape[1]):
        i_u, i_r, i_h = tf.split(tf.matmul(inputs[:, t], kernel) + bias, 3, axis=1)
        h_u, h_r, h_h = tf.split(tf.matmul(state, recurrent_kernel), 3, axis=1)
        u = attention[:, t, tf.newaxis] * tf.sigmoid(i_u + h_u)
        moved = (1 - u) * state + u * tf.tanh(i_h + tf.sigmoid(i_r + h_r) * h_h)
        state = tf.where(mask[:, t, tf.newaxis], moved, state)
        states.append(state)
    return tf.stack(states, axis=1)


def eager(layer: AUGRU) -> Callable[..., tf.Tensor]:
    return lambda inputs, attention, mask: layer(inputs, attention=attention, mask=mask)


def traced(layer: AUGRU) -> Callable[..., tf.Tensor]:
    specs = tf.TensorSpec([None, None, 16]), tf.TensorSpec([None, None]), tf.TensorSpec([None, None], tf.bool)
    return tf.function(eager(layer), input_signature=specs)


def drawn(share: float) -> tuple[AUGRU, list[tf.Tensor], np.ndarray]:
    """A layer of 16 units, whose rows are aligned; what gradients are taken of; a mask."""
    layer, rng = trained(16, 16), np.random.default_rng(5)
    layer.set_weights([0.3 * weight for weight in layer.get_weights()])
    inputs, attention = (tf.constant(rng.uniform(-1, 1, shape).astype(np.float32)) for shape in ((6, 9, 16), (6, 9)))
    return layer, [inputs, attention, *layer.trainable_variables], rng.uniform(size=(6, 9)) < share


def gradients(states_of: Callable[..., tf.Tensor], sources: list[tf.Tensor], mask: np.ndarray) -> list[tf.Tensor]:
    with tf.GradientTape() as tape:
        tape.watch(sources[:2])
        total = tf.reduce_sum(tf.sin(states_of(*sources[:2], mask)))
    return tape.gradient(total, sources)


@pytest.mark.parametrize("make", [eager, traced])
@pytest.mark.parametrize("share", [0.1, 0.6, 1.0])
def test_gradients_are_those_of_a_plain_loop(make: Callable[..., Any], share: float) -> None:
    layer, sources, mask = drawn(share)
    expected = gradients(lambda *arguments: plain_loop(layer, *arguments), sources, mask)
    for gradient, plain in zip(gradients(make(layer), sources, mask), expected, strict=True):
        np.testing.assert_allclose(gradient, plain, rtol=1e-4, atol=1e-5 * np.abs(plain).max())


def test_gradients_of_second_order_are_those_of_a_plain_loop() -> None:
    layer, sources, mask = drawn(0.6)

    def second(states_of: Callable[..., tf.Tensor]) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(sources[:2])
            first = gradients(states_of, sources, mask)
            squares = tf.add_n([tf.reduce_sum(tf.square(gradient)) for gradient in first])
        return tape.gradient(squares, sources)

    expected = second(lambda *arguments: plain_loop(layer, *arguments))
    for gradient, plain in zip(second(eager(layer)), expected, strict=True):
        np.testing.assert_allclose(gradient, plain, rtol=1e-4, atol=1e-5 * np.abs(plain).max())


@pytest.mark.parametrize("make", [eager, traced])
@pytest.mark.parametrize("shape", [(3, 4), (3, 0), (0, 4)])
def test_without_a_real_step_states_and_gradients_are_zeros(make: Callable[..., Any], shape: tuple[int, int]) -> None:
    layer = trained(16)
    inputs, attention = tf.fill([*shape, 16], np.nan), tf.fill(shape, np.nan)
    sources = [inputs, attention, *layer.trainable_variables]
    with tf.GradientTape() as tape:
        tape.watch(sources[:2])
        states = make(layer)(inputs, attention, tf.zeros(shape, tf.bool))
    np.testing.assert_array_equal(states, np.zeros((*shape, 3)))
    for source, gradient in zip(sources, tape.gradient(states, sources), strict=True):
        np.testing.assert_array_equal(gradient, np.zeros(source.shape))


def test_a_saved_model_has_the_gradients_too(tmp_path: Path) -> None:
    module = tf.Module()
    module.layer = trained(16)
    module.variables_of_layer = list(module.layer.trainable_variables)
    module.states = traced(module.layer)
    tf.saved_model.save(module, tmp_path)
    rng = np.random.default_rng(6)
    inputs, attention = (tf.constant(rng.uniform(size=shape).astype(np.float32)) for shape in ((3, 5, 16), (3, 5)))
    results = []
    reloaded = tf.saved_model.load(tmp_path)
    for states_of in (module.states, reloaded.states):
        with tf.GradientTape() as tape:
            tape.watch([inputs, attention])
            states = states_of(inputs, attention, tf.constant(MASK))
        results.append([states, *tape.gradient(states, [inputs, attention])])
    for before, after in zip(*results, strict=True):
        np.testing.assert_allclose(after, before, rtol=1e-6, atol=1e-7)


def test_ten_thousand_steps() -> None:
    layer = trained()
    rng = np.random.default_rng(3)
    inputs = rng.normal(size=(1, 10_000, 4)).astype(np.float32)
    mask = rng.uniform(size=(1, 10_000)) < 0.9
    states = tf.function(lambda inputs, mask: layer(inputs, mask=mask))(inputs, mask)
    expected = augru(layer, inputs, np.ones((1, 10_000)), mask)
    np.testing.assert_allclose(states, expected, rtol=0, atol=1e-4)


def test_half_precision_does_not_lose_small_weights() -> None:
    weights = [np.zeros((1, 3)), np.zeros((1, 3)), np.array([0.0, 0.0, np.arctanh(0.8)])]
    layer = AUGRU(1, dtype="mixed_float16")
    layer.build((None, None, 1))
    layer.set_weights(weights)
    # u = 1/2 and h~ = 0.8 as above. Each of 2,000 steps is below the distance of float16 numbers at 0.4, 2.4e-4.
    states = tf.function(layer)(tf.zeros([1, 2_000, 1], tf.float16), attention=tf.fill([1, 2_000], 1e-3))
    assert states.dtype == tf.float16
    np.testing.assert_allclose(float(states[0, -1, 0]), 0.8 * (1 - (1 - 5e-4) ** 2_000), rtol=2e-3)


@pytest.mark.parametrize("units", [0, -1, 2.0])
def test_units_out_of_range(units: float) -> None:
    with pytest.raises(ValueError, match=f"`units` must be an integer of at least 1. Received: {units}"):
        AUGRU(units)


def test_arguments_that_do_not_fit() -> None:
    inputs, attention = batch()
    with pytest.raises(ValueError, match=r"`attention` must have the shape of `inputs` .*\(3, 5\).*shape \(3, 4\)"):
        trained()(inputs, attention=attention[:, :4])
    with pytest.raises(TypeError, match=r"`attention` must be floating point. Received: dtype bool"):
        trained()(inputs, attention=MASK)
    with pytest.raises(TypeError, match=r"`inputs` must be floating point. Received: dtype int32"):
        trained()(tf.ones([3, 5, 4], tf.int32))
    with pytest.raises(TypeError, match=r"`mask` must be boolean. Received: dtype float32"):
        trained()(inputs, mask=attention)


def test_inputs_of_unknown_dimension() -> None:
    with pytest.raises(ValueError, match=r"`inputs` must have a known last dimension. Received: shape \(None, None\)"):
        AUGRU(3).build((None, None))
