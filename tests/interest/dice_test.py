import numpy as np
import pytest
import tensorflow as tf

from mim_tf.interest import Dice

pytestmark = pytest.mark.both_kerases


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def dice(s: np.ndarray, alpha: np.ndarray, mean: np.ndarray, variance: np.ndarray, epsilon: float = 1e-8) -> np.ndarray:
    """Section 5.3 of arXiv:1706.06978, word by word."""
    p = sigmoid((s - mean) / np.sqrt(variance + epsilon))
    return p * s + (1 - p) * alpha * s


def layer_with(alpha: list[float], mean: list[float], variance: list[float], **arguments: float) -> Dice:
    layer = Dice(**arguments)
    layer.build((None, len(alpha)))
    layer.alpha.assign(alpha)
    layer.moving_mean.assign(mean)
    layer.moving_variance.assign(variance)
    return layer


def test_inference_uses_the_moving_statistics() -> None:
    layer = layer_with([0.5, 0.0], mean=[1.0, 2.0], variance=[4.0, 1.0])
    # Unit 0: p(1) = sigmoid(0) = 0.5, so 0.5 * 1 + 0.5 * 0.5 * 1 = 0.75.
    # Unit 1: p(2) = 0.5, so 0.5 * 2 + 0 = 1.
    np.testing.assert_allclose(layer(tf.constant([[1.0, 2.0]])), [[0.75, 1.0]])
    s = np.random.default_rng(0).normal(size=(3, 4, 2))
    expected = dice(s, np.array([0.5, 0.0]), np.array([1.0, 2.0]), np.array([4.0, 1.0]))
    np.testing.assert_allclose(layer(s.astype(np.float32)), expected, rtol=1e-5)
    np.testing.assert_allclose(layer.moving_mean, [1.0, 2.0])


def test_training_uses_and_learns_the_batch_statistics() -> None:
    layer = layer_with([0.25], mean=[10.0], variance=[2.0], momentum=0.9)
    output = layer(tf.constant([[1.0], [3.0]]), training=True)
    # Mean 2, variance 1: p = sigmoid(-1), sigmoid(1).
    expected = dice(np.array([[1.0], [3.0]]), np.array(0.25), np.array(2.0), np.array(1.0))
    np.testing.assert_allclose(output, expected, rtol=1e-6)
    np.testing.assert_allclose(layer.moving_mean, [0.9 * 10 + 0.1 * 2], rtol=1e-6)
    np.testing.assert_allclose(layer.moving_variance, [0.9 * 2 + 0.1 * 1], rtol=1e-6)


@pytest.mark.parametrize("padding", [1e6, np.nan])
def test_padding_is_left_out_of_the_statistics(padding: float) -> None:
    layer = layer_with([0.25], mean=[0.0], variance=[1.0], momentum=0.5)
    inputs = tf.constant([[[1.0], [padding]], [[3.0], [padding]]])
    output = layer(inputs, mask=tf.constant([[True, False], [True, False]]), training=True)
    expected = dice(np.array([[1.0], [3.0]]), np.array(0.25), np.array(2.0), np.array(1.0))
    np.testing.assert_allclose(output[:, 0], expected, rtol=1e-6)
    np.testing.assert_allclose(layer.moving_mean, [1.0])
    np.testing.assert_allclose(layer.moving_variance, [1.0])


def test_a_batch_of_nothing_but_padding_teaches_nothing() -> None:
    layer = layer_with([0.25], mean=[3.0], variance=[2.0])
    inputs = tf.constant([[[1.0], [5.0]]])
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        output = layer(inputs, mask=tf.zeros([1, 2], tf.bool), training=True)
    np.testing.assert_allclose(output, layer(inputs))
    assert np.isfinite(tape.gradient(output, inputs)).all()
    np.testing.assert_allclose(layer.moving_mean, [3.0])
    np.testing.assert_allclose(layer.moving_variance, [2.0])


def test_a_frozen_layer_teaches_nothing() -> None:
    layer = layer_with([0.25], mean=[3.0], variance=[2.0])
    layer.trainable = False
    inputs = tf.constant([[1.0], [5.0]])
    np.testing.assert_array_equal(layer(inputs, training=True), layer(inputs, training=False))
    np.testing.assert_allclose(layer.moving_mean, [3.0])


def test_one_number_trains_with_finite_gradients() -> None:
    layer = layer_with([0.25], mean=[3.0], variance=[2.0])
    inputs = tf.constant([[2.0]])
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        # Its own mean, variance 0: p = 0.5, so 0.5 * 2 + 0.5 * 0.25 * 2 = 1.25.
        output = layer(inputs, training=True)
    np.testing.assert_allclose(output, [[1.25]])
    assert np.isfinite(tape.gradient(output, inputs)).all()


def test_gradients_go_through_the_statistics_of_the_batch() -> None:
    layer = Dice(dtype="float64")
    layer.build((None, 1))
    layer.alpha.assign([0.25])
    s = np.array([[1.0], [3.0], [-0.5]])
    inputs = tf.constant(s)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        output = layer(inputs, training=True)

    def total(s: np.ndarray) -> float:
        return dice(s, np.array(0.25), s.mean(axis=0), s.var(axis=0)).sum()

    steps = 1e-5 * np.eye(3)[..., np.newaxis]
    slopes = [(total(s + step) - total(s - step)) / 2e-5 for step in steps]
    np.testing.assert_allclose(tape.gradient(output, inputs)[:, 0], slopes, rtol=1e-6)


def test_float16_statistics_do_not_overflow() -> None:
    layer = Dice(dtype="mixed_float16", momentum=0.0)
    # Squares of 300 are past float16's 65,504; the variance, 90,000, too.
    output = layer(tf.constant([[-300.0], [300.0]]), training=True)
    assert output.dtype == tf.float16
    np.testing.assert_allclose(layer.moving_variance, [90_000.0])
    expected = dice(np.array([[-300.0], [300.0]]), np.array(0.0), np.array(0.0), np.array(90_000.0))
    np.testing.assert_allclose(output, expected, rtol=1e-3)


def test_statistics_are_learnt_in_a_traced_step() -> None:
    layer = layer_with([0.0], mean=[0.0], variance=[1.0], momentum=0.5)
    step = tf.function(lambda s: layer(s, training=True), input_signature=[tf.TensorSpec([None, None, 1])])
    step(tf.constant([[[4.0], [4.0]]]))
    step(tf.constant([[[4.0]]]))
    np.testing.assert_allclose(layer.moving_mean, [3.0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"momentum": 1.0}, r"`momentum` must be in \[0, 1\). Received: 1.0"),
        ({"momentum": -0.1}, r"`momentum` must be in \[0, 1\). Received: -0.1"),
        ({"epsilon": 0.0}, r"`epsilon` must be above 0. Received: 0.0"),
    ],
)
def test_arguments_out_of_range(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Dice(**arguments)


def test_a_mask_of_another_shape() -> None:
    with pytest.raises(ValueError, match=r"`mask` must have the shape .* \(2, 3\). Received: shape \(2,\)"):
        Dice()(tf.zeros([2, 3, 4]), mask=tf.ones([2], tf.bool), training=True)
