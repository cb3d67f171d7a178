import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics.pairwise import cosine_similarity

from mim_tf.interest.content_attention import content_attention, inverse_norm

pytestmark = pytest.mark.both_kerases


def test_against_scikit_learn() -> None:
    rng = np.random.default_rng(2)
    target, history = rng.normal(size=(3, 6)), rng.normal(size=(3, 8, 6))
    output = content_attention(tf.constant(target), tf.constant(history))
    expected = [cosine_similarity(target[row : row + 1], history[row])[0] for row in range(3)]
    np.testing.assert_allclose(output, expected, rtol=1e-12)


@pytest.mark.parametrize("scale", [1e-15, 1e-3, 1e15])
def test_the_length_of_a_vector_does_not_matter(scale: float) -> None:
    # cos((3, 4), (4, 3)) = 24 / 25
    output = content_attention(tf.constant([[3.0, 4.0]]) * scale, tf.constant([[[4.0, 3.0]]]) * scale)
    np.testing.assert_allclose(output, [[0.96]], rtol=1e-6)


def test_the_zero_vector_has_weight_zero_and_no_gradient() -> None:
    target, history = tf.constant([[1.0, 2.0], [0.0, 0.0]]), tf.constant([[[0.0, 0.0], [2.0, 1.0]]] * 2)
    with tf.GradientTape() as tape:
        tape.watch([target, history])
        output = content_attention(target, history)
    np.testing.assert_allclose(output, [[0.0, 0.8], [0.0, 0.0]], rtol=1e-6)
    target_gradient, history_gradient = tape.gradient(output, [target, history])
    np.testing.assert_array_equal(history_gradient[0, 0], [0.0, 0.0])
    np.testing.assert_array_equal(target_gradient[1], [0.0, 0.0])
    # d cos(t, h) / dh = (t^ - cos h^) / |h| = ((1, 2) - 0.8 (2, 1)) / 5 = (-0.12, 0.24)
    np.testing.assert_allclose(history_gradient[0, 1], [-0.12, 0.24], rtol=1e-5)


def test_inverse_norm() -> None:
    np.testing.assert_allclose(inverse_norm(tf.constant([[3.0, 4.0], [0.0, 0.0]])), [0.2, 0.0], rtol=1e-6)
