import numpy as np
import pytest
import tensorflow as tf

from mim_tf.interest import ContentInterest

pytestmark = pytest.mark.both_kerases


def test_by_hand() -> None:
    target = tf.constant([[2.0, 0.0]])
    history = tf.constant([[[4.0, 3.0], [-1.0, 0.0], [0.0, 7.0], [0.0, 0.0], [5.0, 0.0]]])
    mask = tf.constant([[True, True, True, True, False]])
    # Cosines 0.8, -1, 0, 0 (no embedding), and a padded one:
    # 0.8 (4, 3) - 1 (-1, 0) = (4.2, 2.4)
    np.testing.assert_allclose(ContentInterest()(target, history, mask=mask), [[4.2, 2.4]], rtol=1e-6)


def test_it_is_linear_in_the_target_direction() -> None:
    rng = np.random.default_rng(4)
    target, history = rng.normal(size=(3, 6)), rng.normal(size=(3, 20, 6))
    output = ContentInterest()(target.astype(np.float32), history.astype(np.float32))
    # (sum_i h_i h^_i^T) t^: the user's matrix first, the target last.
    unit = history / np.linalg.norm(history, axis=-1, keepdims=True)
    direction = target / np.linalg.norm(target, axis=-1, keepdims=True)
    user_matrix = np.einsum("bim,bin->bmn", history, unit)
    np.testing.assert_allclose(output, np.einsum("bmn,bn->bm", user_matrix, direction), rtol=1e-4, atol=1e-5)


def test_items_without_an_embedding_give_finite_gradients() -> None:
    target, history = tf.constant([[0.0, 0.0], [1.0, 1.0]]), tf.zeros([2, 3, 2])
    with tf.GradientTape() as tape:
        tape.watch([target, history])
        output = ContentInterest()(target, history)
    np.testing.assert_array_equal(output, np.zeros([2, 2]))
    for gradient in tape.gradient(output, [target, history]):
        np.testing.assert_array_equal(gradient, np.zeros(gradient.shape))


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_a_norm_past_float16_does_not_overflow_the_cosine(policy: str) -> None:
    # 200 dimensions of 30: a sum of squares of 180,000, past float16's 65,504. The cosine is 1.
    target, history = tf.fill([1, 200], 30.0), tf.fill([1, 1, 200], 30.0)
    output = ContentInterest(dtype=policy)(tf.cast(target, tf.float16), tf.cast(history, tf.float16))
    np.testing.assert_array_equal(output, tf.fill([1, 200], tf.cast(30.0, output.dtype)))


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_keras_does_not_round_the_embeddings_before_the_cosine(policy: str) -> None:
    # A half rounds 1 + 2^-12 to 1, and (1, 1) is orthogonal to (1, -1): the cosine would be 0.
    # As given: cos = 2^-12 / (sqrt(2) sqrt(2)) = 2^-13, to the first order.
    item = tf.constant([[[1 + 2.0**-12, 1.0]]])
    output = ContentInterest(dtype=policy)(tf.constant([[1.0, -1.0]]), item)
    np.testing.assert_allclose(tf.cast(output, tf.float32), [[2.0**-13, 2.0**-13]], rtol=1e-2)
